"""Select the variant to promote, and give the reasons why each other variant was not selected.

A variant must be better than a trivial baseline (for a classifier: always predicting the most frequent class). It is
accurate when its accuracy, the recall of its worst class and its agreement are within the thresholds as well, and
faster when the whole interval of its speedup is above the threshold. The fastest such variant is the winner; without
one, the reference is kept. A verdict holds for the kind of processor on which latency was measured.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from toolchain.artifacts.measurement import Measurement, new_measurement, open_measurement
from toolchain.artifacts.provenance import Work
from toolchain.artifacts.variants import REFERENCE
from toolchain.errors import ConfigError, DataError
from toolchain.evaluate.gate import sentences
from toolchain.progress import log_info

Data = Mapping[str, Any]  # what a measurement holds, or a part of it
BASELINE_P_VALUE = 0.025  # one-sided: the whole 95 % interval of the difference is above zero
ROUNDING = 1e-9  # shares are quotients of row counts: a drop of exactly the threshold is within it


@dataclass(frozen=True, kw_only=True)
class Config:
    accuracy_drop: float = 0.01  # share of rows: one point is what a variant may cost
    worst_class_drop: float = 0.02  # of the worst class's recall: its rows are fewer, so this figure swings more
    agreement: float = 0.97  # share of rows: one that only repeats another must give its answers this often
    retrained_agreement: float = 0.85  # share of rows: one trained again may differ where rows are hard
    ratio: float = 1.05  # times as fast as the reference, by the interval's low end: less is not worth a change
    scenario: str = ""  # of the latency's scenarios the one that decides; "": its first, one row at a time
    minimum_rows: int = 100  # rows (a detector's objects) measured: with fewer, one is more than the point judged

    def __post_init__(self) -> None:
        for name in ("accuracy_drop", "worst_class_drop", "agreement", "retrained_agreement"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ConfigError(f"{name} is {value}: give a share from 0 to 1, such as 0.01 for 1 %")
        if not 1 <= self.ratio < float("inf"):
            raise ConfigError(f"ratio is {self.ratio}: give 1 or more, such as 1.05 for 5 % faster")
        if self.minimum_rows < 1:
            raise ConfigError(f"minimum_rows is {self.minimum_rows}: give 1 or more, 100 is usual")


@dataclass(frozen=True)
class Result:
    winner: str
    promoted: bool  # whether another than the reference won
    promotable: bool  # whether the winner is better than a baseline that has learned nothing
    speedup: float  # of the winner: times as fast as the reference
    variants: int  # the reference counted
    accurate: int  # besides the reference
    faster: int  # besides the reference


@dataclass(frozen=True)
class Judged:
    """One variant before the gate."""

    name: str
    breaches: list[str]  # a sentence for each threshold that is broken
    merits: list[str]  # a sentence for each that holds
    speed: str  # a sentence
    speedup: float  # times as fast as the reference
    faster: bool

    @property
    def accurate(self) -> bool:
        return not self.breaches


def judge(accuracy: Data, parity: Data, latency: Data, config: Config) -> dict[str, Any]:
    """Return the verdict on what three measurements say of the same variants.

    Returns:
        winner; promotable, whether it is better than the baseline; reason, a sentence; scenario; processor;
        thresholds; and for each variant its name, whether it is accurate and whether it is faster, and the reasons in
        sentences.

    Raises:
        ConfigError: the scenario was not measured.
        DataError: the measurements are of different variants.
    """
    config = replace(config, scenario=config.scenario or latency["scenarios"][0])
    _check_variants(accuracy, parity, latency, config)
    judged = [_judge_one(name, accuracy, parity, latency, config) for name in accuracy["variants"] if name != REFERENCE]
    winner = _fastest([one for one in judged if one.accurate and one.faster])
    learned, on_baseline = _baseline_finding(accuracy["variants"][REFERENCE])
    of_reference = sentences.of_reference(accuracy, latency["variants"][REFERENCE]["scenarios"][config.scenario])
    return {
        "winner": winner.name if winner else REFERENCE,
        "promotable": winner is not None or learned,
        "reason": _reason_first(winner, learned, on_baseline, parity, config) or _reason(winner, judged),
        "scenario": config.scenario,
        "processor": latency["processor"],
        "thresholds": asdict(config),
        "variants": [
            {"name": REFERENCE, "accurate": learned, "faster": False, "reasons": [on_baseline, of_reference]},
            *(_entry(one, winner) for one in judged),
        ],
    }


def run(accuracy: Path, parity: Path, latency: Path, verdict: Path, config: Config) -> Result:
    """Judge the variants by three measurements of them and write the measurement ``verdict``.

    Raises:
        ArtifactError: a measurement is damaged or of another kind.
        ConfigError: the scenario was not measured.
        DataError: the measurements are not of the same variants.
    """
    right, alike, quick = (
        open_measurement(accuracy, "accuracy"),
        open_measurement(parity, "parity"),
        open_measurement(latency, "latency"),
    )
    work = Work("evaluate.gate", config, accuracy=right, parity=alike, latency=quick)
    _check_lineage(right, alike, quick)
    found = judge(right.data, alike.data, quick.data, config)
    speedup = quick.data["variants"][found["winner"]]["scenarios"][found["scenario"]]["speedup"]["value"]
    with new_measurement(verdict, "verdict", work) as writer:
        writer.data = found
        work.metrics["speedup"] = speedup
    log_info(f"verdict: {found['reason']}")
    return _result(found, speedup)


def _check_variants(accuracy: Data, parity: Data, latency: Data, config: Config) -> None:
    if config.scenario not in latency["scenarios"]:
        known = ", ".join(latency["scenarios"])
        raise ConfigError(f"scenario {config.scenario!r} was not measured; the latency has {known}")
    for kind, measured in (("parity", parity), ("latency", latency)):
        odd = set(accuracy["variants"]) ^ set(measured["variants"])
        if odd:
            raise DataError(f"accuracy and {kind} were not measured on the same variants: {', '.join(sorted(odd))}")


def _check_lineage(accuracy: Measurement, parity: Measurement, latency: Measurement) -> None:
    if parity.lineage[-1].parents.get("accuracy") != accuracy.digest:
        raise DataError(f"{parity.path} was not made from {accuracy.path}; measure parity again")
    if latency.lineage[-1].parents.get("variants") != accuracy.lineage[-1].parents.get("variants"):
        raise DataError(f"{latency.path} and {accuracy.path} are of different variants; measure both again")


def _baseline_finding(measured: Data) -> tuple[bool, str]:
    """Return whether the variant ``measured`` is better than a baseline that has learned nothing, and a sentence."""
    compared = measured.get("baseline")  # of a classifier
    beaten = compared["p_value"] < BASELINE_P_VALUE if compared else measured["accuracy"]["low"] > 0
    return bool(beaten), sentences.on_baseline(measured, beaten)


def _judge_one(name: str, accuracy: Data, parity: Data, latency: Data, config: Config) -> Judged:
    learned, on_baseline = _baseline_finding(accuracy["variants"][name])
    findings = [(not learned, on_baseline), *_findings(parity["variants"][name], parity, config)]
    breaches = [sentence for broken, sentence in findings if broken]
    speedup = latency["variants"][name]["scenarios"][config.scenario]["speedup"]
    faster = bool(speedup["low"] > config.ratio)
    origin = parity["variants"][name]["origin"] or REFERENCE
    speed = sentences.on_speed(speedup, config.scenario, config.ratio)
    if not faster:
        speed += sentences.why_slow(name, origin, latency, config.scenario, config.ratio)
    return Judged(
        name=name,
        breaches=breaches,
        merits=[sentence for broken, sentence in findings if not broken],
        speed=speed,
        speedup=float(speedup["value"]),
        faster=faster,
    )


def _findings(compared: Data, parity: Data, config: Config) -> list[tuple[bool, str]]:
    """Return for each threshold whether ``compared`` breaks it, and a sentence on it."""
    repeats, (rows, counted) = bool(compared["origin"]), _rows(parity)
    accuracy, rate, things = sentences.names_of(parity)
    agreement = compared["origin_agreement" if repeats else "agreement"]
    least = config.agreement if repeats else config.retrained_agreement
    drop, worst = compared["accuracy_drop"], compared["worst_class_drop"]
    few, apart = rows < config.minimum_rows, agreement["value"] < least - ROUNDING
    wrong, unfair = drop["value"] > config.accuracy_drop + ROUNDING, worst["value"] > config.worst_class_drop + ROUNDING
    class_drop = (worst, config.worst_class_drop, unfair, f"{rate} of {worst['label']}, its worst class,")
    return [
        (few, sentences.on_rows(rows, config.minimum_rows, few, counted)),
        (apart, sentences.on_agreement(agreement, compared["origin"] or REFERENCE, least, apart, things)),
        (wrong, sentences.on_drop(drop, config.accuracy_drop, wrong, accuracy)),
        (unfair, sentences.on_drop(*class_drop)),
    ]


def _rows(parity: Data) -> tuple[int, str]:
    """Return how many rows (of a detector: objects) were measured, and what they are called."""
    return (parity["objects"], "objects") if "objects" in parity else (parity["rows"], "rows")


def _fastest(judged: list[Judged]) -> Judged | None:
    return max(judged, key=lambda one: (one.speedup, one.name), default=None)


def _entry(one: Judged, winner: Judged | None) -> dict[str, Any]:
    reasons = [*one.breaches, one.speed] if one.breaches else [*one.merits, one.speed]
    if winner and one.accurate and one.faster and one is not winner:
        reasons.append(
            f"is not selected: {winner.name} is accurate too, and {winner.speedup:.2f} times as fast as {REFERENCE}"
        )
    return {"name": one.name, "accurate": one.accurate, "faster": one.faster, "reasons": reasons}


def _reason_first(winner: Judged | None, learned: bool, on_baseline: str, parity: Data, config: Config) -> str:
    """Return the reason that decides before any speed is compared, "" where there is none."""
    rows, counted = _rows(parity)
    if winner is None and not learned:
        return f"no variant can be promoted: {REFERENCE} {on_baseline}"
    few = rows < config.minimum_rows and len(parity["variants"]) > 1
    return sentences.on_few_rows(rows, config.minimum_rows, f"test {counted}") if few else ""


def _reason(winner: Judged | None, judged: list[Judged]) -> str:
    if not judged:
        return f"{REFERENCE} stays: there is no other variant"
    if winner:
        reason = f"{winner.name} wins: it {winner.speed}, and is accurate: it {'; it '.join(winner.merits[2:])}"
    else:
        reason = f"{REFERENCE} stays: of {len(judged)} other variants none is both accurate and faster"
    ahead = _fastest([one for one in judged if one.faster and one.speedup > (winner.speedup if winner else 0)])
    if ahead:
        return f"{reason}. The fastest, {ahead.name}, {ahead.speed} but is not accurate: it {ahead.breaches[0]}"
    nearest = _fastest(judged)
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
