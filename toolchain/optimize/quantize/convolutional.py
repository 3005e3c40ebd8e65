"""Static INT8 of convolutional networks in ONNX Runtime: unsigned 8-bit activations, signed weights by channel.

The nodes from the first to the last layer with weights are quantized; the normalisation before them and the selection
of boxes after them stay in float, where they are cheap and lose no accuracy. Which calibration is better depends on the
network, so both are offered and the gate chooses: ``minmax`` covers every observed value, ``entropy`` clips rare large
ones where that loses the least information (Migacz 2017, "8-bit Inference with TensorRT").
"""

import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from toolchain.artifacts.graph import load_graph, needs_two_files, save_graph
from toolchain.errors import ArtifactError, first_line
from toolchain.inference.runtime import Feeds
from toolchain.optimize.quantize.graph import name_constants_directly

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# Operators without weights that ONNX Runtime computes on 8-bit integers, so that none breaks the chain. Concat
# and Resize are left out: exported networks compute shapes with them.
PASSING = ("Add", "AveragePool", "Clip", "GlobalAveragePool", "MaxPool", "Relu")


def quantize(
    source: Path, target: Path, properties: Mapping[str, str], feeds: Sequence[Feeds], bits: int, calibration: str
) -> None:
    """Write the ONNX graph ``source`` to ``target`` in INT8 (QDQ), ranges of activations set by ``feeds``.

    Args:
        source: A graph in standard operators.
        target: The file to write.
        properties: Added to the file's metadata.
        feeds: Requests that represent the model's future inputs.
        bits: Of weights: 7 keep the 16-bit sums of processors without VNNI from saturating.
        calibration: "minmax" or "entropy".

    Raises:
        ArtifactError: no layer in it has constant weights, or ONNX Runtime does not support the graph.
    """
    model = load_graph(source)
    name_constants_directly(model)
    nodes = between_weights(model)
    if not nodes:
        raise ArtifactError(f"{source} has no layer with constant weights, so INT8 has nothing to gain in it")
    _keep_quiet()
    with TemporaryDirectory(prefix="quantize-") as folder:
        named, quantized = Path(folder) / "named.onnx", Path(folder) / "int8.onnx"
        large = needs_two_files(model)
        save_graph(model, named, {})
        try:
            with redirect_stdout(io.StringIO()):  # its calibrators print what they do
                _quantize_nodes(named, quantized, nodes, feeds, bits, calibration, large)
        except Exception as error:  # ONNX Runtime's tools raise exceptions of many types
            raise ArtifactError(f"ONNX Runtime cannot quantize {source}: {first_line(error)}") from error
        save_graph(load_graph(quantized), target, properties)


def _quantize_nodes(
    source: Path, target: Path, nodes: list[str], feeds: Sequence[Feeds], bits: int, calibration: str, large: bool
) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    methods = {"minmax": CalibrationMethod.MinMax, "entropy": CalibrationMethod.Entropy}
    quantize_static(
        source,
        target,
        Requests(feeds),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        use_external_data_format=large,
        reduce_range=bits == 7,
        calibrate_method=methods[calibration],
        nodes_to_quantize=nodes,
        op_types_to_quantize=[*WEIGHTED, *PASSING],
    )


class Requests:
    """Calibration requests, one after the other, in the interface of ONNX Runtime's calibrators."""

    def __init__(self, feeds: Sequence[Feeds]) -> None:
        self._feeds: Iterator[Feeds] = iter(feeds)

    def get_next(self) -> dict[str, Any] | None:
        """Return the next request, None after the last."""
        feed = next(self._feeds, None)
        return None if feed is None else dict(feed)


def between_weights(model: Any) -> list[str]:
    """Return the names of the nodes from the first to the last layer with constant weights, naming nodes that
    have no name.

    A node without weights is included when such a layer comes before it and another after it.
    """
    constant = {tensor.name for tensor in model.graph.initializer}
    weighted = {
        index
        for index, node in enumerate(model.graph.node)
        if node.op_type in WEIGHTED and len(node.input) > 1 and node.input[1] in constant
    }
    after, before = _reached(model.graph.node, weighted), _reaching(model.graph.node, weighted)
    chosen = []
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
        if index in weighted or (node.op_type in PASSING and index in after and index in before):
            chosen.append(node.name)
    return chosen


def _reached(nodes: Sequence[Any], starts: set[int]) -> set[int]:
    """Return the indices of the nodes whose inputs depend on a node of ``starts``."""
    touched: set[str] = set()
    found = set()
    for index, node in enumerate(nodes):
        if touched.intersection(node.input):
            found.add(index)
        if index in starts or index in found:
            touched.update(node.output)
    return found


def _reaching(nodes: Sequence[Any], ends: set[int]) -> set[int]:
    """Return the indices of the nodes whose output a node of ``ends`` depends on."""
    needed: set[str] = set()
    found = set()
    for index in reversed(range(len(nodes))):
        node = nodes[index]
        if needed.intersection(node.output):
            found.add(index)
        if index in ends or index in found:
            needed.update(node.input)
    return found


def _keep_quiet() -> None:
    """Suppress the advice to pre-process: exported graphs have their shapes and fused normalisation already."""
    logging.getLogger().addFilter(lambda record: "pre-processing before quantization" not in record.getMessage())
