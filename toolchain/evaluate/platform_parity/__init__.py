"""Architecture: whether the gate's winner answers on another kind of processor what it answered where it was evaluated.

The same code runs in an arm64 Python: natively where this processor is one, through QEMU elsewhere. So wrong answers
are found before a node of that kind serves them. Speed is not measured: an emulator's says nothing.
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
from toolchain.evaluate.platform_parity.asking import Asked, from_json
from toolchain.evaluate.platform_parity.comparing import compare
from toolchain.hardware import emulator
from toolchain.progress import log_info, track

ARCHITECTURES = ("arm64",)
PROGRAM = ("-m", "toolchain.evaluate.platform_parity")
NOTHING = {"rows": 0, "matching_labels": 0, "matching_scores": 0, "max_difference": 0.0}


@dataclass(frozen=True, kw_only=True)
class Config:
    architecture: str = "arm64"  # what is tried; "" tries nothing
    environment: str = ".venv-arm64/environment.json"  # of the folder that `make arm64` makes; not read on arm64 itself
    every_variant: bool = False  # whether all are tried, in place of the winner and fp32
    seconds: int = 900  # for each variant; emulated, 16 texts take a six-layer BERT half a minute

    def __post_init__(self) -> None:
        if self.architecture and self.architecture not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise ConfigError(f"architecture is {self.architecture!r}; known are {known}, and '' tries nothing")
        if self.seconds < 1:
            raise ConfigError(f"seconds is {self.seconds}: give each variant a second at least, 900 is usual")


@dataclass(frozen=True)
class Result:
    tried: int  # variants; 0 where there is no such Python
    rows: int  # of all variants tried
    matching_labels: int  # of these rows
    matching_scores: int
    max_difference: float  # of scores, 0..1


def run(variants: Path, accuracy: Path, verdict: Path, architecture: Path, config: Config) -> Result:
    """Ask the winner and fp32 elsewhere the rows that ``accuracy`` recorded; write the measurement ``architecture``.

    Where nothing can be tried the measurement says why; so it does of a variant that does not run there.

    Raises:
        ArtifactError: an input is damaged or of another kind.
        DataError: the accuracy or the verdict is not of these variants.
    """
    models = open_variants(variants)
    answered, judged = open_measurement(accuracy, "accuracy"), open_measurement(verdict, "verdict")
    _check(models, answered, judged)
    work = Work("evaluate.platform_parity", config, variants=models, accuracy=answered, verdict=judged)
    with new_measurement(architecture, "architecture", work) as writer:
        writer.data = {
            "architecture": config.architecture,
            "tolerance": TOLERANCE,
            **_try(models, answered, judged, config),
        }
        work.metrics["tried"] = len(writer.data["variants"])
    return _result(writer.data)


def _try(models: Variants, answered: Measurement, judged: Measurement, config: Config) -> dict[str, Any]:
    """Return what ran the variants, or why nothing did, its processor and versions, and each variant's figures."""
    nothing: dict[str, Any] = {"runner": "", "skip_reason": "", "processor": {}, "versions": {}, "variants": {}}
    if not config.architecture:
        return {**nothing, "skip_reason": "it was not asked for"}
    try:
        python = emulator.find(Path(config.environment))
    except ToolchainError as error:
        log_info(f"not tried on {config.architecture}: {error}")
        return {**nothing, "skip_reason": str(error)}
    wanted = list(models.models) if config.every_variant else list(dict.fromkeys([judged.data["winner"], REFERENCE]))
    found: dict[str, Any] = {**nothing, "runner": python.by}
    for name in track(wanted, f"try on {config.architecture}", len(wanted), "variants"):
        figures, asked = _figures(python, models.models[name], answered.path / "expected" / name, config.seconds)
        found["variants"][name] = figures
        log_info(f"{name} on {config.architecture}: {figures['summary']}")
        if asked:
            found |= {"processor": {"name": asked.processor, "kind": asked.kind}, "versions": asked.versions}
    return found


def _figures(
    python: emulator.Python, model: Model, recorded: Path, seconds: int
) -> tuple[dict[str, Any], Asked | None]:
    """Return how ``model`` answers there what stands in ``recorded``, and what came back, None where nothing did."""
    began = time.monotonic()
    expected = read_expected(recorded)
    told: dict[str, Any] = {"backend": model.signature.backend, **NOTHING, "recorded_on": "", "error": ""}
    asked = None
    if expected is None:
        told["error"] = "no answers were recorded; evaluate it again"
    else:
        told["recorded_on"] = expected.processor
        try:
            words = [*PROGRAM, str(model.path.absolute()), str(recorded.absolute())]
            asked = from_json(python.run(words, seconds))
            told |= compare(expected, asked.answers, len(model.signature.labels))
        except ToolchainError as error:
            told["error"] = f"it does not run: {error}"
    return {**told, "seconds": round(time.monotonic() - began, 1), "summary": _summary(told)}, asked


def _summary(figures: dict[str, Any]) -> str:
    """Return ``figures`` as a sentence."""
    if figures["error"]:
        return str(figures["error"])
    rows, labels, scores = (figures[name] for name in ("rows", "matching_labels", "matching_scores"))
    said = f"the labels of {'all' if labels == rows else f'{labels} of'}"
    near = "all" if scores == rows else str(scores)
    apart = f"the largest difference is {figures['max_difference']:.2g}"
    return f"{said} {rows} recorded rows agree, {near} with scores within {TOLERANCE:g}; {apart}"


def _check(models: Variants, answered: Measurement, judged: Measurement) -> None:
    names = {entry["name"] for entry in judged.data["variants"]}
    if odd := names ^ set(models.models):
        raise DataError(f"{judged.path} does not judge these variants: {', '.join(sorted(odd))}; judge again")
    if judged.lineage[-1].parents.get("accuracy") != answered.digest:
        raise DataError(f"{judged.path} does not judge by {answered.path}; judge again")


def _result(data: dict[str, Any]) -> Result:
    tried = list(data["variants"].values())
    return Result(
        tried=len(tried),
        rows=sum(entry["rows"] for entry in tried),
        matching_labels=sum(entry["matching_labels"] for entry in tried),
        matching_scores=sum(entry["matching_scores"] for entry in tried),
        max_difference=max((entry["max_difference"] for entry in tried), default=0.0),
    )
