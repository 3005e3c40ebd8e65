"""The last steps of several pipelines: measure variants on the same rows and requests; gate, report, register."""

from typing import Any

from kfp import dsl

from components.evaluate.accuracy import accuracy as measure_accuracy
from components.evaluate.gate import gate
from components.evaluate.latency import latency as measure_latency
from components.evaluate.parity import parity as measure_parity
from components.evaluate.platform_parity import platform_parity as measure_platform_parity
from components.release.register import register
from components.release.report import report
from pipelines._parameters import Arguments, expose
from pipelines._pods import configure_measurement_pod, configure_pod

EVALUATION = (expose(gate), expose(configure_measurement_pod))
RELEASE = (
    expose(report, hide=["pipeline", "run"]),
    expose(register, hide=["pipeline", "run", "experiment", "keep_test_rows"]),
)


def measure_and_gate(variants: Any, dataset: Any, arguments: Arguments) -> dict[str, Any]:
    """Measure ``variants`` on ``dataset``, judge them, and return the artifacts by the report's names for them.

    Latency comes last, so that no other step of the run shares a small cluster with it. After the verdict, the selected
    variant predicts on another platform, if possible.
    """
    accuracy = configure_pod(measure_accuracy(variants=variants, dataset=dataset, **arguments.of(measure_accuracy)))
    predicted = accuracy.outputs["accuracy"]
    parity = configure_pod(measure_parity(accuracy=predicted, **arguments.of(measure_parity)))
    latency = measure_latency(variants=variants, dataset=dataset, **arguments.of(measure_latency)).after(parity)
    configure_measurement_pod(latency, **arguments.of(configure_measurement_pod))
    measured = {
        "accuracy": predicted,
        "parity": parity.outputs["parity"],
        "latency": latency.outputs["latency"],
    }
    verdict = configure_pod(gate(**measured, **arguments.of(gate))).outputs["verdict"]
    platform_parity = measure_platform_parity(
        variants=variants, accuracy=predicted, verdict=verdict, **arguments.of(measure_platform_parity)
    )
    platforms = configure_pod(platform_parity).outputs["platform_parity"]
    return {**measured, "verdict": verdict, "platform_parity": platforms}


def report_and_register(
    pipeline: str, variants: Any, dataset: Any, checks: Any, measured: dict[str, Any], arguments: Arguments
) -> None:
    """Report on ``variants``, and register them.

    Args:
        pipeline: The pipeline's name.
        variants: The variants of a model.
        dataset: The rows that they were measured on.
        checks: The validation of ``dataset``.
        measured: The result of ``measure_and_gate``.
        arguments: The pipeline's arguments.
    """
    source = {"pipeline": pipeline, "run": dsl.PIPELINE_JOB_NAME_PLACEHOLDER}
    reported = report(dataset=dataset, checks=checks, variants=variants, **measured, **source, **arguments.of(report))
    registered = register(
        variants=variants,
        dataset=dataset,
        accuracy=measured["accuracy"],
        verdict=measured["verdict"],
        report=configure_pod(reported).outputs["report"],
        **source,
        **arguments.of(register),
    )
    configure_pod(registered)
