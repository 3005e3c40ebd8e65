"""Measure the range of the inputs of linear layers on real rows, by channel."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.artifacts.graph import save_graph
from toolchain.errors import ArtifactError, first_line
from toolchain.inference.runtime import Feeds
from toolchain.optimize.quantize.graph import linear_layers

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Extremes:
    """The smallest and largest value of each channel in each calibration row."""

    low: Floats  # (rows, channels)
    high: Floats  # (rows, channels)

    def usual(self) -> tuple[float, float]:
        """Return the range of a usual row: the averages, over rows, of the smallest and the largest value.

        A range up to the largest value of all rows is coarser for all others: on a fine-tuned MiniLM the
        logits' mean error is .053 with it and .050 with this.
        """
        return float(self.low.min(axis=1).mean()), float(self.high.max(axis=1).mean())

    def by_channel(self) -> Floats:
        """Return the largest absolute value of each channel, float32 (channels,)."""
        return np.asarray(np.maximum(np.abs(self.low), np.abs(self.high)).max(axis=0), np.float32)

    def divided(self, scale: Floats) -> "Extremes":
        """Return the extremes after each channel is divided by its ``scale``, float32 (channels,), above zero."""
        return Extremes(self.low / scale, self.high / scale)


def measure(model: Any, source: Path, feeds: Sequence[Feeds]) -> dict[str, Extremes]:
    """Return the extremes of every linear layer's input on ``feeds``; ``source`` is named in errors.

    Raises:
        ArtifactError: ONNX Runtime cannot run the graph.
    """
    names = list(dict.fromkeys(linear.input for linear in linear_layers(model)))
    try:
        return _measure(model, names, feeds)
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        raise ArtifactError(f"{source} does not run in ONNX Runtime: {first_line(error)}") from error


def _measure(model: Any, names: list[str], feeds: Sequence[Feeds]) -> dict[str, Extremes]:
    import onnxruntime
    from onnx import TensorProto, helper

    shown = type(model)()
    shown.CopyFrom(model)
    shown.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    with TemporaryDirectory(prefix="ranges-") as folder:
        save_graph(shown, Path(folder) / "shown.onnx", {})
        session = onnxruntime.InferenceSession(Path(folder) / "shown.onnx", providers=["CPUExecutionProvider"])
    inputs = [value.name for value in session.get_inputs()]
    low: dict[str, list[Floats]] = {name: [] for name in names}
    high: dict[str, list[Floats]] = {name: [] for name in names}
    for feed in feeds:
        for name, value in zip(names, session.run(names, {key: feed[key] for key in inputs}), strict=True):
            tokens = value.reshape(-1, value.shape[-1])
            low[name].append(tokens.min(axis=0))
            high[name].append(tokens.max(axis=0))
    return {name: Extremes(np.stack(low[name]), np.stack(high[name])) for name in names}
