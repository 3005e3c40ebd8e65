"""Serve POST /predict: texts or images in, labels and scores or boxes out."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from toolchain.errors import DataError
from toolchain.inference.prepared import Prepared
from toolchain.inference.requests import RequestError
from toolchain.serve.http.middleware import REQUEST_ID, SERVED, soon
from toolchain.serve.problems import Problem
from toolchain.serve.versions.router import Router
from toolchain.serve.versions.version import LoadedVersion

JSON = "application/json"
BINARY = "application/octet-stream"
MAX_FIELD_CHARACTERS, MAX_FIELDS = 32, 5  # of unknown fields in an error


async def predict(request: Request, router: Router) -> Response:
    """Predict the request's rows.

    Raises:
        Problem: the request is not valid for the model, or the server is overloaded.
    """
    content = await request.body()
    served = chosen(request, router)
    values, threshold = _values(request, served, content)
    rows = await prepare(served, values)
    predictions = await served.predict(rows, lambda: disconnected(request))

    def note() -> None:
        router.compare(served, predictions, lambda other: prepare(other, values))
        router.sample(served, request.scope[REQUEST_ID], values, rows, predictions)
        for row, prediction in zip(rows, predictions, strict=True):
            count(served, row, prediction)

    soon(note)
    output = served.task.output
    responses = [output.response(one, row, threshold) for row, one in zip(rows, predictions, strict=True)]
    return Response(orjson.dumps({"model": served.identity, "predictions": responses}), media_type=JSON)


def chosen(request: Request, router: Router, version: str = "") -> LoadedVersion:
    """Return the version that serves ``request``, held until the middleware releases it."""
    served = router.choose(request.scope[REQUEST_ID], version)
    request.scope[SERVED] = served
    served.users += 1
    return served


async def disconnected(request: Request) -> None:
    """Return when the client closes its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def prepare(served: LoadedVersion, values: Sequence[Any]) -> list[Prepared]:
    """Prepare ``values`` for the model: small ones at once, others in a thread."""
    try:
        if served.task.input.is_small(values):
            return served.prepare_now(values)
        return await served.prepare(values)
    except DataError as error:
        raise Problem(422, str(error), f"/{served.task.input.field}") from error


def read_json(content: bytes) -> dict[str, Any]:
    """Return the JSON object in ``content``; NaN and invalid UTF-8 are errors."""
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"the body is not JSON in UTF-8 (line {error.lineno}, column {error.colno})") from error
    if not isinstance(found, dict):
        raise Problem(422, "the body must be a JSON object, as in the example at /docs")
    return found


@contextmanager
def request_checked() -> Iterator[None]:
    """Turn a value that is not valid into a problem with status 422."""
    try:
        yield
    except RequestError as error:
        raise Problem(422, str(error), error.pointer) from error


def count(served: LoadedVersion, row: Prepared, prediction: Any) -> None:
    """Count one predicted row in the metrics."""
    labels, score = served.task.output.counted(prediction)
    served.metrics.predicted(served.task.input.units(row), labels, score)


def content_type(request: Request) -> str:
    """Return the media type of the request, without parameters; "" if it has none.

    It is required: without a preflight request, browsers send other sites only form types, or none.
    """
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _values(request: Request, served: LoadedVersion, content: bytes) -> tuple[list[Any], float]:
    """Return the values in the request, and the minimum score of the returned boxes."""
    media_type, read = content_type(request), served.task.input
    threshold = served.expected.threshold if served.expected else 0.5
    if read.file_type and (fnmatch(media_type, read.file_type) or media_type == BINARY):
        with request_checked():
            return [read.parse_file(content, served.settings.limits)], threshold
    if media_type != JSON:
        files = f", or {read.file_type} for one file" if read.file_type else ""
        raise Problem(415, f"the body's Content-Type must be {JSON}{files}")
    return _from_json(read_json(content), served, threshold)


def _from_json(body: dict[str, Any], served: LoadedVersion, threshold: float) -> tuple[list[Any], float]:
    read = served.task.input
    fields = [read.field, "threshold"] if served.task.output.has_threshold else [read.field]
    if unknown := body.keys() - set(fields):
        raise Problem(422, f"unknown field{_field_names(unknown)}; supported fields: {', '.join(fields)}")
    if read.field not in body:
        raise Problem(422, f"the field {read.field} is required: a list of {read.field}", f"/{read.field}")
    with request_checked():
        rows = read.parse(body[read.field], served.settings.limits, f"/{read.field}")
    return rows, _threshold(body.get("threshold", threshold))


def _field_names(keys: Iterable[str]) -> str:
    """Return the names in ``keys`` after a space; other keys may be content, which is never returned or logged."""
    names = [repr(key) for key in sorted(keys) if len(key) <= MAX_FIELD_CHARACTERS and key.isidentifier()]
    return f" {', '.join(names[:MAX_FIELDS])}" if names else ""


def _threshold(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise Problem(422, "the threshold must be a number from 0 to 1", "/threshold")
    return float(value)
