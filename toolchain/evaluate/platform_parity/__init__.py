"""Check that the gate's winner predicts on another processor architecture what it predicted in the evaluation.

The same code runs in an arm64 Python: natively on arm64, through QEMU on other machines. Wrong predictions are found
before a node of that architecture serves them. Speed is not measured, since emulation distorts it.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchain.artifacts.expected import TOLERANCE, read_expected
from toolchain.artifacts.measurement import Measurement, new_measurement, open_measurement
from toolchain.artifacts.model import Model
from toolchain.artifacts.provenance import Work
from toolchain.artifacts.variants import REFERENCE, Variants, open_variants
from toolchain.errors import ConfigError, DataError, ToolchainError
from toolchain.evaluate.platform_parity.predicting import Predictions, from_json
from toolchain.hardware import emulator
from toolchain.progress import log_info, track

ARCHITECTURES = ("arm64",)
PROGRAM = ("-m", "toolchain.evaluate.platform_parity")
NO_ROWS = {"rows": 0, "matching_labels": 0, "matching_scores": 0, "max_difference": 0.0}
SKIPPED: dict[str, Any] = {"runner": "", "skip_reason": "", "processor": {}, "versions": {}, "variants": {}}


@dataclass(frozen=True, kw_only=True)
class Config:
    architecture: str = "arm64"  # CPU architecture to check: arm64; "": skip the check.
    environment: str = ".venv-arm64/environment.json"  # Environment made by `make arm64`; not used on arm64 itself.
    all_variants: bool = False  # Check all variants instead of the selected one and fp32.
    timeout_s: int = 900  # Time limit per variant in seconds; emulated, 16 texts take a six-layer BERT half a minute.

    def __post_init__(self) -> None:
        if self.architecture and self.architecture not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise ConfigError(f"architecture is {self.architecture!r}: choose one of {known}, or '' to skip the check")
        if self.timeout_s < 1:
            raise ConfigError(f"timeout_s is {self.timeout_s}: give each variant at least 1, such as 900")


@dataclass(frozen=True)
class Result:
    variants: int  # that were checked; 0 without a Python of that architecture
    rows: int  # over all checked variants
    matching_labels: int  # of these rows
    matching_scores: int
    max_difference: float  # of scores, 0..1


def run(variants: Path, accuracy: Path, verdict: Path, platform_parity: Path, config: Config) -> Result:
    """Predict the recorded rows with the winner and fp32 on another architecture, and compare.

    Writes the measurement ``platform_parity``. When the check cannot run, or a variant does not run there, the
    measurement contains the reason.

    Raises:
        ArtifactError: an input is damaged or of another kind.
        DataError: the accuracy or the verdict is not of these variants.
    """
    models = open_variants(variants)
    measured, judged = open_measurement(accuracy, "accuracy"), open_measurement(verdict, "verdict")
    _check_lineage(models, measured, judged)
    work = Work("evaluate.platform_parity", config, variants=models, accuracy=measured, verdict=judged)
    with new_measurement(platform_parity, "platform_parity", work) as writer:
        writer.data = {
            "architecture": config.architecture,
            "tolerance": TOLERANCE,
            **_check_variants(models, measured, judged, config),
        }
        work.metrics["variants"] = len(writer.data["variants"])
    return _result(writer.data)


def _check_variants(models: Variants, measured: Measurement, judged: Measurement, config: Config) -> dict[str, Any]:
    """Return the runner, its processor and versions, and the result of each variant; or why the check is skipped."""
    if not config.architecture:
        return {**SKIPPED, "skip_reason": "architecture is empty"}
    try:
        python = emulator.find(Path(config.environment))
    except ToolchainError as error:
        log_info(f"platform parity on {config.architecture} is skipped: {error}")
        return {**SKIPPED, "skip_reason": str(error)}
    names = list(models.models) if config.all_variants else list(dict.fromkeys([judged.data["winner"], REFERENCE]))
    found: dict[str, Any] = {**SKIPPED, "runner": python.by, "variants": {}}
    for name in track(names, f"predict on {config.architecture}", len(names), "variants"):
        recorded = measured.path / "expected" / name
        found["variants"][name], predictions = _check_variant(python, models.models[name], recorded, config.timeout_s)
        log_info(f"{name} on {config.architecture}: {found['variants'][name]['summary']}")
        if predictions:
            processor = {"name": predictions.processor, "kind": predictions.kind}
            found |= {"processor": processor, "versions": predictions.versions}
    return found


def _check_variant(
    python: emulator.Python, model: Model, recorded: Path, seconds: int
) -> tuple[dict[str, Any], Predictions | None]:
    """Return how ``model`` predicts the rows in the folder ``recorded``, and its predictions, None when it fails."""
    from toolchain.evaluate.platform_parity.comparison import compare  # late: the other architecture has no pyarrow

    began = time.monotonic()
    expected, predictions = read_expected(recorded), None
    result: dict[str, Any] = {"backend": model.signature.backend, **NO_ROWS, "recorded_on": "", "error": ""}
    if expected is None:
        result["error"] = "no expected predictions were recorded; run evaluate.accuracy again"
    else:
        result["recorded_on"] = expected.processor
        try:
            predictions = _predict(python, model, recorded, seconds)
            result |= compare(expected, predictions.rows, model)
        except ToolchainError as error:
            result["error"] = f"it does not run: {error}"
    return {**result, "seconds": round(time.monotonic() - began, 1), "summary": _summary(result)}, predictions


def _predict(python: emulator.Python, model: Model, recorded: Path, seconds: int) -> Predictions:
    arguments = [*PROGRAM, str(model.path.absolute()), str(recorded.absolute())]
    return from_json(python.run(arguments, seconds))


def _summary(result: dict[str, Any]) -> str:
    if result["error"]:
        return str(result["error"])
    rows, labels, scores = (result[name] for name in ("rows", "matching_labels", "matching_scores"))
    same = f"{labels} of {rows} recorded rows have the same label, {scores} with scores within {TOLERANCE:g}"
    return f"{same}; the largest difference is {result['max_difference']:.2g}"


def _check_lineage(models: Variants, measured: Measurement, judged: Measurement) -> None:
    names = {entry["name"] for entry in judged.data["variants"]}
    if odd := names ^ set(models.models):
        raise DataError(f"{judged.path} does not judge these variants: {', '.join(sorted(odd))}; run the gate again")
    if judged.lineage[-1].parents.get("accuracy") != measured.digest:
        raise DataError(f"{judged.path} was not made from {measured.path}; run the gate again")


def _result(data: dict[str, Any]) -> Result:
    checked = list(data["variants"].values())
    return Result(
        variants=len(checked),
        rows=sum(entry["rows"] for entry in checked),
        matching_labels=sum(entry["matching_labels"] for entry in checked),
        matching_scores=sum(entry["matching_scores"] for entry in checked),
        max_difference=max((entry["max_difference"] for entry in checked), default=0.0),
    )
