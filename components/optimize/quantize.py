"""Component for toolchain.optimize.quantize."""

from kfp import dsl

from components.images import OPTIMIZE


@dsl.component(base_image=OPTIMIZE, install_kfp_package=False)
def quantize(
    variants: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    quantized: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    methods: list[str] = ["int8-dynamic", "int8-static", "openvino", "int8-openvino"],
    calibration_rows: int = 128,
    seed: int = 0,
    weight_bits: int = 7,
    smoothquant_alpha: float = 0.5,
):
    """Convert every float variant to INT8 and to other runtimes, with ONNX Runtime and OpenVINO.

    Args:
        variants: Float variants of one model, in ONNX.
        dataset: The model's dataset; calibration rows are drawn from its training split.
        quantized: The same variants, and their conversions.
        metrics: variants_made, smallest_megabytes and calibration_rows.
        methods: Conversions of every float variant: openvino, int8-openvino; for texts int8-dynamic, int8-static; for
            images int8-minmax, int8-entropy.
        calibration_rows: Number of training rows for calibration.
        seed: Random seed of the calibration rows.
        weight_bits: Bits of quantized weights: 7 predicts the same on every CPU; 8 is finer, but saturates without VNNI
            (AVX2).
        smoothquant_alpha: SmoothQuant's alpha, 0..1: how much of the activations' range moves into the weights.
    """
    from pathlib import Path

    from toolchain.optimize.quantize import Config, run

    result = run(
        Path(variants.path),
        Path(dataset.path),
        Path(quantized.path),
        Config(
            methods=methods,
            calibration_rows=calibration_rows,
            seed=seed,
            weight_bits=weight_bits,
            smoothquant_alpha=smoothquant_alpha,
        ),
    )
    metrics.log_metric("variants_made", result.made)
    metrics.log_metric("smallest_megabytes", result.smallest_bytes / 1e6)
    metrics.log_metric("calibration_rows", result.calibration_rows)
