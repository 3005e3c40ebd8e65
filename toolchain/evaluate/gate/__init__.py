"""Select the variant to promote, and give the reasons why each other variant was not selected.

A variant must be better than a trivial baseline (for a classifier: always predicting the most frequent class). It is
accurate when its accuracy, the recall of its worst class and its agreement are within the thresholds as well, and
faster when the whole interval of its speedup is above the threshold. The fastest such variant is the winner; without
one, the reference is kept. A verdict holds for the type of processor on which latency was measured.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from toolchain.artifacts.measurement import Measurement, new_measurement, open_measurement
from toolchain.artifacts.provenance import Work
from toolchain.artifacts.variants import REFERENCE
from toolchain.errors import ConfigError, DataError
from toolchain.evaluate.gate import reasons
from toolchain.progress import log_info

Data = Mapping[str, Any]  # what a measurement holds, or a part of it
BASELINE_P_VALUE = 0.025  # one-sided: the whole 95 % interval of the difference is above zero
ROUNDING_ERROR = 1e-9  # shares are quotients of row counts: a drop of exactly the threshold passes


@dataclass(frozen=True, kw_only=True)
class Config:
    max_accuracy_drop: float = 0.01  # Maximum loss of accuracy (for detection: mAP50) of an accurate variant, 0..1.
    max_class_recall_drop: float = 0.02  # Maximum loss of the worst class's recall (for detection: AP50), 0..1.
    # Minimum fraction of rows on which a converted variant predicts the same as its float model, 0..1.
    agreement: float = 0.97
    # Minimum fraction of rows on which a retrained variant (it may differ on hard rows) and its conversions predict the
    # same as fp32, 0..1.
    retrained_agreement: float = 0.85
    # Minimum speedup over fp32 of a faster variant, compared with the lower end of the interval.
    min_speedup: float = 1.05
    scenario: str = (
        ""  # Latency scenario that decides, such as batch8 or batch1-real; "": the first, with one row per request.
    )
    min_test_rows: int = 100  # Minimum number of test rows (for detection: objects) to select a variant.

    def __post_init__(self) -> None:
        for name in ("max_accuracy_drop", "max_class_recall_drop", "agreement", "retrained_agreement"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ConfigError(f"{name} is {value}: give a share from 0 to 1, such as 0.01 for 1 %")
        if not 1 <= self.min_speedup < float("inf"):
            raise ConfigError(f"min_speedup is {self.min_speedup}: give 1 or more, such as 1.05 for 5 % faster")
        if self.min_test_rows < 1:
            raise ConfigError(f"min_test_rows is {self.min_test_rows}: give 1 or more, 100 is usual")


@dataclass(frozen=True)
class Result:
    winner: str
    promoted: bool  # whether the winner is not the reference
    promotable: bool  # whether the winner is better than a trivial baseline
    speedup: float  # of the winner over the reference
    variants: int  # with the reference
    accurate: int  # without the reference
    faster: int  # without the reference


@dataclass(frozen=True)
class Assessment:
    """The findings on one variant."""

    name: str
    failed: list[str]  # a clause for each threshold that is broken
    passed: list[str]  # a clause for each threshold that holds
    speed: str  # a clause
    speedup: float  # over the reference
    faster: bool

    @property
    def accurate(self) -> bool:
        return not self.failed


def judge(accuracy: Data, parity: Data, latency: Data, config: Config) -> dict[str, Any]:
    """Return the verdict on variants, from three measurements of them.

    Returns:
        winner; promotable, whether it is better than the baseline; reason, a sentence; scenario; processor;
        thresholds; and for each variant its name, whether it is accurate, whether it is faster, and the reasons as
        clauses.

    Raises:
        ConfigError: the scenario was not measured.
        DataError: the measurements are of different variants.
    """
    config = replace(config, scenario=config.scenario or latency["scenarios"][0])
    _check_variants(accuracy, parity, latency, config)
    assessed = [_assess(name, accuracy, parity, latency, config) for name in accuracy["variants"] if name != REFERENCE]
    winner = _fastest([one for one in assessed if one.accurate and one.faster])
    learned, on_baseline = _compare_with_baseline(accuracy["variants"][REFERENCE])
    on_reference = reasons.on_reference(accuracy, latency["variants"][REFERENCE]["scenarios"][config.scenario])
    return {
        "winner": winner.name if winner else REFERENCE,
        "promotable": winner is not None or learned,
        "reason": _obstacle(winner, learned, on_baseline, parity, config) or _reason(winner, assessed),
        "scenario": config.scenario,
        "processor": latency["processor"],
        "thresholds": asdict(config),
        "variants": [
            {"name": REFERENCE, "accurate": learned, "faster": False, "reasons": [on_baseline, on_reference]},
            *(_entry(one, winner) for one in assessed),
        ],
    }


def run(accuracy: Path, parity: Path, latency: Path, verdict: Path, config: Config) -> Result:
    """Judge variants by three measurements of them and write the measurement ``verdict``.

    Raises:
        ArtifactError: a measurement is damaged or of another kind.
        ConfigError: the scenario was not measured.
        DataError: the measurements are not of the same variants.
    """
    measured = (
        open_measurement(accuracy, "accuracy"),
        open_measurement(parity, "parity"),
        open_measurement(latency, "latency"),
    )
    work = Work("evaluate.gate", config, accuracy=measured[0], parity=measured[1], latency=measured[2])
    _check_lineage(*measured)
    found = judge(measured[0].data, measured[1].data, measured[2].data, config)
    speedup = measured[2].data["variants"][found["winner"]]["scenarios"][found["scenario"]]["speedup"]["value"]
    with new_measurement(verdict, "verdict", work) as writer:
        writer.data = found
        work.metrics["speedup"] = speedup
    log_info(f"verdict: {found['reason']}")
    return _result(found, speedup)


def _check_variants(accuracy: Data, parity: Data, latency: Data, config: Config) -> None:
    if config.scenario not in latency["scenarios"]:
        known = ", ".join(latency["scenarios"])
        raise ConfigError(f"scenario {config.scenario!r} was not measured; choose one of {known}")
    for kind, measured in (("parity", parity), ("latency", latency)):
        odd = set(accuracy["variants"]) ^ set(measured["variants"])
        if odd:
            raise DataError(f"accuracy and {kind} were not measured on the same variants: {', '.join(sorted(odd))}")


def _check_lineage(accuracy: Measurement, parity: Measurement, latency: Measurement) -> None:
    if parity.lineage[-1].parents.get("accuracy") != accuracy.digest:
        raise DataError(f"{parity.path} was not made from {accuracy.path}; measure parity again")
    if latency.lineage[-1].parents.get("variants") != accuracy.lineage[-1].parents.get("variants"):
        raise DataError(f"{latency.path} and {accuracy.path} are of different variants; measure both again")


def _compare_with_baseline(measured: Data) -> tuple[bool, str]:
    """Return whether the variant ``measured`` is better than a trivial baseline, and a clause."""
    baseline = measured.get("baseline")  # of a classifier
    beaten = baseline["p_value"] < BASELINE_P_VALUE if baseline else measured["accuracy"]["low"] > 0
    return bool(beaten), reasons.on_baseline(measured, beaten)


def _assess(name: str, accuracy: Data, parity: Data, latency: Data, config: Config) -> Assessment:
    learned, on_baseline = _compare_with_baseline(accuracy["variants"][name])
    findings = [(not learned, on_baseline), *_findings(parity["variants"][name], parity, config)]
    speedup = latency["variants"][name]["scenarios"][config.scenario]["speedup"]
    faster = bool(speedup["low"] > config.min_speedup)
    origin = parity["variants"][name]["origin"] or REFERENCE
    speed = reasons.on_speed(speedup, config.scenario, config.min_speedup)
    if not faster:
        speed += reasons.why_slow(name, origin, latency, config.scenario, config.min_speedup)
    return Assessment(
        name=name,
        failed=[clause for broken, clause in findings if broken],
        passed=[clause for broken, clause in findings if not broken],
        speed=speed,
        speedup=float(speedup["value"]),
        faster=faster,
    )


def _findings(compared: Data, parity: Data, config: Config) -> list[tuple[bool, str]]:
    """Return for each threshold whether ``compared`` breaks it, and a clause."""
    rows, unit = _rows(parity)
    metric, class_rate, _ = reasons.terms_of(parity)
    drop, worst = compared["accuracy_drop"], compared["worst_class_drop"]
    too_few = rows < config.min_test_rows
    less_accurate = drop["value"] > config.max_accuracy_drop + ROUNDING_ERROR
    class_worse = worst["value"] > config.max_class_recall_drop + ROUNDING_ERROR
    of_class = f"{class_rate} of {worst['label']}, its worst class,"
    return [
        (too_few, reasons.on_rows(rows, config.min_test_rows, too_few, unit)),
        *_agreements(compared, parity, config),
        (less_accurate, reasons.on_drop(drop, config.max_accuracy_drop, less_accurate, metric)),
        (class_worse, reasons.on_drop(worst, config.max_class_recall_drop, class_worse, of_class)),
    ]


def _agreements(compared: Data, parity: Data, config: Config) -> list[tuple[bool, str]]:
    """Return the findings on agreement: with the float model of a converted variant, and with the reference.

    The second holds for a retrained variant and for all that is converted from it.
    """
    origin, (_, _, items) = compared["origin"], reasons.terms_of(parity)
    needed = [(origin, compared["origin_agreement"], config.agreement)] if origin else []
    if origin != REFERENCE:
        needed.append((REFERENCE, compared["agreement"], config.retrained_agreement))
    findings = []
    for other, found, minimum in needed:
        differs = found["value"] < minimum - ROUNDING_ERROR
        findings.append((differs, reasons.on_agreement(found, other, minimum, differs, items)))
    return findings


def _rows(parity: Data) -> tuple[int, str]:
    """Return how many rows (of a detector: objects) were measured, and their name."""
    return (parity["objects"], "objects") if "objects" in parity else (parity["rows"], "rows")


def _fastest(assessed: list[Assessment]) -> Assessment | None:
    return max(assessed, key=lambda one: (one.speedup, one.name), default=None)


def _entry(one: Assessment, winner: Assessment | None) -> dict[str, Any]:
    clauses = [*one.failed, one.speed] if one.failed else [*one.passed, one.speed]
    if winner and one.accurate and one.faster and one is not winner:
        faster = f"{winner.name} is accurate too, and {winner.speedup:.2f} times as fast as {REFERENCE}"
        clauses.append(f"is not selected: {faster}")
    return {"name": one.name, "accurate": one.accurate, "faster": one.faster, "reasons": clauses}


def _obstacle(winner: Assessment | None, learned: bool, on_baseline: str, parity: Data, config: Config) -> str:
    """Return the reason that rules out a comparison of variants, "" where there is none."""
    rows, unit = _rows(parity)
    if winner is None and not learned:
        return f"no variant can be promoted: {REFERENCE} {on_baseline}"
    few = rows < config.min_test_rows and len(parity["variants"]) > 1
    return reasons.on_few_rows(rows, config.min_test_rows, f"test {unit}") if few else ""


def _reason(winner: Assessment | None, assessed: list[Assessment]) -> str:
    if not assessed:
        return f"{REFERENCE} is kept: there is no other variant"
    if winner:
        reason = f"{winner.name} is selected: it {winner.speed}; it {'; it '.join(winner.passed[2:])}"
    else:
        others = "the other variant is not" if len(assessed) == 1 else f"none of {len(assessed)} other variants is"
        reason = f"{REFERENCE} is kept: {others} both accurate and faster"
    ahead = _fastest([one for one in assessed if one.faster and one.speedup > (winner.speedup if winner else 0)])
    if ahead:
        return f"{reason}. The fastest, {ahead.name}, {ahead.speed} but is not accurate: it {ahead.failed[0]}"
    nearest = _fastest(assessed)
    return reason if winner or not nearest else f"{reason}. The fastest, {nearest.name}, {nearest.speed}"


def _result(found: dict[str, Any], speedup: float) -> Result:
    others = [entry for entry in found["variants"] if entry["name"] != REFERENCE]
    return Result(
        winner=found["winner"],
        promoted=found["winner"] != REFERENCE,
        promotable=found["promotable"],
        speedup=speedup,
        variants=len(found["variants"]),
        accurate=sum(entry["accurate"] for entry in others),
        faster=sum(entry["faster"] for entry in others),
    )
