"""The steps between training and evaluation: export to ONNX, and quantization; the settings of pruning."""

from typing import Any

from components.export.onnx import onnx as export_onnx
from components.optimize.quantize import quantize
from pipelines._parameters import Arguments, expose
from pipelines._pods import configure_measurement_pod, configure_pod

# Pruning has settings for each architecture, and details that rarely need a change.
PRUNING_DETAILS = ("sparsity", "importance_batches", "distillation_weight", "temperature", "feature_loss_weight")
PRUNING_NAMES = {
    "method": "prune_method",
    "epochs": "distillation_epochs",
    "learning_rate": "distillation_learning_rate",
}
OPTIMIZATION = (
    expose(export_onnx, hide=("fuse_attention", "parity_rows", "tolerance")),
    expose(quantize, hide=("calibration_rows", "weight_bits", "smoothquant_alpha")),
    expose(configure_measurement_pod),
)


def export_and_quantize(model: Any, pruned: Any, dataset: Any, arguments: Arguments) -> Any:
    """Export ``model`` and ``pruned`` (which may be the same), quantize both, and return all variants."""
    exported = configure_pod(export_onnx(model=model, pruned=pruned, dataset=dataset, **arguments.of(export_onnx)))
    quantized = quantize(variants=exported.outputs["variants"], dataset=dataset, **arguments.of(quantize))
    return configure_measurement_pod(quantized, **arguments.of(configure_measurement_pod)).outputs["quantized"]
