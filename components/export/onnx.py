"""Component for toolchain.export.onnx."""

from kfp import dsl

from components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def onnx(
    model: dsl.Input[dsl.Model],
    pruned: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    variants: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    opset: int = 17,
    fuse_attention: bool = False,
    parity_rows: int = 64,
    tolerance: float = 1e-3,
):
    """Export a model and its pruned version to ONNX, and compare their predictions on real rows with PyTorch's.

    Args:
        model: A trained model (PyTorch).
        pruned: Its pruned version; model itself, if nothing was pruned.
        dataset: The rows to compare predictions on.
        variants: The ONNX models, fp32 first, each with all files that inference needs.
        metrics: variants, rows_compared and max_difference.
        opset: ONNX opset version, 17..20; 17 is the first with layer normalization as one operator.
        fuse_attention: Fuse each attention into one ONNX Runtime operator; a plain graph is kept with it.
        parity_rows: Number of rows on which the ONNX graph is compared with PyTorch.
        tolerance: Maximum difference of logits, relative above 1; float32 rounds by 1e-6, an error gives 1e-1.
    """
    from pathlib import Path

    from toolchain.export.onnx import Config, run

    config = Config(opset=opset, fuse_attention=fuse_attention, parity_rows=parity_rows, tolerance=tolerance)
    result = run([Path(model.path), Path(pruned.path)], Path(dataset.path), Path(variants.path), config)
    metrics.log_metric("variants", len(result.variants))
    metrics.log_metric("rows_compared", result.rows)
    metrics.log_metric("max_difference", result.max_difference)
