"""Measure a registered model again: its variants gated on the processor of this machine, its verdict registered."""

from kfp import dsl

from components.data.validate import validate
from components.evaluate.platform_parity import platform_parity
from components.release.fetch import fetch
from components.release.register import register
from pipelines._evaluation import EVALUATION, measure_and_gate, report_and_register
from pipelines._parameters import REQUIRED, Arguments, expose, parameters
from pipelines._pods import configure_pod

NAME = "measure"
DEFAULTS = {
    "model": REQUIRED,
    # The rows are those that the model was registered with, and were validated then.
    "min_rows": 1,
    "min_class_fraction": 0.0,
}


@dsl.pipeline(name="measure")
@parameters(
    expose(fetch),
    expose(validate),
    *EVALUATION,
    expose(platform_parity, hide=("architecture", "environment", "timeout_s")),
    expose(
        register,
        hide=("pipeline", "run", "experiment", "keep_test_rows", "require_approval"),
        rename={"model_name": "model"},
    ),
    defaults=DEFAULTS,
)
def measure(arguments: Arguments) -> None:
    """Measure the variants of a registered model on the rows they were registered with, where this runs."""
    fetched = configure_pod(fetch(**arguments.of(fetch)).set_caching_options(False))
    variants, dataset = fetched.outputs["variants"], fetched.outputs["dataset"]
    checked = configure_pod(validate(dataset=dataset, **arguments.of(validate)))

    measured = measure_and_gate(variants, dataset, arguments)
    report_and_register(NAME, variants, dataset, checked.outputs["checks"], measured, arguments)
