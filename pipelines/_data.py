"""The first steps of several pipelines: ingest and clean text, split and validate any dataset."""

from typing import Any

from components.data.clean import clean
from components.data.ingest import ingest
from components.data.split import split
from components.data.validate import validate
from pipelines._parameters import Arguments, expose
from pipelines._pods import configure_pod

SPLITTING = (expose(split), expose(validate))
TEXT = (expose(ingest), expose(clean), *SPLITTING)


def prepare_text(arguments: Arguments) -> tuple[Any, Any]:
    """Ingest, clean, split and validate text; return the splits and the validation task."""
    raw = configure_pod(ingest(**arguments.of(ingest)))
    cleaned = configure_pod(clean(raw=raw.outputs["dataset"], **arguments.of(clean)))
    return split_and_validate(cleaned.outputs["dataset"], arguments)


def split_and_validate(dataset: Any, arguments: Arguments) -> tuple[Any, Any]:
    """Split and validate ``dataset``; return the splits and the validation task."""
    splits = configure_pod(split(dataset=dataset, **arguments.of(split))).outputs["splits"]
    return splits, configure_pod(validate(dataset=splits, **arguments.of(validate)))
