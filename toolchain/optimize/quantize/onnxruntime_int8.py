"""ONNX Runtime's INT8: linear layers multiply 8-bit integers, everything between them stays float."""

from pathlib import Path
from typing import Any

from toolchain.errors import ArtifactError


def quantize_dynamic(source: Path, target: Path, bits: int) -> None:
    """Write ``source`` to ``target`` with INT8 weights (by channel, of ``bits`` bits) and ranges found per request.

    Signed weights, unsigned activations: what MLAS is fastest at: unsigned weights are slower than float on AVX2.
    Products of two activations (attention's scores) stay float: their ranges would have to be found too.

    Raises:
        ArtifactError: no linear layer with constant weights is in the graph.
    """
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization import quantize_dynamic as quantize

    model = _load(source)
    _keep_residuals_apart(model)
    quantize(
        model,
        target,
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=bits == 7,
        extra_options={"MatMulConstBOnly": True},
    )
    _check(target, source)


def _load(source: Path) -> Any:
    import onnx
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    model = onnx.load(source)
    add_pre_process_metadata(model)  # shapes are inferred on reading; without this mark it warns of steps not needed
    return model


def _keep_residuals_apart(model: Any) -> None:
    """Write the sum before each LayerNormalization as Sum instead of Add, in place: the same numbers.

    ONNX Runtime fuses Add and LayerNormalization into SkipLayerNormalization, whose kernel for CPUs is not vectorized:
    six of them take 1.83 ms of MiniLM's 26 ms (AVX2, one thread, 128 tokens), apart 0.5 ms. It does not fuse Sum.
    """
    makers = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        if node.op_type == "LayerNormalization" and node.input[0] in makers:
            summing = makers[node.input[0]]
            summing.op_type = "Sum" if summing.op_type == "Add" else summing.op_type


def _check(target: Path, source: Path) -> None:
    import onnx

    integer = {"MatMulInteger", "QLinearMatMul", "QAttention", "DequantizeLinear", "MatMulIntegerToFloat"}
    if not integer & {node.op_type for node in onnx.load(target).graph.node}:
        raise ArtifactError(f"{source} has no linear layer with constant weights, so INT8 has nothing to gain in it")
