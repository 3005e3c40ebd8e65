"""SmoothQuant (Xiao et al. 2022, arXiv 2211.10438): reduce the few huge channels of activations.

One channel of MiniLM's LayerNormalization reaches 28 where the median reaches 1.9; in one 8-bit scale most channels
would be left with 17 of its 255 levels. Dividing each channel by a factor, and multiplying the weights that read it by
the same factor, changes no prediction and evens the channels out.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.optimize.quantize.graph import Linear, constants, linear_layers
from toolchain.optimize.quantize.ranges import Extremes

Floats = NDArray[np.float32]
OUTLIER_RATIO = 6.0  # largest channel over the median one; below it smoothing only costs a normalization
SMALLEST = 1e-5  # of a channel's range, so that a dead channel has a finite factor


def smooth(model: Any, extremes: Mapping[str, Extremes], alpha: float) -> dict[str, Extremes]:
    """Smooth, in place, the inputs of linear layers that come from a LayerNormalization; return the new extremes.

    In BERT the normalized values are added to the residual too, which must not change: linear layers get a second
    LayerNormalization with the factors folded into its weights (0.04 ms each of MiniLM's 25, AVX2). Weights that
    several inputs share stay as they are.
    """
    readers: dict[str, list[Linear]] = defaultdict(list)
    for linear in linear_layers(model):
        readers[linear.input].append(linear)
    shared = {
        name
        for name, count in Counter(linear.weight for many in readers.values() for linear in many).items()
        if count > 1
    }
    makers = {output: node for node in model.graph.node for output in node.output}
    found = dict(extremes)
    for name, linears in readers.items():
        maker = makers.get(name)
        if maker is None or maker.op_type != "LayerNormalization" or len(maker.input) < 3:
            continue
        if not has_outliers(extremes[name]) or shared & {linear.weight for linear in linears}:
            continue
        values = constants(model)
        factor = factors(extremes[name].by_channel(), [values[linear.weight] for linear in linears], alpha)
        found[_give_own_normalization(model, maker, linears, factor, values)] = extremes[name].divided(factor)
    return found


def has_outliers(extremes: Extremes) -> bool:
    largest = extremes.by_channel()
    return bool(largest.max() > OUTLIER_RATIO * max(float(np.median(largest)), SMALLEST))


def factors(activation: Floats, weights: list[Floats], alpha: float) -> Floats:
    """Return the divisor of each channel, float32 (channels,): activation^alpha / weight^(1 - alpha), equation 4.

    ``activation`` is the largest absolute value by channel, float32 (channels,); ``weights`` are float32 (channels,
    outputs). The geometric mean is 1, so that zero and the usual channel stay where they were.
    """
    weight = np.max([np.abs(weight).max(axis=1) for weight in weights], axis=0)
    logarithm = alpha * np.log(np.maximum(activation, SMALLEST)) - (1 - alpha) * np.log(np.maximum(weight, SMALLEST))
    return np.asarray(np.exp(logarithm - logarithm.mean()), np.float32)


def _give_own_normalization(
    model: Any, maker: Any, linears: list[Linear], factor: Floats, values: dict[str, Floats]
) -> str:
    """Make ``linears`` read a smoothed copy of the output of ``maker``; return its name."""
    from onnx import numpy_helper

    name = f"{maker.output[0]}_smoothed"
    twin = type(maker)()
    twin.CopyFrom(maker)
    twin.name, twin.output[0] = f"{maker.name}_smoothed", name
    for position in (1, 2):  # scale and bias
        twin.input[position] = f"{name}_{position}"
        folded = (values[maker.input[position]] / factor).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(folded, twin.input[position]))
    model.graph.node.insert(list(model.graph.node).index(maker) + 1, twin)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for linear in linears:
        scaled = (values[linear.weight] * factor[:, None]).astype(np.float32)
        tensors[linear.weight].CopyFrom(numpy_helper.from_array(scaled, linear.weight))
    for node in model.graph.node:
        if node.output[0] in {linear.product for linear in linears}:
            node.input[0] = name
    return name
