"""Predict: texts or pictures in, labels and scores or boxes out, in the model's own terms."""

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
BRIEF_CHARACTERS = 4_000  # of all texts together: tokenized at once in half a millisecond; more, in a thread


async def predict(request: Request, router: Router) -> Response:
    """Predict the request's rows.

    Raises:
        Problem: the request is not what the model takes, or cannot be answered now.
    """
    content = await request.body()
    served = chosen(request, router)
    values, threshold = _values(request, served, content)
    rows = await prepare(served, values)
    answers = await served.ask(rows, lambda: gone(request))

    def note() -> None:
        router.answered(served, answers, lambda other: prepare(other, values))
        router.sample(served, request.scope[REQUEST_ID], values, rows, answers)
        for row, answer in zip(rows, answers, strict=True):
            count(served, row, answer)

    soon(note)
    told = [_told(served, row, answer, threshold) for row, answer in zip(rows, answers, strict=True)]
    return Response(orjson.dumps({"model": served.identity, "answers": told}), media_type=JSON)


def chosen(request: Request, router: Router, version: str = "") -> Served:
    """Return who answers ``request``, and keep it until the middleware lets go."""
    served = router.choose(request.scope[REQUEST_ID], version)
    request.scope[SERVED] = served
    served.users += 1
    return served


async def gone(request: Request) -> None:
    """Return when the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def prepare(served: Served, values: Sequence[Any]) -> list[Prepared]:
    """Return ``values`` as the model takes them; whatever takes longer than an instant happens in a thread."""
    try:
        if served.takes_texts and sum(map(len, values)) <= BRIEF_CHARACTERS:
            return served.prepare_now(values)
        return await served.prepare(values)
    except DataError as error:
        raise Problem(422, str(error), "/pictures") from error


def read_json(content: bytes) -> dict[str, Any]:
    """Return the JSON object in ``content``; NaN and what is not UTF-8 is no JSON."""
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"the body is not JSON in UTF-8 (line {error.lineno}, column {error.colno})") from error
    if not isinstance(found, dict):
        raise Problem(422, "the body must be a JSON object, as in the example at /docs")
    return found


def check_texts(texts: Any, served: Served, pointer: str) -> list[str]:
    """Return ``texts``, a list from a request at ``pointer``, if the model takes it."""
    rows = check_rows(texts, served, pointer)
    most = served.settings.max_text_characters
    for place, text in enumerate(rows):
        if not isinstance(text, str):
            raise Problem(422, "a text must be a string", f"{pointer}/{place}")
        if not text.strip():
            raise Problem(422, "a text must hold more than spaces", f"{pointer}/{place}")
        if len(text) > most:
            raise Problem(422, f"a text has {len(text):,} characters, {most:,} are allowed", f"{pointer}/{place}")
    return rows


def check_rows(rows: Any, served: Served, pointer: str) -> list[Any]:
    """Return ``rows`` if it is a list of as many rows as one request may have."""
    most = served.settings.max_request_rows
    if not isinstance(rows, list) or not rows:
        raise Problem(422, "give a list with one row at least", pointer)
    if len(rows) > most:
        raise Problem(422, f"the list has {len(rows):,} rows, {most} are allowed; send several requests", pointer)
    return rows


def top(served: Served, scores: Any) -> tuple[str, float]:
    """Return the class of the highest score, and that score."""
    place = int(scores.argmax())
    return served.model.signature.labels[place], float(scores[place])


def count(served: Served, row: Prepared, answer: Any) -> None:
    """Let the metrics know of one answered row."""
    preprocessor = served.predictor.preprocessor
    units = preprocessor.height * preprocessor.width if isinstance(preprocessor, Pictures) else row.length
    if isinstance(answer, Detections):
        labels = [served.model.signature.labels[place] for place in answer.labels]
        served.metrics.answered(units, labels, float(answer.scores[0]) if len(answer) else None)
    else:
        label, score = top(served, answer)
        served.metrics.answered(units, [label], score)


def content_type(request: Request) -> str:
    """Return the media type that the request names, without parameters; "" where it names none.

    It must name one: a browser sends none, or one of a form, to any site without asking that site first.
    """
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _values(request: Request, served: Served, content: bytes) -> tuple[list[Any], float]:
    """Return the rows in the request, and the score from which a detector's boxes are wanted."""
    kind = content_type(request)
    usual = served.expected.threshold if served.expected else 0.5
    if not served.takes_texts and (kind.startswith("image/") or kind == "application/octet-stream"):
        return [_picture(content, "the picture", served, "")[0]], usual
    if kind != JSON:
        pictures = "" if served.takes_texts else ", or a picture as image/jpeg, image/png, ..."
        raise Problem(415, f"the body's Content-Type must be {JSON}{pictures}")
    return _from_json(read_json(content), served, usual)


def _from_json(body: dict[str, Any], served: Served, usual: float) -> tuple[list[Any], float]:
    key = "texts" if served.takes_texts else "pictures"
    known = [key, "threshold"] if served.predictor.detects else [key]
    odd = sorted(body.keys() - set(known))
    if odd:
        raise Problem(422, f"there is a field that is not known; known are {', '.join(known)}")
    if key not in body:
        raise Problem(422, f"the field {key} is missing: a list of {key}", f"/{key}")
    if served.takes_texts:
        return check_texts(body[key], served, "/texts"), usual
    rows = check_rows(body[key], served, "/pictures")
    return _pictures(rows, served), _threshold(body.get("threshold", usual))


def _threshold(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise Problem(422, "the threshold must be a number from 0 to 1", "/threshold")
    return float(value)


def _pictures(rows: list[Any], served: Served) -> list[dict[str, Any]]:
    pixels, most = 0, served.settings.max_request_pixels
    pictures = []
    for place, row in enumerate(rows):
        picture, size = _decoded(row, place, served)
        pictures.append(picture)
        pixels += size
        if pixels > most:
            raise Problem(422, f"the pictures have more than {most:,} pixels; send several requests", "/pictures")
    return pictures


def _decoded(row: Any, place: int, served: Served) -> tuple[dict[str, Any], int]:
    if not isinstance(row, str):
        raise Problem(422, "a picture must be a string: its file in base64", f"/pictures/{place}")
    try:
        content = base64.b64decode(row, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Problem(422, "a picture must be its file in base64", f"/pictures/{place}") from error
    return _picture(content, f"picture {place}", served, f"/pictures/{place}")


def _picture(content: bytes, name: str, served: Served, pointer: str) -> tuple[dict[str, Any], int]:
    """Return a picture as a dataset's column holds it, and what decoding it costs, in pixels."""
    try:
        cost = cost_in_pixels(content, name, served.settings.max_image_pixels)
    except DataError as error:
        raise Problem(422, str(error), pointer) from error
    if cost > served.settings.max_request_pixels:
        raise Problem(422, f"{name} takes as long to decode as {cost:,} pixels; save it as a baseline JPEG", pointer)
    return {"bytes": content, "path": name}, cost


def _told(served: Served, row: Prepared, answer: Any, threshold: float) -> dict[str, Any]:
    labels = served.model.signature.labels
    if not isinstance(answer, Detections):
        label, score = top(served, answer)
        scores = dict(zip(labels, answer.tolist(), strict=True))
        return {"label": label, "score": score, "scores": scores}
    found = answer.above(threshold)
    boxes = [
        {"label": labels[label], "score": score, "box": box}
        for label, score, box in zip(found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)
    ]
    width, height = row.size or (0, 0)
    return {"width": width, "height": height, "boxes": boxes}
