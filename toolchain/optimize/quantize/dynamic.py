"""Dynamic INT8 in ONNX Runtime: constant weights in 8 bits, the ranges of activations computed for every request."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from toolchain.artifacts.graph import load_graph, needs_two_files, save_graph
from toolchain.errors import ArtifactError
from toolchain.inference.runtime import OnnxRuntimeSession
from toolchain.optimize.quantize.graph import keep_residuals_apart, linear_layers, name_constants_directly


def quantize(source: Path, target: Path, properties: Mapping[str, str], bits: int) -> None:
    """Write the ONNX graph ``source`` to ``target`` with weights of ``bits`` bits, a scale for each output.

    Weights are signed and activations unsigned, the fastest combination in MLAS: unsigned weights are slower than float
    on AVX2. Products of two activations (attention's scores) stay float.

    Raises:
        ArtifactError: the graph has no linear layer with constant weights, or ONNX Runtime cannot load it.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    model = load_graph(source)
    name_constants_directly(model)
    if not linear_layers(model):
        raise ArtifactError(f"{source} has no linear layer with constant weights, so INT8 has nothing to gain in it")
    keep_residuals_apart(model)
    add_pre_process_metadata(model)  # without it, quantize_dynamic logs advice to run steps that are not needed
    with TemporaryDirectory(dir=target.parent) as folder:
        quantize_dynamic(
            model,
            Path(folder) / "model.onnx",
            weight_type=QuantType.QInt8,
            per_channel=True,
            use_external_data_format=needs_two_files(model),
            reduce_range=bits == 7,
            extra_options={"MatMulConstBOnly": True},
        )
        save_graph(load_graph(Path(folder) / "model.onnx"), target, properties)
    OnnxRuntimeSession(target, threads=1)  # no calibration has run this graph: check that it loads
