"""The part that pipelines share: variants measured on the same rows and requests, gated, reported and registered."""

from typing import Any

from kfp import dsl

from components.evaluate.accuracy import accuracy as measure_accuracy
from components.evaluate.gate import gate
from components.evaluate.latency import latency as measure_latency
from components.evaluate.parity import parity as measure_parity
from components.evaluate.platform_parity import platform_parity
from components.release.register import register
from components.release.report import report
from pipelines._pods import configure_pod


def measure_and_gate(
    variants: Any, dataset: Any, nodes: Any = None, all_variants: Any = False, **thresholds: Any
) -> dict[str, Any]:
    """Add the tasks that measure ``variants`` on ``dataset`` and judge them by ``thresholds``, the gate's settings.

    ``nodes`` is the parameter with labels of the nodes to measure on. Latency comes last, so that a small cluster has
    nothing of this run beside it. The winner, or ``all_variants``, then predicts on another architecture, if possible.
    Returns the artifacts that the report takes, by its names for them.
    """
    accuracy = configure_pod(measure_accuracy(variants=variants, dataset=dataset))
    parity = configure_pod(measure_parity(accuracy=accuracy.outputs["accuracy"]))
    latency = configure_pod(measure_latency(variants=variants, dataset=dataset), node_selector=nodes).after(parity)
    measured = {
        "accuracy": accuracy.outputs["accuracy"],
        "parity": parity.outputs["parity"],
        "latency": latency.outputs["latency"],
    }
    judged = configure_pod(gate(**measured, **thresholds))
    verdict, predicted = judged.outputs["verdict"], measured["accuracy"]
    platform = configure_pod(
        platform_parity(variants=variants, accuracy=predicted, verdict=verdict, all_variants=all_variants)
    )
    return {**measured, "verdict": verdict, "platform_parity": platform.outputs["platform_parity"]}


def report_and_register(
    variants: Any,
    dataset: Any,
    checks: Any,
    measured: dict[str, Any],
    pipeline: str,
    name: Any,
    approval: Any = False,
    **prices: Any,
) -> None:
    """Add the tasks that report what was ``measured`` (of ``measure_and_gate``) and register the variants as ``name``.

    ``prices`` are the report's settings of that kind; ``pipeline`` is the pipeline's name; ``approval`` says whether a
    person must approve the run before any of its versions may serve.
    """
    run = dsl.PIPELINE_JOB_NAME_PLACEHOLDER
    told = configure_pod(
        report(dataset=dataset, checks=checks, variants=variants, **measured, pipeline=pipeline, run=run, **prices)
    )
    configure_pod(
        register(
            variants=variants,
            dataset=dataset,
            accuracy=measured["accuracy"],
            verdict=measured["verdict"],
            report=told.outputs["report"],
            model_name=name,
            pipeline=pipeline,
            run=run,
            require_approval=approval,
        )
    )
