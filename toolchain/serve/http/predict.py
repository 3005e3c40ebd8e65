"""Serve POST /predict: texts or images in, labels and scores or boxes out."""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from toolchain.errors import DataError
from toolchain.image_decoding import cost_in_pixels
from toolchain.inference.predictor import Prepared
from toolchain.inference.preprocessing import Pictures
from toolchain.metrics.detections import Detections
from toolchain.serve.http.middleware import REQUEST_ID, SERVED, soon
from toolchain.serve.problems import Problem
from toolchain.serve.versions.router import Router
from toolchain.serve.versions.version import Served

JSON = "application/json"
BRIEF_CHARACTERS = 4_000  # of all texts: tokenized in half a millisecond in the event loop; longer ones in a thread


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
    shown = [_as_json(served, row, one, threshold) for row, one in zip(rows, predictions, strict=True)]
    return Response(orjson.dumps({"model": served.identity, "predictions": shown}), media_type=JSON)


def chosen(request: Request, router: Router, version: str = "") -> Served:
    """Return the version that serves ``request``, held until the middleware releases it."""
    served = router.choose(request.scope[REQUEST_ID], version)
    request.scope[SERVED] = served
    served.users += 1
    return served


async def disconnected(request: Request) -> None:
    """Return when the client closes its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def prepare(served: Served, values: Sequence[Any]) -> list[Prepared]:
    """Prepare ``values`` for the model; whatever takes longer than an instant runs in a thread."""
    try:
        if served.takes_texts and sum(map(len, values)) <= BRIEF_CHARACTERS:
            return served.prepare_now(values)
        return await served.prepare(values)
    except DataError as error:
        raise Problem(422, str(error), "/images") from error


def read_json(content: bytes) -> dict[str, Any]:
    """Return the JSON object in ``content``; NaN and invalid UTF-8 are errors."""
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"the body is not JSON in UTF-8 (line {error.lineno}, column {error.colno})") from error
    if not isinstance(found, dict):
        raise Problem(422, "the body must be a JSON object, as in the example at /docs")
    return found


def check_texts(texts: Any, served: Served, pointer: str) -> list[str]:
    """Return ``texts``, at ``pointer`` in the request, if they are valid."""
    rows = check_rows(texts, served, pointer)
    most = served.settings.max_text_characters
    for index, text in enumerate(rows):
        if not isinstance(text, str):
            raise Problem(422, "a text must be a string", f"{pointer}/{index}")
        if not text.strip():
            raise Problem(422, "a text must not be blank", f"{pointer}/{index}")
        if len(text) > most:
            raise Problem(422, f"a text has {len(text):,} characters, {most:,} are allowed", f"{pointer}/{index}")
    return rows


def check_rows(rows: Any, served: Served, pointer: str) -> list[Any]:
    """Return ``rows`` if it is a list within the limit of rows."""
    most = served.settings.max_request_rows
    if not isinstance(rows, list) or not rows:
        raise Problem(422, "must be a list of at least one row", pointer)
    if len(rows) > most:
        raise Problem(422, f"the list has {len(rows):,} rows, {most} are allowed; send several requests", pointer)
    return rows


def top(served: Served, scores: Any) -> tuple[str, float]:
    """Return the class of the highest score, and that score."""
    index = int(scores.argmax())
    return served.model.signature.labels[index], float(scores[index])


def count(served: Served, row: Prepared, prediction: Any) -> None:
    """Count one predicted row in the metrics."""
    preprocessor = served.predictor.preprocessor
    units = preprocessor.height * preprocessor.width if isinstance(preprocessor, Pictures) else row.length
    if isinstance(prediction, Detections):
        labels = [served.model.signature.labels[index] for index in prediction.labels]
        served.metrics.predicted(units, labels, float(prediction.scores[0]) if len(prediction) else None)
    else:
        label, score = top(served, prediction)
        served.metrics.predicted(units, [label], score)


def content_type(request: Request) -> str:
    """Return the media type of the request, without parameters; "" if it has none.

    It is required: without a preflight request, browsers send other sites only form types, or none.
    """
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _values(request: Request, served: Served, content: bytes) -> tuple[list[Any], float]:
    """Return the rows of the request, and the threshold of a detector's scores."""
    kind = content_type(request)
    usual = served.expected.threshold if served.expected else 0.5
    if not served.takes_texts and (kind.startswith("image/") or kind == "application/octet-stream"):
        return [_image(content, "the image", served, "")[0]], usual
    if kind != JSON:
        images = "" if served.takes_texts else ", or image/jpeg, image/png, ... for one image"
        raise Problem(415, f"the body's Content-Type must be {JSON}{images}")
    return _from_json(read_json(content), served, usual)


def _from_json(body: dict[str, Any], served: Served, usual: float) -> tuple[list[Any], float]:
    key = "texts" if served.takes_texts else "images"
    known = [key, "threshold"] if served.predictor.detects else [key]
    odd = sorted(body.keys() - set(known))
    if odd:
        raise Problem(422, f"unknown field; the fields are {', '.join(known)}")
    if key not in body:
        raise Problem(422, f"the field {key} is missing: a list of {key}", f"/{key}")
    if served.takes_texts:
        return check_texts(body[key], served, "/texts"), usual
    rows = check_rows(body[key], served, "/images")
    return _images(rows, served), _threshold(body.get("threshold", usual))


def _threshold(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise Problem(422, "the threshold must be a number from 0 to 1", "/threshold")
    return float(value)


def _images(rows: list[Any], served: Served) -> list[dict[str, Any]]:
    pixels, most = 0, served.settings.max_request_pixels
    images = []
    for index, row in enumerate(rows):
        image, size = _decoded(row, index, served)
        images.append(image)
        pixels += size
        if pixels > most:
            raise Problem(422, f"the images have more than {most:,} pixels; send several requests", "/images")
    return images


def _decoded(row: Any, index: int, served: Served) -> tuple[dict[str, Any], int]:
    if not isinstance(row, str):
        raise Problem(422, "an image must be a string: its file in base64", f"/images/{index}")
    try:
        content = base64.b64decode(row, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Problem(422, "an image must be a file in base64", f"/images/{index}") from error
    return _image(content, f"image {index}", served, f"/images/{index}")


def _image(content: bytes, name: str, served: Served, pointer: str) -> tuple[dict[str, Any], int]:
    """Return an image as a dataset's column holds it, and the cost of decoding it, in pixels."""
    try:
        cost = cost_in_pixels(content, name, served.settings.max_image_pixels)
    except DataError as error:
        raise Problem(422, str(error), pointer) from error
    if cost > served.settings.max_request_pixels:
        raise Problem(422, f"{name} takes as long to decode as {cost:,} pixels; save it as a baseline JPEG", pointer)
    return {"bytes": content, "path": name}, cost


def _as_json(served: Served, row: Prepared, prediction: Any, threshold: float) -> dict[str, Any]:
    labels = served.model.signature.labels
    if not isinstance(prediction, Detections):
        label, score = top(served, prediction)
        scores = dict(zip(labels, prediction.tolist(), strict=True))
        return {"label": label, "score": score, "scores": scores}
    found = prediction.above(threshold)
    boxes = [
        {"label": labels[label], "score": score, "box": box}
        for label, score, box in zip(found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)
    ]
    width, height = row.size or (0, 0)
    return {"width": width, "height": height, "boxes": boxes}
