"""Static INT8 in ONNX Runtime: constant weights in 8 bits, the ranges of activations fixed by calibration.

Only linear layers compute in INT8; attention's own products, LayerNormalization, Softmax and Gelu stay float. With all
of them in INT8 the predictions of a fine-tuned MiniLM change (cosine of the logits 0.29 instead of 0.998).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.artifacts.graph import load_graph, save_graph
from toolchain.errors import ArtifactError
from toolchain.inference.runtime import Feeds
from toolchain.optimize.quantize.embeddings import shrink_embeddings
from toolchain.optimize.quantize.graph import (
    MICROSOFT,
    Linear,
    constants,
    keep_residuals_apart,
    linear_layers,
    name_constants_directly,
    replace,
)
from toolchain.optimize.quantize.ranges import Extremes, measure
from toolchain.optimize.quantize.smoothing import smooth

Floats = NDArray[np.float32]
LEVELS = 255  # of an unsigned 8-bit activation, above zero
SMALLEST = 1e-8  # a scale must be above zero, also for weights that were all pruned away


def quantize(
    source: Path, target: Path, properties: Mapping[str, str], feeds: Sequence[Feeds], bits: int, alpha: float
) -> None:
    """Write the ONNX graph ``source`` to ``target`` with linear layers in INT8, ranges set by ``feeds``.

    Weights are signed, of ``bits`` bits, each output channel in its own scale; activations unsigned, each tensor in one
    scale, after SmoothQuant with ``alpha`` where some channels are far larger than the others.

    Raises:
        ArtifactError: the graph has no linear layer with constant weights.
    """
    model = load_graph(source)
    name_constants_directly(model)
    if not linear_layers(model):
        raise ArtifactError(f"{source} has no linear layer with constant weights, so INT8 has nothing to gain in it")
    keep_residuals_apart(model)
    extremes = smooth(model, measure(model, source, feeds), alpha)
    replace_linear_layers(model, extremes, bits)
    shrink_embeddings(model)
    save_graph(model, target, properties)


def replace_linear_layers(model: Any, extremes: Mapping[str, Extremes], bits: int) -> None:
    """Replace each linear layer by QuantizeLinear and MatMulIntegerToFloat (with the bias), in place."""
    from onnx import helper, numpy_helper

    linears = {linear.product: linear for linear in linear_layers(model)}
    values, added, quantized = constants(model), dict[str, Any](), set[str]()
    biased = {linear.output for linear in linears.values() if linear.bias}
    nodes: list[Any] = []
    for node in model.graph.node:
        linear = linears.get(node.output[0])
        if linear is None:
            nodes += [] if node.output[0] in biased else [node]
            continue
        if linear.input not in quantized:
            quantized.add(linear.input)
            added |= _activation_constants(linear.input, extremes[linear.input])
            nodes.append(_quantizer(linear.input))
        added |= _weight_constants(linear.weight, values[linear.weight], bits)
        nodes.append(_product(linear))
    replace(model.graph.node, nodes)
    gone = {linear.weight for linear in linears.values()}
    tensors = [numpy_helper.from_array(value, name) for name, value in added.items()]
    replace(model.graph.initializer, [t for t in model.graph.initializer if t.name not in gone] + tensors)
    if MICROSOFT not in {entry.domain for entry in model.opset_import}:
        model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))


def quantize_weight(weight: Floats, bits: int) -> tuple[NDArray[np.int8], Floats]:
    """Return int8 of the shape of ``weight`` (channels, outputs), and the float32 scales (outputs,); 0 stays 0."""
    largest = 2 ** (bits - 1) - 1
    scale = np.maximum(np.abs(weight).max(axis=0), SMALLEST) / largest
    return np.clip(np.rint(weight / scale), -largest, largest).astype(np.int8), scale.astype(np.float32)


def scale_of(low: float, high: float) -> tuple[np.float32, np.uint8]:
    """Return scale and zero point of unsigned 8-bit numbers from ``low`` to ``high``; 0 is always one of them."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(high - low, SMALLEST) / LEVELS
    return np.float32(scale), np.uint8(round(-low / scale))


def _activation_constants(name: str, extremes: Extremes) -> dict[str, NDArray[Any]]:
    scale, zero = scale_of(*extremes.usual())
    return {f"{name}_scale": np.asarray(scale), f"{name}_zero": np.asarray(zero)}


def _weight_constants(name: str, weight: Floats, bits: int) -> dict[str, NDArray[Any]]:
    integers, scale = quantize_weight(weight, bits)
    return {f"{name}_int8": integers, f"{name}_scale": scale, f"{name}_zero": np.zeros(len(scale), np.int8)}


def _quantizer(name: str) -> Any:
    from onnx import helper

    return helper.make_node(
        "QuantizeLinear", [name, f"{name}_scale", f"{name}_zero"], [f"{name}_uint8"], name=f"{name}_quantize"
    )


def _product(linear: Linear) -> Any:
    from onnx import helper

    x, w = linear.input, linear.weight
    inputs = [f"{x}_uint8", f"{w}_int8", f"{x}_scale", f"{w}_scale", f"{x}_zero", f"{w}_zero"]
    return helper.make_node(
        "MatMulIntegerToFloat",
        [*inputs, *([linear.bias] if linear.bias else [])],
        [linear.output],
        name=f"{linear.name}_int8",
        domain=MICROSOFT,
    )
