"""The part that pipelines share: variants measured on the same rows and requests, and gated."""

from typing import Any

from components.evaluate.accuracy import accuracy as measure_accuracy
from components.evaluate.gate import gate
from components.evaluate.latency import latency as measure_latency
from components.evaluate.parity import parity as measure_parity


def measure_and_gate(variants: Any, dataset: Any, **thresholds: Any) -> dict[str, Any]:
    """Add the tasks that measure ``variants`` on ``dataset`` and judge them by ``thresholds``, the gate's settings.

    Returns the artifacts that the report takes, by its names for them.
    """
    accuracy = measure_accuracy(variants=variants, dataset=dataset).set_display_name("evaluate.accuracy")
    parity = measure_parity(accuracy=accuracy.outputs["accuracy"]).set_display_name("evaluate.parity")
    latency = measure_latency(variants=variants, dataset=dataset).set_display_name("evaluate.latency")
    measured = {
        "accuracy": accuracy.outputs["accuracy"],
        "parity": parity.outputs["parity"],
        "latency": latency.outputs["latency"],
    }
    judged = gate(**measured, **thresholds).set_display_name("evaluate.gate")
    return {**measured, "verdict": judged.outputs["verdict"]}
