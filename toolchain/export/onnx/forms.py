"""Forms: each kind of model in PyTorch as it is traced, and how its answers are compared."""

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
Answers = list[NDArray[Any]]


@dataclass(frozen=True)
class Form:
    """A model in PyTorch, ready to be traced."""

    module: "torch.nn.Module"  # takes the inputs and gives the outputs, both in order
    example: "tuple[torch.Tensor, ...]"  # to trace with; its values and free sizes are not kept
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    reference: Callable[[Feeds], Answers]  # what PyTorch answers
    difference: Callable[[Answers, Answers], float]  # between the graph's answers and PyTorch's
    answer: str  # what is compared, in words
    files: tuple[str, ...]  # of the model's folder, kept beside the graph
    rows: int = 8  # compared at once: several, and padded, so that the mask and the free batch are tried too
    others: "tuple[torch.nn.Module, ...]" = ()  # traced in turn where the graph of ``module`` answers otherwise
    positions: int = 0  # tokens that the weights have positions for; 0: no limit
    fuse: Callable[[Path, Path], None] | None = None  # writes the second graph, with the attention of the first fused


def largest_gap(ours: Answers, theirs: Answers) -> float:
    """Return the largest difference of the first answers, logits say: of large ones as a share of the largest, since
    float32 rounds in proportion."""
    scale = max(1.0, float(np.max(np.abs(theirs[0]), initial=0.0)))
    return float(np.max(np.abs(ours[0] - theirs[0]), initial=0.0)) / scale
