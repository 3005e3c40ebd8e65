"""Prepare data: raw rows (text or table) in, clean, split and validated rows and a report on them out."""

from kfp import dsl

from components.data.report import report
from pipelines._data import TEXT, prepare_text
from pipelines._parameters import Arguments, expose, parameters
from pipelines._pods import configure_pod


@dsl.pipeline(name="prepare")
@parameters(*TEXT, expose(report))
def prepare(arguments: Arguments) -> None:
    """Prepare the rows of source for training."""
    splits, checked = prepare_text(arguments)
    configure_pod(report(dataset=splits, checks=checked.outputs["checks"], **arguments.of(report)))
