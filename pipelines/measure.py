"""Measure a registered model again: its variants gated on the processor of this machine, its verdict registered."""

from typing import Any

from kfp import dsl

from components.data.validate import validate
from components.release.fetch import fetch
from pipelines._evaluation import measure_and_gate, report_and_register
from pipelines._pods import configure_pod

NAME = "measure"


@dsl.pipeline(name="measure")
def measure(
    model: str,
    min_rows: int = 1,
    min_class_fraction: float = 0.0,
    min_test_rows: int = 100,
    column_types: dict[str, Any] = {},
    column_ranges: dict[str, Any] = {},
    max_accuracy_drop: float = 0.01,
    max_class_recall_drop: float = 0.02,
    agreement: float = 0.97,
    min_speedup: float = 1.05,
    scenario: str = "",
    all_variants: bool = False,
    measurement_node_selector: dict[str, Any] = {},
):
    """Measure the variants of a registered model on the rows they were registered with, where this runs.

    Args:
        model: A registered model, as name (its last registration), name@alias or name:version.
        min_rows: The fewest test rows.
        min_class_fraction: Of the rarest class among the test rows; -1: a tenth of an even share; 0: any.
        min_test_rows: Test rows (of a detector: boxes) that the gate needs to select a variant; fewer are a warning.
        column_types: What columns must hold: {"stars": "integer"}; text, integer, number or boolean.
        column_ranges: Lowest and highest value of columns: {"stars": [1, 5]}.
        max_accuracy_drop: Share of accuracy that an accurate variant may lose, 0..1.
        max_class_recall_drop: What the recall of the worst class may lose, 0..1.
        agreement: Share of rows on which a quantized variant must answer like the float one, 0..1.
        min_speedup: Speed, in times of fp32's, that a faster variant must surely exceed.
        scenario: Which requests decide: one of the latency's scenarios; empty for the first.
        all_variants: Whether all variants are tried on arm64, in place of the winner and fp32.
        measurement_node_selector: On a cluster: labels of the nodes to measure on.
    """
    fetched = configure_pod(fetch(model=model).set_caching_options(False))
    variants, dataset = fetched.outputs["variants"], fetched.outputs["dataset"]
    checked = configure_pod(
        validate(
            dataset=dataset,
            min_rows=min_rows,
            min_class_fraction=min_class_fraction,
            min_test_rows=min_test_rows,
            column_types=column_types,
            column_ranges=column_ranges,
        )
    )
    measured = measure_and_gate(
        variants,
        dataset,
        measurement_node_selector,
        all_variants,
        max_accuracy_drop=max_accuracy_drop,
        max_class_recall_drop=max_class_recall_drop,
        agreement=agreement,
        min_speedup=min_speedup,
        scenario=scenario,
        min_test_rows=min_test_rows,
    )
    report_and_register(
        variants,
        dataset,
        checked.outputs["checks"],
        measured,
        NAME,
        model,
    )
