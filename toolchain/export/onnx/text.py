"""Trace text classifiers, and fuse their attention.

Fusing attention into the file (``fuse_attention``) was measured at 0.93 to 0.96 of the plain graph's speed in fp32 and
in INT8 (MiniLM, AVX2, 1 x 128 tokens, ONNX Runtime 1.32), so the default leaves it out.
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.artifacts.graph import needs_two_files
from toolchain.artifacts.model import TOKENIZER_FILES, Model, Tensor
from toolchain.errors import ConfigError
from toolchain.export.onnx.forms import Form, Outputs, relative_difference
from toolchain.frameworks.torch.text_classifier import layers, load_classifier, positions
from toolchain.inference.runtime import Feeds

if TYPE_CHECKING:
    import torch

INPUTS = (Tensor("input_ids", "int64", ("batch", "tokens")), Tensor("attention_mask", "int64", ("batch", "tokens")))
# Added to the attention scores of padding. exp(-60) = 9e-27 is lost when added to 1 in float32, and an INT8 scale that
# reaches the usual -3.4e38 has no precision (measured on AVX512-VNNI: dynamic INT8 1.69x with that, 2.29x with -60).
PADDING_SCORE = -60.0
LOW_SCORE = -1e4  # where the scores themselves reach that far, as ELECTRA's can
OWN_MASK = ("deberta", "deberta-v2", "modernbert")  # use the mask for more than the attention scores


def form(model: Model) -> Form:
    """Return a classifier that takes int64 ids and mask (batch, tokens) and gives float32 logits (batch, labels)."""
    import torch

    reference, traced = load_classifier(model), load_classifier(model, attention="eager")
    ids = torch.ones(2, 8, dtype=torch.int64)

    def outputs(feeds: Feeds) -> Outputs:
        with torch.inference_mode():
            inputs = {tensor.name: torch.from_numpy(feeds[tensor.name]) for tensor in INPUTS}
            return [reference(**inputs).logits.numpy()]

    own = reference.config.model_type in OWN_MASK
    modules = [_with_mask(traced, score) for score in ([None] if own else [PADDING_SCORE, LOW_SCORE])]
    return Form(
        module=modules[0],
        example=(ids, torch.ones_like(ids)),
        inputs=INPUTS,
        outputs=(Tensor("logits", "float32", ("batch", len(model.signature.labels))),),
        reference=outputs,
        difference=relative_difference,
        compared="logits",
        files=(*TOKENIZER_FILES, "config.json"),
        others=tuple(modules[1:]),
        positions=positions(reference.config),
        fuse=partial(fuse, model),
    )


def fuse(model: Model, plain: Path, target: Path) -> None:
    """Write the graph ``plain`` to ``target`` with one operator of ONNX Runtime for each attention.

    Raises:
        ConfigError: there is none to fuse, or layers have different numbers of heads.
    """
    from onnxruntime.transformers import optimizer

    first, *others = layers(load_classifier(model))
    if any(layer.heads != first.heads for layer in others):
        raise ConfigError(f"fuse_attention needs as many heads in every layer; those of {model.path} differ")
    fused = optimizer.optimize_model(
        str(plain), "bert", num_heads=first.heads, hidden_size=first.heads * first.head_size, opt_level=0
    )
    if not fused.get_fused_operator_statistics().get("Attention"):
        raise ConfigError(f"ONNX Runtime finds no attention to fuse in {model.path}; export it without fuse_attention")
    fused.save_model_to_file(str(target), use_external_data_format=needs_two_files(fused.model))


def _with_mask(classifier: "torch.nn.Module", score: float | None) -> "torch.nn.Module":
    """Return ``classifier`` as a module of two tensors that computes its mask in a form that fusions recognize.

    ``score`` is added to the attention scores of padding; with None the classifier computes its default mask.
    """
    import torch

    class Exported(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classifier = classifier

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            mask = attention_mask if score is None else scores(attention_mask, score)
            logits: torch.Tensor = self.classifier(input_ids=input_ids, attention_mask=mask).logits
            return logits

    def scores(mask: torch.Tensor, score: float) -> torch.Tensor:
        """Return the summand of the attention scores, float32 of shape (batch, 1, 1, tokens)."""
        absent = 1.0 - mask[:, None, None, :].expand(-1, 1, 1, -1).to(torch.float32)
        return absent.masked_fill(absent.to(torch.bool), score)

    return Exported().eval()
