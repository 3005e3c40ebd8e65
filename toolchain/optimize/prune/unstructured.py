"""Unstructured pruning: set the smallest weights to 0; the matrices keep their shapes."""

from typing import Any

from toolchain.frameworks.torch.text_classifier import layers

PARTS = ("query", "key", "value", "joined", "widening", "narrowing")


def mask_smallest(classifier: Any, sparsity: float) -> None:
    """Set the smallest of all layers' weights to 0 in place: the share ``sparsity`` (0..1) of them.

    They stay 0 during training, until ``make_permanent``. L1 and global, by ``torch.nn.utils.prune``.
    """
    from torch.nn.utils import prune

    prune.global_unstructured(_weights(classifier), pruning_method=prune.L1Unstructured, amount=sparsity)


def make_permanent(classifier: Any) -> None:
    """Remove the masks and keep the zeros."""
    from torch.nn.utils import prune

    remove: Any = prune.remove  # PyTorch leaves it untyped
    for linear, name in _weights(classifier):
        remove(linear, name)


def _weights(classifier: Any) -> list[tuple[Any, str]]:
    return [(getattr(layer, part), "weight") for layer in layers(classifier) for part in PARTS]
