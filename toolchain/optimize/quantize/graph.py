"""Read and change ONNX graphs for quantization."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

MICROSOFT = "com.microsoft"  # the domain of ONNX Runtime's own operators


@dataclass(frozen=True)
class Linear:
    """A product with constant weights, and its bias if there is one."""

    name: str
    input: str  # the tensor that is multiplied, float32 (..., channels)
    weight: str  # an initializer, float32 (channels, outputs)
    product: str  # the output of the MatMul
    output: str  # after the bias; the product itself where there is none
    bias: str = ""  # an initializer, float32 (outputs,)


def linear_layers(model: Any) -> list[Linear]:
    """Return every MatMul with constant weights, in order.

    A Gemm is not included: in a classifier it is the head, which reads one token of each text and decides the class.
    """
    sizes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    readers = Counter(name for node in model.graph.node for name in node.input)
    adds = {name: node for node in model.graph.node if node.op_type == "Add" for name in node.input}
    return [
        _linear(node, sizes, adds.get(node.output[0]) if readers[node.output[0]] == 1 else None)
        for node in model.graph.node
        if node.op_type == "MatMul" and len(sizes.get(node.input[1], [])) == 2
    ]


def constants(model: Any) -> dict[str, Any]:
    """Return the arrays of the initializers by name."""
    from onnx import numpy_helper

    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def name_constants_directly(model: Any) -> None:
    """Make nodes read constants directly instead of through Identity, in place.

    PyTorch's exporter stores equal constants once and copies them by Identity, such as ALBERT's weights, which all its
    layers share; ONNX Runtime's tool does not follow Identity.
    """
    constant = {tensor.name for tensor in model.graph.initializer}
    copies = {
        node.output[0]: node.input[0]
        for node in model.graph.node
        if node.op_type == "Identity" and node.input[0] in constant
    }
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = copies.get(name, name)
    results = {value.name for value in model.graph.output}
    replace(
        model.graph.node, [n for n in model.graph.node if n.output[0] not in copies or results.intersection(n.output)]
    )


def keep_residuals_apart(model: Any) -> None:
    """Write the sum before each LayerNormalization as Sum instead of Add, in place; the outputs are equal.

    ONNX Runtime fuses Add and LayerNormalization into SkipLayerNormalization, whose kernel for CPUs is not vectorized:
    six of them take 1.83 ms of MiniLM's 26 ms (AVX2, one thread, 128 tokens), apart 0.5 ms. It does not fuse Sum.
    """
    makers = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        summing = makers.get(node.input[0]) if node.op_type == "LayerNormalization" else None
        if summing is not None and summing.op_type == "Add":
            summing.op_type = "Sum"


def replace(field: Any, items: list[Any]) -> None:
    """Make ``items`` the content of the repeated protobuf ``field``."""
    del field[:]
    field.extend(items)


def _linear(node: Any, sizes: dict[str, list[int]], add: Any) -> Linear:
    bias = next((name for name in add.input if sizes.get(name) == [sizes[node.input[1]][1]]), "") if add else ""
    return Linear(
        name=node.name or node.output[0],
        input=node.input[0],
        weight=node.input[1],
        product=node.output[0],
        output=add.output[0] if bias else node.output[0],
        bias=bias,
    )
