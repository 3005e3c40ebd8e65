"""Check a model before promotion: start the real server on a free local port and send it the recorded rows."""

from dataclasses import dataclass, field
from typing import Any

from toolchain.artifacts.digest import short_digest
from toolchain.artifacts.expected import TOLERANCE, Expected, Row, read_expected
from toolchain.artifacts.model import Model
from toolchain.errors import ServiceError
from toolchain.lifecycle import trial_server


@dataclass(frozen=True)
class Check:
    """The result of checking a server."""

    rows: int  # sent; 0 when none were recorded
    matching: int  # of them, predicted as recorded
    fault: str = ""  # why the model must not serve, "" when it may
    document: dict[str, Any] | None = field(default=None, compare=False, repr=False)  # its OpenAPI document


def check_with_server(model: Model, name: str, number: str) -> Check:
    """Return how a server of ``model``, as version ``number`` of ``name``, predicts the recorded rows."""
    expected = read_expected(model.path)
    rows = expected.rows if expected else ()
    try:
        with trial_server.start_server(model.path, name, number) as address:
            digest = trial_server.request_json(f"{address}/readyz")["digest"]
            if digest != model.digest:
                return Check(
                    len(rows), 0, f"it serves digest {short_digest(digest)} instead of {short_digest(model.digest)}"
                )
            matching = [_matches(_predict(address, row), row, expected, model) for row in rows] if expected else []
            document = trial_server.request_json(f"{address}/openapi.json")
    except ServiceError as failed:
        return Check(len(rows), 0, str(failed))
    differing = len(matching) - sum(matching)
    fault = f"{differing} of {len(rows)} recorded rows get another prediction" if differing else ""
    return Check(len(rows), sum(matching), fault, document)


def _predict(address: str, row: Row) -> Any:
    """Return the server's prediction for ``row``, sent as a separate request."""
    body = {"texts": [row.text]} if row.text else {"images": [row.image]}
    return trial_server.request_json(f"{address}/predict", body)["predictions"][0]


def _matches(prediction: Any, row: Row, expected: Expected, model: Model) -> bool:
    """Return whether scores, or confident boxes, are as recorded. (The server compares box positions at startup.)"""
    labels = model.signature.labels
    if "scores" in prediction:
        recorded = dict(zip(labels, row.scores, strict=True))
        return all(abs(prediction["scores"][label] - score) <= TOLERANCE for label, score in recorded.items())
    boxes = [(labels[index], score) for index, score in zip(row.labels, row.scores, strict=True)]
    found = [(box["label"], box["score"]) for box in prediction["boxes"]]
    return all(
        any(label == other and abs(score - near) <= TOLERANCE for other, near in found)
        for label, score in boxes
        if score >= expected.threshold + TOLERANCE
    )
