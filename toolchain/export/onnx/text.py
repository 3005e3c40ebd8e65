"""Text classifiers as they are traced, and the fusion of their attention.

Fusing attention into the file (``fuse_attention``) was measured at 0.93 to 0.96 of the plain graph's speed in fp32 and
in INT8 (MiniLM, AVX2, 1 x 128 tokens, ONNX Runtime 1.32), so the default leaves it out.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.artifacts.model import TOKENIZER_FILES, Model, Tensor
from toolchain.artifacts.transformer import layers, load_classifier
from toolchain.errors import ConfigError
from toolchain.export.onnx.forms import Answers, Form, largest_gap
from toolchain.inference import Feeds

if TYPE_CHECKING:
    import torch

INPUTS = (Tensor("input_ids", "int64", ("batch", "tokens")), Tensor("attention_mask", "int64", ("batch", "tokens")))
# Added to the attention scores of padding. exp(-60) = 9e-27 vanishes beside 1 in float32, and an INT8 scale that has to
# reach the usual -3.4e38 is worth nothing (measured on AVX512-VNNI: dynamic INT8 1.69x with that, 2.29x with -60).
SCORE_OF_PADDING = -60.0


def form(model: Model) -> Form:
    """Return a classifier that takes int64 ids and mask (batch, tokens) and gives float32 logits (batch, labels)."""
    import torch

    reference = load_classifier(model)
    ids = torch.ones(2, 8, dtype=torch.int64)

    def answer(feeds: Feeds) -> Answers:
        with torch.inference_mode():
            inputs = {tensor.name: torch.from_numpy(feeds[tensor.name]) for tensor in INPUTS}
            return [reference(**inputs).logits.numpy()]

    return Form(
        module=_with_plain_mask(load_classifier(model, attention="eager")),
        example=(ids, torch.ones_like(ids)),
        inputs=INPUTS,
        outputs=(Tensor("logits", "float32", ("batch", len(model.signature.labels))),),
        reference=answer,
        difference=largest_gap,
        answer="logits",
        files=(*TOKENIZER_FILES, "config.json"),
    )


def fuse(model: Model, plain: Path, target: Path) -> None:
    """Write the graph ``plain`` to ``target`` with one operator of ONNX Runtime's own for each attention.

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
    fused.save_model_to_file(str(target))


def _with_plain_mask(classifier: "torch.nn.Module") -> "torch.nn.Module":
    """Return ``classifier`` as a module of two tensors that makes its mask itself, in a form that fusions recognize."""
    import torch

    class Exported(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classifier = classifier

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            absent = 1.0 - attention_mask[:, None, None, :].expand(-1, 1, 1, -1).to(torch.float32)
            scores = absent.masked_fill(
                absent.to(torch.bool), SCORE_OF_PADDING
            )  # added, of shape (batch, 1, 1, tokens)
            logits: torch.Tensor = self.classifier(input_ids=input_ids, attention_mask=scores).logits
            return logits

    return Exported().eval()
