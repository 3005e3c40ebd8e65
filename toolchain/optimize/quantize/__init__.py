"""Quantize each float variant to INT8, with ONNX Runtime and with OpenVINO, and keep the float ones.

Which of them is faster depends on the processor, so all are made and the gate chooses by measurement. The methods:

- ``int8-dynamic``: ONNX Runtime; ranges of activations are computed for every request. Needs no calibration.
- ``int8-static``: ONNX Runtime; ranges are fixed by calibration, after SmoothQuant. Both are for texts.
- ``int8-minmax``, ``int8-entropy``: ONNX Runtime; ranges are fixed by one of two calibration methods. For images.
- ``openvino``: the float weights, in OpenVINO.
- ``int8-openvino``: OpenVINO, calibrated by NNCF.
"""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from toolchain.artifacts.dataset import open_dataset
from toolchain.artifacts.model import TOKENIZER_FILES, Model, ModelWriter, Signature, require
from toolchain.artifacts.provenance import Work
from toolchain.artifacts.variants import REFERENCE, VariantsWriter, new_variants, open_variants
from toolchain.errors import ConfigError
from toolchain.inference.tasks import TASKS, task_of, task_type
from toolchain.optimize.quantize.calibration import Calibration, draw
from toolchain.progress import log_info

KEPT = (
    *TOKENIZER_FILES,
    "architecture.json",
    "detector.json",
)  # files that inference needs, and descriptions of the architecture
PLAIN = "plain.onnx"  # the graph in standard operators, where the measured one has others
CALIBRATED = {"int8-static", "int8-openvino", "int8-minmax", "int8-entropy"}
OPENVINO = {"openvino", "int8-openvino"}
METHODS = ("int8-dynamic", "int8-static", "openvino", "int8-openvino")  # of texts
IMAGE_METHODS = ("int8-minmax", "int8-entropy", "openvino", "int8-openvino")


@dataclass(frozen=True, kw_only=True)
class Config:
    # Conversions of every float variant: openvino, int8-openvino; for texts int8-dynamic, int8-static; for images
    # int8-minmax, int8-entropy.
    methods: list[str] = field(default_factory=lambda: list(METHODS))
    calibration_rows: int = 128  # Number of training rows for calibration.
    seed: int = 0  # Random seed of the calibration rows.
    # Bits of quantized weights: 7 predicts the same on every CPU; 8 is finer, but saturates without VNNI (AVX2).
    weight_bits: int = 7
    # SmoothQuant's alpha, 0..1: how much of the activations' range moves into the weights.
    smoothquant_alpha: float = 0.5

    def __post_init__(self) -> None:
        known = dict.fromkeys((*METHODS, *IMAGE_METHODS))
        if not set(self.methods) <= set(known) or len(set(self.methods)) != len(self.methods):
            raise ConfigError(f"methods is {self.methods}: name each at most once, out of {', '.join(known)}")
        if self.calibration_rows < 1:
            raise ConfigError(f"calibration_rows is {self.calibration_rows}: calibration needs at least 1 row")
        if self.weight_bits not in (7, 8):
            raise ConfigError(f"weight_bits is {self.weight_bits}: give 7 (safe without VNNI) or 8")
        if not 0 <= self.smoothquant_alpha <= 1:
            raise ConfigError(
                f"smoothquant_alpha is {self.smoothquant_alpha}: give SmoothQuant's alpha, 0 to 1; 0.5 is usual"
            )


@dataclass(frozen=True)
class Result:
    made: int  # variants added
    smallest_bytes: int  # weights of the smallest variant
    calibration_rows: int  # training rows that set the ranges; 0 when no method needed them


def run(variants: Path, dataset: Path, quantized: Path, config: Config) -> Result:
    """Write ``variants``, and the conversions of each float variant by ``config.methods``, to ``quantized``.

    Calibration rows come from the training split only, never from augmented rows; their numbers are in the notes.

    Raises:
        ConfigError: a method is for models of another task.
        DataError: the training split has no row to calibrate with.
        ArtifactError: a float variant is not in ONNX, or a method cannot take its operators.
    """
    models, rows = open_variants(variants), open_dataset(dataset)
    work = Work("optimize.quantize", config, variants=models, dataset=rows)
    floats = [model for model in models.models.values() if model.signature.backend == "onnxruntime"]
    for model in floats:
        require(model, models.reference.signature.task, "onnx")
    _check_methods(models.reference, config)
    task_of(models.reference)  # an unsupported task is rejected before anything is written
    calibration = Calibration((), ())
    if CALIBRATED & set(config.methods):
        calibration = draw(rows, models.reference, config.calibration_rows, config.seed)
    with new_variants(quantized, work) as writer:
        for model in models.models.values():
            writer.keep(model)
        for model in floats:
            for method in config.methods:
                _make(method, model, writer, work, calibration, config)
    sizes = [model.size_bytes for model in open_variants(quantized).models.values()]
    return Result(
        made=len(sizes) - len(models.models), smallest_bytes=min(sizes), calibration_rows=len(calibration.rows)
    )


def _check_methods(model: Model, config: Config) -> None:
    methods = METHODS if task_type(model).input_type.has_tokens else IMAGE_METHODS
    odd = [method for method in config.methods if method not in methods]
    if odd:
        raise ConfigError(
            f"{', '.join(odd)} is not for {model.signature.task}; set methods to some of {', '.join(methods)}"
        )


def _make(
    method: str, origin: Model, writer: VariantsWriter, work: Work, calibration: Calibration, config: Config
) -> None:
    """Add to ``writer`` the conversion of the float variant ``origin`` by ``method``."""
    signature = _signature(method, origin)
    log_info(f"quantize: {signature.variant} from {origin.variant}")
    with writer.new(signature, work, parent=origin) as model:
        model.keep(origin, *KEPT)
        _convert(method, _plain(origin), model, calibration, config)
        model.note(_note(method, calibration, config))


def _convert(method: str, source: Path, model: ModelWriter, calibration: Calibration, config: Config) -> None:
    target, properties = model.folder / model.signature.weights, _properties(model.signature)
    feeds, bits = calibration.feeds, config.weight_bits
    if method == "int8-dynamic":
        from toolchain.optimize.quantize import dynamic

        dynamic.quantize(source, target, properties, bits)
    elif method == "int8-static":
        from toolchain.optimize.quantize import static

        static.quantize(source, target, properties, feeds, bits, config.smoothquant_alpha)
    elif method in ("int8-minmax", "int8-entropy"):
        from toolchain.optimize.quantize import convolutional

        convolutional.quantize(source, target, properties, feeds, bits, method.removeprefix("int8-"))
    elif method == "openvino":
        from toolchain.optimize.quantize import openvino_ir

        openvino_ir.convert(source, target, properties)
    else:
        from toolchain.optimize.quantize import openvino_ir

        attends = TASKS[model.signature.task].input_type.has_tokens
        openvino_ir.quantize(source, target, properties, feeds, bits, attends)


def _properties(signature: Signature) -> dict[str, str]:
    """Return the metadata that describes the model in the file, which may be used without its folder."""
    labels = json.dumps(signature.labels, ensure_ascii=False)
    return {"variant": signature.variant, "origin": signature.origin, "labels": labels}


def _signature(method: str, origin: Model) -> Signature:
    variant = method if origin.variant == REFERENCE else f"{origin.variant}-{method}"
    named = replace(origin.signature, variant=variant, origin=origin.variant)
    if method in OPENVINO:
        return replace(named, framework="openvino", backend="openvino", weights="model.xml")
    return replace(named, framework="onnx", backend="onnxruntime", weights="model.onnx")


def _plain(model: Model) -> Path:
    plain = model.path / PLAIN
    return plain if plain.is_file() else model.weights


def _note(method: str, calibration: Calibration, config: Config) -> dict[str, Any]:
    note: dict[str, Any] = {"method": method}
    if method != "openvino":
        note["weight_bits"] = config.weight_bits
    if method in CALIBRATED:
        note["calibration_rows"] = list(calibration.rows)
    return note
