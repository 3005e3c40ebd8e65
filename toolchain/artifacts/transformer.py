"""Text classifiers in PyTorch, loaded from and saved to a Model's folder with whatever pruning removed from them.

Hugging Face's own loader refuses a layer that is smaller than its configuration says. Here every linear layer takes
the shape that its saved weights have, which is all that removed heads and neurons change: attention works with as many
heads as its projections hold.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.artifacts.folder import disk_space_reported
from toolchain.artifacts.model import Model
from toolchain.errors import ArtifactError

if TYPE_CHECKING:
    import torch

WEIGHTS = "model.safetensors"
BERT_LIKE = (
    "bert",
    "camembert",
    "electra",
    "roberta",
    "xlm-roberta",
)  # model types whose layers name their parts alike


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


def load_classifier(model: Model, attention: str = "sdpa") -> Any:  # Transformers' classes are untyped
    """Return the sequence classifier in ``model``'s folder, in evaluation mode, on the CPU, float32.

    It maps input_ids and attention_mask, int64 of shape (rows, tokens), to an output whose ``logits`` are float32 of
    shape (rows, labels). ``attention`` is Transformers' name of an implementation: "sdpa" is the fast one, "eager" the
    one that exporters can read.

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
        module.load_state_dict(weights)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
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


def layers(module: Any) -> list[Layer]:
    """Return the layers of ``module``, a classifier of Transformers, from the first to the last.

    Raises:
        ArtifactError: it is a kind of model whose parts are not known here.
    """
    make = _distilbert_layer if module.config.model_type == "distilbert" else _bert_layer
    return [make(block) for block in blocks(module)]


def blocks(module: Any) -> list[Any]:
    """Return the modules of ``module``'s layers, from the first to the last; each gives hidden states.

    Raises:
        ArtifactError: it is a kind of model whose parts are not known here.
    """
    kind = module.config.model_type
    if kind in BERT_LIKE:
        return list(module.base_model.encoder.layer)
    if kind == "distilbert":
        return list(module.base_model.transformer.layer)
    known = ", ".join((*BERT_LIKE, "distilbert"))
    raise ArtifactError(f"the parts of a model of type {kind!r} are not known here; known are those of {known}")


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
