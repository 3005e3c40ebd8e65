"""Quantize the table of token embeddings to 8 bits, with a scale for each token.

This saves size, not time: the table is most of a small BERT (47 of MiniLM's 91 MB), and a request reads few rows.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.optimize.quantize.graph import constants, replace

MIN_TABLE_ROWS = 1000  # rows; position and type tables are smaller
LARGEST = 127
SMALLEST = 1e-8  # a scale must be above zero, also for a token that was never trained


def shrink_embeddings(model: Any) -> None:
    """Make each Gather of a large float table read 8-bit rows and their scales, in place."""
    from onnx import numpy_helper

    values = constants(model)
    tables = {
        node.input[0]
        for node in model.graph.node
        if node.op_type == "Gather" and is_table(values.get(node.input[0])) and not _axis(node)
    }
    tables -= {name for node in model.graph.node if node.op_type != "Gather" for name in node.input}
    nodes = [part for node in model.graph.node for part in (_lookup(node) if tables & set(node.input) else [node])]
    replace(model.graph.node, nodes)
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in tables]
    for name in sorted(tables):
        integers, scale = quantize_rows(values[name])
        kept += [numpy_helper.from_array(integers, f"{name}_int8"), numpy_helper.from_array(scale, f"{name}_scale")]
    replace(model.graph.initializer, kept)


def quantize_rows(table: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return int8 of the shape of ``table`` (rows, channels), and float32 scales (rows, 1)."""
    scale = np.maximum(np.abs(table).max(axis=1, keepdims=True), SMALLEST) / LARGEST
    return np.rint(table / scale).astype(np.int8), scale.astype(np.float32)


def is_table(value: NDArray[Any] | None) -> bool:
    return value is not None and value.ndim == 2 and value.dtype == np.float32 and len(value) >= MIN_TABLE_ROWS


def _axis(node: Any) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "axis"), 0)


def _lookup(node: Any) -> list[Any]:
    from onnx import TensorProto, helper

    table, ids, output = node.input[0], node.input[1], node.output[0]
    return [
        helper.make_node("Gather", [f"{table}_int8", ids], [f"{output}_int8"], name=f"{node.name}_int8"),
        helper.make_node("Gather", [f"{table}_scale", ids], [f"{output}_scale"], name=f"{node.name}_scale"),
        helper.make_node(
            "Cast", [f"{output}_int8"], [f"{output}_float"], name=f"{node.name}_cast", to=TensorProto.FLOAT
        ),
        helper.make_node("Mul", [f"{output}_float", f"{output}_scale"], [output], name=f"{node.name}_mul"),
    ]
