"""Sentences: what the gate found, with the figures, as a person reads it."""

from collections.abc import Mapping
from typing import Any

from toolchain.artifacts.variants import REFERENCE
from toolchain.hardware.cpu import INT8_DOT_PRODUCTS

Data = Mapping[str, Any]
STILL_FLOAT = (
    0.6  # share of the origin's size: INT8 weights are a quarter, embeddings left alone bring it to about half
)
LACKS = {  # what a kind of processor without INT8 dot products has and has not
    "avx512": "AVX512 but no VNNI",
    "avx2": "AVX2 but no VNNI",
    "neon": "NEON but no dot products",
    "baseline": "neither AVX2 nor VNNI",
}
BACKENDS = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


def of_reference(accuracy: Data, timed: Data) -> str:
    right, rows = _percent(accuracy["variants"][REFERENCE]["accuracy"]), f"{accuracy['rows']:,}"
    reached = f"mAP50 {right} on {rows} pictures" if _detects(accuracy) else f"right on {right} of {rows} rows"
    return f"is what all others are measured against: {reached}, {timed['p50_ms']:.1f} ms for the typical request"


def on_baseline(measured: Data, beaten: bool) -> str:
    """Return how the variant ``measured`` compares with a baseline that has learned nothing."""
    if "baseline" not in measured:  # a detector: the baseline predicts no boxes, which is mAP50 0
        low = f"mAP50 has an interval from {100 * measured['accuracy']['low']:.1f} %"
        return (
            f"is better than predicting no boxes: {low}" if beaten else f"is not better than predicting no boxes: {low}"
        )
    baseline = measured["baseline"]
    figures = f"correct on {_percent(measured['accuracy'])} of the rows, against {100 * baseline['share']:.1f} %"
    test = f"exact McNemar test: p = {baseline['p_value']:.2g}"
    verb = "is better than" if beaten else "is not better than"
    return f"{verb} always predicting {baseline['label']!r}: {figures} ({test})"


def on_few_rows(rows: int, least: int, things: str) -> str:
    return f"{REFERENCE} stays: the gate needs {least:,} {things} to compare variants, and the test split has {rows:,}"


def names_of(parity: Data) -> tuple[str, str, str]:
    """Return what accuracy, a class's rate and what is compared are called: in words for the task."""
    return ("mAP50", "AP50", "boxes") if _detects(parity) else ("accuracy", "recall", "rows")


def on_rows(rows: int, least: int, few: bool, things: str = "rows") -> str:
    return f"was judged on {rows:,} {things}" + (f", fewer than the {least:,} that a verdict needs" if few else "")


def on_agreement(found: Data, other: str, least: float, apart: bool, things: str = "rows") -> str:
    sentence = f"agrees with {other} on {_percent(found)} of the {things}"
    return f"{sentence}, less than the {100 * least:g} % asked" if apart else sentence


def on_drop(found: Data, most: float, broken: bool, subject: str) -> str:
    """Say what of ``subject`` was lost or gained, and whether the rows suffice to be sure that ``most`` holds."""
    lost = found["value"] >= 0
    verb, low, high = ("loses", found["low"], found["high"]) if lost else ("gains", -found["high"], -found["low"])
    points = f"{100 * abs(found['value']):.1f} points (interval {100 * low:.1f} to {100 * high:.1f})"
    sentence = f"{verb} {points} of {subject} against {REFERENCE}"
    if broken:
        return f"{sentence}, more than the {100 * most:g} allowed"
    unsure = f"; more rows would tell whether the loss is surely below {100 * most:g}"
    return sentence + (unsure if found["high"] > most else "")


def on_speed(speedup: Data, scenario: str, least: float) -> str:
    interval = f"(interval {speedup['low']:.2f} to {speedup['high']:.2f}, {scenario})"
    sentence = f"ran {speedup['value']:.2f} times as fast as {REFERENCE} {interval}"
    unsure = f", not surely above the {least:g} asked: more rounds or a quieter machine would tell"
    return sentence + (unsure if speedup["low"] <= least < speedup["value"] else "")


def why_slow(name: str, origin: str, latency: Data, scenario: str, least: float) -> str:
    """Return why ``name`` is not faster, to stand behind its speed; "" where the measurement does not tell."""
    own, whys = latency["variants"][name], []
    if "int8" in name:
        whys += _why_int8_is_slow(name, origin, latency, scenario)
    if own["sparsity"] > 0 and own["size_bytes"] >= latency["variants"][REFERENCE]["size_bytes"]:
        whys.append(f"{100 * own['sparsity']:.0f} % of its weights are zeros, multiplied like any other number")
    larger = scenario.replace("batch1", "batch8")
    if larger != scenario and larger in own["scenarios"] and own["scenarios"][larger]["speedup"]["low"] > least:
        gain = own["scenarios"][larger]["speedup"]["value"]
        whys.append(f"one row at a time is too small a batch for it ({gain:.2f} times at {larger})")
    return ": " + "; ".join(whys) if whys else ""


def _why_int8_is_slow(name: str, origin: str, latency: Data, scenario: str) -> list[str]:
    own, kind, whys = latency["variants"][name], latency["processor"]["kind"], []
    gains_elsewhere = any(  # another INT8 variant in the same back end is faster on this very processor
        "int8" in other and entry["backend"] == own["backend"] and entry["scenarios"][scenario]["speedup"]["low"] > 1
        for other, entry in latency["variants"].items()
    )
    if kind not in INT8_DOT_PRODUCTS and not gains_elsewhere:
        backend = BACKENDS.get(own["backend"], own["backend"])
        whys.append(f"this processor has {LACKS.get(kind, kind)}, so INT8 arithmetic gains nothing in {backend}")
    share = own["size_bytes"] / latency["variants"][origin]["size_bytes"]
    if share > STILL_FLOAT:
        whys.append(f"its file is {100 * share:.0f} % of {origin}'s, so most operators were left in fp32")
    return whys


def _detects(measured: Data) -> bool:
    return bool(measured.get("task") == "object-detection")


def _percent(found: Data) -> str:
    return f"{100 * found['value']:.1f} % (interval {100 * found['low']:.1f} to {100 * found['high']:.1f})"
