"""Measure the importance of attention heads and feed-forward neurons: the change of the loss without them.

First-order Taylor: removing a part changes the loss by about its output times the loss's gradient there. Heads as
in Michel et al. 2019 (arXiv 1905.10650), neurons as in Molchanov et al. 2019 (arXiv 1906.10771): the product is summed
over a row's tokens, and its size over rows.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toolchain.frameworks.torch.text_classifier import layers
from toolchain.frameworks.torch.token_dataset import Batch

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Importance:
    """The importance of one layer's parts, in nats summed over rows, at least 0; on the CPU."""

    heads: "Tensor"  # float64 of shape (heads,)
    neurons: "Tensor"  # float64 of shape (neurons,)


def measure_importance(classifier: Any, batches: Iterable[Batch]) -> list[Importance]:
    """Return the importance of each layer's parts over ``batches``; the weights of ``classifier`` do not change."""
    from torch.nn.functional import cross_entropy

    parts = layers(classifier)
    gradients = [(_Gradients(part.joined, part.head_size), _Gradients(part.narrowing, 1)) for part in parts]
    for batch in batches:
        loss: Any = cross_entropy(classifier(**batch.inputs).logits, batch.labels, reduction="sum")
        loss.backward()
        for heads, neurons in gradients:
            heads.add()
            neurons.add()
        classifier.zero_grad(set_to_none=True)
    for heads, neurons in gradients:
        heads.end()
        neurons.end()
    return [Importance(heads.sizes, neurons.sizes) for heads, neurons in gradients]


class _Gradients:
    """Sums, over batches, the inputs of one linear layer multiplied by their gradients."""

    def __init__(self, layer: "torch.nn.Linear", group: int) -> None:
        import torch

        self.group = group  # adjacent inputs that form one part: a head's size, or 1 for a neuron
        self.sizes = torch.zeros(layer.in_features // group, dtype=torch.float64)
        self._hook = layer.register_forward_pre_hook(self._keep)

    def _keep(self, _: object, inputs: "tuple[Tensor, ...]") -> None:
        self._inputs = inputs[0]
        self._inputs.retain_grad()

    def add(self) -> None:
        """Add a batch, after its backward pass."""
        gradient = self._inputs.grad
        assert gradient is not None, "add comes after backward"
        products = (self._inputs.detach() * gradient).sum(1)  # (rows, inputs)
        parts = products.reshape(len(products), -1, self.group).sum(-1)  # (rows, parts)
        self.sizes += parts.abs().sum(0).double().cpu()

    def end(self) -> None:
        self._hook.remove()
