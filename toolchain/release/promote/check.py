"""Check a model before promotion: start the real server on a free local port and send it the recorded rows."""

from dataclasses import dataclass, field
from typing import Any

from toolchain.artifacts.digest import short_digest
from toolchain.artifacts.expected import Expected, Row, read_expected
from toolchain.artifacts.model import Model
from toolchain.errors import ServiceError
from toolchain.inference.tasks import task_type
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
            matching = (
                [_matches(_predict(address, row, model), row, expected, model) for row in rows] if expected else []
            )
            document = trial_server.request_json(f"{address}/openapi.json")
    except ServiceError as failed:
        return Check(len(rows), 0, str(failed))
    differing = len(matching) - sum(matching)
    fault = f"{differing} of {len(rows)} recorded rows get another prediction" if differing else ""
    return Check(len(rows), sum(matching), fault, document)


def _predict(address: str, row: Row, model: Model) -> Any:
    """Return the server's prediction for ``row``, sent as a separate request."""
    body = {task_type(model).input_type.field: [row.json_value]}
    return trial_server.request_json(f"{address}/predict", body)["predictions"][0]


def _matches(response: Any, row: Row, expected: Expected, model: Model) -> bool:
    """Return whether the prediction in ``response`` is as recorded."""
    output = task_type(model).output_type(model)
    prediction: Any = output.parse_response(response)
    recorded: Any = output.recorded(row)
    return output.matches(prediction, recorded, expected.threshold)
