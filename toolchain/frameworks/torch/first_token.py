"""Compute the last layer for the first token only, which is all that a classifier over [CLS] reads.

A classification head of the BERT family reads only the last layer's output at position 0. The other positions are
needed there as keys and values, not as queries, nor in the feed-forward part: of a layer's 12 h^2 multiplications per
token 2 h^2 remain. The logits are the same, not an approximation.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

KINDS = ("bert", "camembert", "electra", "roberta", "xlm-roberta")  # model types with equal names of layers' parts


def read_first_token_only(model: Any) -> None:
    """Make ``model``, a sequence classifier of Transformers, compute its last layer for the first token only, in place.

    Its weights and logits do not change. A model type that is not in ``KINDS`` is not changed.
    """
    if model.config.model_type in KINDS:
        layer = model.base_model.encoder.layer[-1]
        layer.forward = lambda hidden, mask=None, *_, **__: _first_token(layer, hidden, mask)


def read_every_token(model: Any) -> None:
    """Undo ``read_first_token_only``, in place."""
    if model.config.model_type in KINDS:
        vars(model.base_model.encoder.layer[-1]).pop("forward", None)


def _first_token(layer: Any, hidden: "Tensor", mask: "Tensor | None") -> "Tensor":
    """Return the layer's output at position 0, shape (rows, 1, width), for ``hidden`` of shape (rows, tokens, width).

    ``mask`` is the layer's input: boolean or added to the scores, of shape (rows, 1, 1 or tokens, tokens), or None.
    """
    from torch.nn.functional import scaled_dot_product_attention

    attention, first = layer.attention.self, hidden[:, :1]
    query, key, value = (
        _heads(attention, attention.query(first)),
        _heads(attention, attention.key(hidden)),
        _heads(attention, attention.value(hidden)),
    )
    context = scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=None if mask is None else mask[:, :, :1],
        dropout_p=attention.dropout.p if layer.training else 0.0,
    )
    joined = context.transpose(1, 2).reshape(*first.shape[:2], -1)
    output: torch.Tensor = layer.feed_forward_chunk(layer.attention.output(joined, first))
    return output


def _heads(attention: Any, projected: "Tensor") -> "Tensor":
    """Return ``projected``, of shape (rows, tokens, heads x size), as (rows, heads, tokens, size)."""
    return projected.view(*projected.shape[:2], -1, attention.attention_head_size).transpose(1, 2)
