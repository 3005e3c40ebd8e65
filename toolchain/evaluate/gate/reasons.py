"""Write the gate's findings as clauses about a variant ("is 2.35 times as fast as fp32 …"), with their numbers."""

from collections.abc import Mapping
from typing import Any

from toolchain.artifacts.variants import REFERENCE
from toolchain.hardware.cpu import INT8_DOT_PRODUCTS
from toolchain.inference.tasks import TASKS, MetricNames

Data = Mapping[str, Any]
# A share of the origin's size: INT8 weights have a quarter of it, and unquantized embeddings bring that to about half.
MAX_INT8_SIZE = 0.6
INT8_LIMITS = {  # of processors without INT8 dot products, by kind
    "avx512": "AVX512 but no VNNI",
    "avx2": "AVX2 but no VNNI",
    "neon": "NEON but no dot products",
    "baseline": "neither AVX2 nor VNNI",
}
BACKENDS = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


def on_reference(accuracy: Data, timed: Data) -> str:
    rows, value = f"{accuracy['rows']:,}", _percent(accuracy["variants"][REFERENCE]["accuracy"])
    names = _metrics(accuracy)
    reached = f"{names.accuracy} {value} on {rows} {names.rows}"
    return f"is the reference: {reached}, median latency {timed['p50_ms']:.1f} ms"


def on_baseline(measured: Data, beaten: bool) -> str:
    """Compare the variant ``measured`` with a trivial baseline."""
    verb = "is better than" if beaten else "is not better than"
    if "baseline" not in measured:  # a detector: the baseline predicts no boxes, which is mAP50 0
        low = f"the interval of mAP50 begins at {100 * measured['accuracy']['low']:.1f} %"
        return f"{verb} predicting no boxes: {low}"
    baseline = measured["baseline"]
    shares = f"correct on {_percent(measured['accuracy'])} of the rows, against {100 * baseline['share']:.1f} %"
    test = f"exact McNemar test: p = {baseline['p_value']:.2g}"
    return f"{verb} always predicting {baseline['label']!r}: {shares} ({test})"


def on_few_rows(rows: int, minimum: int, unit: str) -> str:
    return f"{REFERENCE} is kept: comparing variants needs {minimum:,} {unit}, and the test split has {rows:,}"


def terms_of(parity: Data) -> tuple[str, str, str]:
    """Return the task's terms for the accuracy, the rate of a class and the compared items."""
    names = _metrics(parity)
    return names.accuracy, names.class_rate, names.compared


def on_rows(rows: int, minimum: int, few: bool, unit: str) -> str:
    return f"was measured on {rows:,} {unit}" + (f", below the minimum of {minimum:,}" if few else "")


def on_agreement(found: Data, other: str, minimum: float, broken: bool, unit: str) -> str:
    sentence = f"agrees with {other} on {_percent(found)} of the {unit}"
    return f"{sentence}, below the minimum of {100 * minimum:g} %" if broken else sentence


def on_drop(found: Data, maximum: float, broken: bool, metric: str) -> str:
    """Describe the loss or gain of ``metric``, and whether there are enough rows to confirm ``maximum``."""
    lost = found["value"] >= 0
    verb, low, high = ("loses", found["low"], found["high"]) if lost else ("gains", -found["high"], -found["low"])
    points = f"{100 * abs(found['value']):.1f} points (interval {100 * low:.1f} to {100 * high:.1f})"
    sentence = f"{verb} {points} of {metric} against {REFERENCE}"
    if broken:
        return f"{sentence}, above the maximum of {100 * maximum:g}"
    unsure = f"; more rows are needed to confirm a loss below {100 * maximum:g}"
    return sentence + (unsure if found["high"] > maximum else "")


def on_speed(speedup: Data, scenario: str, minimum: float) -> str:
    interval = f"(interval {speedup['low']:.2f} to {speedup['high']:.2f}, {scenario})"
    sentence = f"is {speedup['value']:.2f} times as fast as {REFERENCE} {interval}"
    unsure = f", not reliably above the minimum of {minimum:g}: measure more rounds, or on a quieter machine"
    return sentence + (unsure if speedup["low"] <= minimum < speedup["value"] else "")


def why_slow(name: str, origin: str, latency: Data, scenario: str, minimum: float) -> str:
    """Return why ``name`` is not faster, as a suffix of its speed; "" where the measurement does not show it."""
    own, causes = latency["variants"][name], []
    if "int8" in name:
        causes += _why_int8_is_slow(name, origin, latency, scenario)
    if own["sparsity"] > 0 and own["size_bytes"] >= latency["variants"][REFERENCE]["size_bytes"]:
        causes.append(
            f"{100 * own['sparsity']:.0f} % of its weights are zeros, which are multiplied like other numbers"
        )
    larger = scenario.replace("batch1", "batch8")
    if larger != scenario and larger in own["scenarios"] and own["scenarios"][larger]["speedup"]["low"] > minimum:
        gain = own["scenarios"][larger]["speedup"]["value"]
        causes.append(f"a batch of one row is too small for it ({gain:.2f} times at {larger})")
    return ": " + "; ".join(causes) if causes else ""


def _why_int8_is_slow(name: str, origin: str, latency: Data, scenario: str) -> list[str]:
    own, kind, causes = latency["variants"][name], latency["processor"]["kind"], []
    others_gain = any(  # another INT8 variant in the same back end is faster on this very processor
        "int8" in other and entry["backend"] == own["backend"] and entry["scenarios"][scenario]["speedup"]["low"] > 1
        for other, entry in latency["variants"].items()
    )
    if kind not in INT8_DOT_PRODUCTS and not others_gain:
        backend = BACKENDS.get(own["backend"], own["backend"])
        causes.append(
            f"this processor has {INT8_LIMITS.get(kind, kind)}, so INT8 arithmetic gains nothing in {backend}"
        )
    share = own["size_bytes"] / latency["variants"][origin]["size_bytes"]
    if share > MAX_INT8_SIZE:
        causes.append(f"its file is {100 * share:.0f} % of {origin}'s, so most operators were left in fp32")
    return causes


def _metrics(measured: Data) -> MetricNames:
    return TASKS[measured["task"]].metrics


def _percent(found: Data) -> str:
    return f"{100 * found['value']:.1f} % (interval {100 * found['low']:.1f} to {100 * found['high']:.1f})"
