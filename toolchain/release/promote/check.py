"""Check: the real server program is started with a model on a free port of this machine and asked recorded rows."""

from dataclasses import dataclass, field
from typing import Any

from toolchain.artifacts.expected import TOLERANCE, Expected, Row, read_expected
from toolchain.artifacts.model import Model
from toolchain.errors import ServiceError
from toolchain.services import trial_server


@dataclass(frozen=True)
class Check:
    """What came out of asking a server."""

    rows: int  # asked; 0 when none were recorded
    alike: int  # of them, answered as recorded
    fault: str = ""  # why it must not serve, "" when it may
    document: dict[str, Any] | None = field(default=None, compare=False, repr=False)  # its OpenAPI, None: not taken


def ask_server(model: Model, name: str, number: str) -> Check:
    """Return how a server with ``model``, which calls itself ``name`` and ``number``, answers what was recorded."""
    expected = read_expected(model.path)
    rows = expected.rows if expected else ()
    try:
        with trial_server.started(model.path, name, number) as address:
            found = trial_server.ask(f"{address}/readyz")["digest"]
            if found != model.digest:
                return Check(len(rows), 0, f"it serves digest {found[:12]} in place of {model.digest[:12]}")
            alike = [_is_alike(_ask(address, row), row, expected, model) for row in rows] if expected else []
            document = trial_server.ask(f"{address}/openapi.json")
    except ServiceError as failed:
        return Check(len(rows), 0, str(failed))
    fault = "" if all(alike) else f"{len(alike) - sum(alike)} of {len(rows)} recorded rows are answered otherwise"
    return Check(len(rows), sum(alike), fault, document)


def _ask(address: str, row: Row) -> Any:
    """Return what the server answers to ``row``, asked alone as its users ask."""
    body = {"texts": [row.text]} if row.text else {"pictures": [row.picture]}
    return trial_server.ask(f"{address}/predict", body)["answers"][0]


def _is_alike(answer: Any, row: Row, expected: Expected, model: Model) -> bool:
    """Return whether scores, or sure boxes, are as recorded. (Where boxes lie, the server compared when it started.)"""
    labels = model.signature.labels
    if "scores" in answer:
        due = dict(zip(labels, row.scores, strict=True))
        return all(abs(answer["scores"][label] - score) <= TOLERANCE for label, score in due.items())
    sure = [(labels[place], score) for place, score in zip(row.labels, row.scores, strict=True)]
    found = [(box["label"], box["score"]) for box in answer["boxes"]]
    return all(
        any(label == other and abs(score - near) <= TOLERANCE for other, near in found)
        for label, score in sure
        if score >= expected.threshold + TOLERANCE
    )
