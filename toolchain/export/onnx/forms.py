"""How a PyTorch model is traced, and how its outputs are compared with those of the graph."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from toolchain.artifacts.model import Tensor
from toolchain.inference.runtime import Feeds

if TYPE_CHECKING:
    import torch

WEIGHTS = "model.onnx"
Outputs = list[NDArray[Any]]


@dataclass(frozen=True)
class Form:
    """A model in PyTorch, ready to be traced."""

    module: "torch.nn.Module"  # takes the inputs and gives the outputs, both in order
    example: "tuple[torch.Tensor, ...]"  # to trace with; its values and free sizes are not kept
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    reference: Callable[[Feeds], Outputs]  # the outputs of PyTorch
    difference: Callable[[Outputs, Outputs], float]  # between the outputs of the graph and of PyTorch
    compared: str  # what is compared, for messages: "logits"
    files: tuple[str, ...]  # of the model's folder, kept with the graph
    rows: int = 8  # per comparison: several, and padded, so that the mask and the free batch are tested too
    others: "tuple[torch.nn.Module, ...]" = ()  # traced in turn where the graph of ``module`` has other outputs
    positions: int = 0  # tokens that the weights have positions for; 0: no limit
    fuse: Callable[[Path, Path], None] | None = None  # writes the second graph, with the attention of the first fused


def relative_difference(ours: Outputs, theirs: Outputs) -> float:
    """Return the maximum difference of the first output, such as logits; relative to the largest value above 1, since
    float32 rounds in proportion."""
    scale = max(1.0, float(np.max(np.abs(theirs[0]), initial=0.0)))
    return float(np.max(np.abs(ours[0] - theirs[0]), initial=0.0)) / scale
