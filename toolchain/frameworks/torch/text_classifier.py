"""Text classifiers in PyTorch, loaded from and saved to a Model's folder pruned or not.

Hugging Face's loader rejects a layer that is smaller than in its configuration. Here every linear layer gets the
shape of its saved weights, the only difference after heads and neurons are removed: the projections define the heads.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.artifacts.folder import disk_space_reported
from toolchain.artifacts.model import Model
from toolchain.errors import ArtifactError, UnprunableError, first_line
from toolchain.frameworks.torch.tensors import load_tensors

if TYPE_CHECKING:
    import torch

WEIGHTS = "model.safetensors"
BERT_LIKE = (
    "bert",
    "camembert",
    "electra",
    "roberta",
    "xlm-roberta",
)  # model types with the same names of layers' parts
PRUNABLE = (*BERT_LIKE, "distilbert")  # model types whose heads and neurons can be removed
KINDS = (*PRUNABLE, "albert", "deberta", "deberta-v2", "modernbert", "mpnet")  # supported model types
OFFSET = ("camembert", "mpnet", "roberta", "xlm-roberta")  # their positions start after the padding token's id


@dataclass(frozen=True)
class Layer:
    """The linear layers of one layer of a transformer; every weight has shape (outputs, inputs)."""

    query: "torch.nn.Linear"
    key: "torch.nn.Linear"
    value: "torch.nn.Linear"
    joined: "torch.nn.Linear"  # after the heads
    widening: "torch.nn.Linear"  # first of the feed-forward part: its outputs are the neurons
    narrowing: "torch.nn.Linear"  # second of it
    head_size: int

    @property
    def heads(self) -> int:
        return self.query.out_features // self.head_size

    @property
    def neurons(self) -> int:
        return self.widening.out_features


def load_classifier(model: Model, attention: str | None = None) -> Any:  # Transformers' classes are untyped
    """Return the sequence classifier in ``model``'s folder, in evaluation mode, on the CPU, float32.

    It maps input_ids and attention_mask, int64 of shape (rows, tokens), to an output whose ``logits`` are float32 of
    shape (rows, labels). ``attention`` is Transformers' name of an implementation: "eager" can be exported; None is
    the fastest that the model has.

    Raises:
        ArtifactError: the configuration or the weights are not those of one text classifier.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModelForSequenceClassification

    try:
        config = AutoConfig.from_pretrained(model.path)
        make: Any = AutoModelForSequenceClassification.from_config
        module = make(config, attn_implementation=attention)
        weights = load_file(model.weights)
        _resize(module, weights)
        load_tensors(module, weights)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        reason = first_line(error)
        raise ArtifactError(f"{model.path} holds no text classifier that PyTorch can load: {reason}") from error
    _check_labels(model, config.num_labels)
    return module.float().eval()


def save_classifier(module: Any, folder: Path) -> None:
    """Write ``module`` to ``folder`` as config.json and model.safetensors, which ``load_classifier`` reads."""
    from safetensors.torch import save_file

    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    with disk_space_reported(folder):
        module.config.save_pretrained(folder)
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def check_prunable(module: Any) -> None:
    """Raise UnprunableError unless heads and neurons of ``module``, a classifier of Transformers, can be removed."""
    kind = module.config.model_type
    if kind not in PRUNABLE:
        raise UnprunableError(
            f"models of type {kind!r} cannot be pruned; supported types: {', '.join(PRUNABLE)}; set method to none"
        )


def layers(module: Any) -> list[Layer]:
    """Return the layers of ``module``, a classifier of Transformers, from the first to the last.

    Raises:
        UnprunableError: its heads and neurons cannot be removed.
    """
    check_prunable(module)
    make = _distilbert_layer if module.config.model_type == "distilbert" else _bert_layer
    return [make(block) for block in blocks(module)]


def blocks(module: Any) -> list[Any]:
    """Return the modules of ``module``'s layers, from the first to the last; each returns hidden states.

    ALBERT has one group of layers, with weights that all its layers share.

    Raises:
        ArtifactError: its model type is not supported.
    """
    kind, body = module.config.model_type, module.base_model
    if kind not in KINDS:
        raise ArtifactError(f"models of type {kind!r} are not supported; supported types: {', '.join(KINDS)}")
    if kind == "albert":
        return list(body.encoder.albert_layer_groups)
    if kind == "modernbert":
        return list(body.layers)
    return list((body.transformer if kind == "distilbert" else body.encoder).layer)


def positions(config: Any) -> int:
    """Return the maximum number of tokens of a model with the configuration ``config``, 0 without a limit."""
    if not getattr(config, "position_biased_input", True):  # DeBERTa-v3 encodes only distances between tokens
        return 0
    first = config.pad_token_id + 1 if config.model_type in OFFSET else 0
    return int(config.max_position_embeddings) - first


def resize_linear(layer: "torch.nn.Linear", weight: "torch.Tensor", bias: "torch.Tensor | None") -> None:
    """Give ``layer`` another ``weight`` of shape (outputs, inputs) and ``bias`` of shape (outputs,), in place."""
    import torch

    layer.out_features, layer.in_features = weight.shape
    layer.weight = torch.nn.Parameter(weight.detach().clone(), layer.weight.requires_grad)
    if bias is not None:
        layer.bias = torch.nn.Parameter(bias.detach().clone(), layer.bias.requires_grad)


def _bert_layer(layer: Any) -> Layer:
    attention = layer.attention.self
    return Layer(
        attention.query,
        attention.key,
        attention.value,
        layer.attention.output.dense,
        layer.intermediate.dense,
        layer.output.dense,
        attention.attention_head_size,
    )


def _distilbert_layer(layer: Any) -> Layer:
    attention, feed_forward = layer.attention, layer.ffn
    return Layer(
        attention.q_lin,
        attention.k_lin,
        attention.v_lin,
        attention.out_lin,
        feed_forward.lin1,
        feed_forward.lin2,
        attention.attention_head_size,
    )


def _resize(module: "torch.nn.Module", weights: "dict[str, torch.Tensor]") -> None:
    import torch

    for name, layer in module.named_modules():
        weight = weights.get(f"{name}.weight")
        if isinstance(layer, torch.nn.Linear) and weight is not None and weight.shape != layer.weight.shape:
            resize_linear(layer, weight, weights.get(f"{name}.bias"))


def _check_labels(model: Model, outputs: int) -> None:
    labels = model.signature.labels
    if len(labels) != outputs:
        raise ArtifactError(f"{model.path} names {len(labels)} labels but its classifier has {outputs} outputs")
