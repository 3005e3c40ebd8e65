"""OpenAPI: what /openapi.json and /docs say of requests and answers, with examples from the model's test rows.

The same model under the same settings gives the same document, to the byte: promotion keeps it with the version, and
compares it with the one of the version that serves.
"""

import math
from collections.abc import Sequence
from typing import Any

from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute

from toolchain.serve.http.inference_protocol import MODEL, VERSION, describe
from toolchain.serve.http.middleware import OPEN
from toolchain.serve.problems import MEDIA_TYPE, TITLES
from toolchain.serve.versions.version import Served, example_rows

JSON = "application/json"
ASKED = (400, 408, 413, 415, 422, 429, 500, 503, 504)  # what may happen to a request with rows
SHOWN_LABELS = 20  # in the description
SHOWN_CHARACTERS = 100_000  # of an example with several rows: a picture may have some 500,000 in base64
SHOWN_NUMBERS = 1000  # of an example's tensor: more would drown the document
DESCRIPTION = """{task} by `{variant}` (digest `{digest}`): the file that was measured, its preprocessing included.
Labels: {labels}. Limits: {rows} rows and {size:,} bytes in a request, {deadline:g} s for an answer."""
TAGS = [
    {"name": "predict", "description": "In the model's own terms"},
    {"name": "health", "description": "Whether it may be asked, and its figures"},
    {"name": "v2", "description": "The Open Inference Protocol, with tensors as JSON"},
]
ID_TOLD = "Decides which version answers while there is a canary: the same id always goes to the same one"
REQUEST_ID = {"name": "X-Request-Id", "in": "header", "schema": {"type": "string"}, "description": ID_TOLD}
PROBLEM = {"$ref": "#/components/schemas/Problem"}
WORD, TRUTH, SHARE = {"type": "string"}, {"type": "boolean"}, {"type": "number", "minimum": 0, "maximum": 1}
Schema = dict[str, Any]


def document(routes: Sequence[BaseRoute], served: Served, secured: bool) -> Schema:
    """Return the whole document for ``routes``, asked of ``served``; ``secured`` says whether a token is needed."""
    made = get_openapi(
        title=served.name, version=served.version, description=_description(served), routes=routes, tags=TAGS
    )
    made["components"] = {"schemas": {"Problem": problem_schema()}}
    if secured:
        made["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for path, operations in made["paths"].items():
        for operation in operations.values():
            operation |= _operation(path, served)
            if secured and path not in OPEN:
                operation["security"] = [{"token": []}]
                operation["responses"] |= _problems(401)
    return made


def problem_schema() -> Schema:
    """Return what RFC 9457 calls problem details, and what we add."""
    error = _object({"pointer": WORD, "detail": WORD})
    return {
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": WORD,
            "status": {"type": "integer"},
            "detail": {"type": "string", "description": "What was wrong, and what is expected"},
            "error": {"type": "string", "description": "The same, for clients of the Open Inference Protocol"},
            "errors": {"type": "array", "items": error, "description": "Where in the body (RFC 6901)"},
        },
    }


def _description(served: Served) -> str:
    labels = served.model.signature.labels
    settings = served.settings
    return DESCRIPTION.format(
        task=served.model.signature.task.replace("-", " ").capitalize(),
        variant=served.model.variant,
        digest=served.model.digest[:12],
        labels=", ".join(labels[:SHOWN_LABELS]) + (", …" if len(labels) > SHOWN_LABELS else ""),
        rows=settings.max_request_rows,
        size=settings.max_text_body_bytes if served.takes_texts else settings.max_body_bytes,
        deadline=settings.request_timeout,
    )


def _operation(path: str, served: Served) -> Schema:
    """Return what is to be said of the operation at ``path``."""
    text = {"200": {"description": "As plain text", "content": {"text/plain": {"schema": WORD}}}}
    told: dict[str, Schema] = {
        "/predict": {
            "operationId": "predict",
            "parameters": [REQUEST_ID],
            "requestBody": _predict_body(served),
            "responses": _predicted(served),
        },
        "/healthz": {"operationId": "alive", "responses": text},
        "/livez": {"operationId": "live", "responses": text},
        "/readyz": {"operationId": "ready", "responses": _answer(_ready_answer(served)) | _problems(503)},
        "/parity": {"operationId": "parity", "responses": _answer(_parity_answer()) | _problems(500)},
        "/metrics": {"operationId": "metrics", "responses": text},
        "/v2": {"operationId": "server_metadata", "responses": _answer(_server_answer())},
        "/v2/health/live": {"operationId": "server_live", "responses": _answer(_object({"live": TRUTH}))},
        "/v2/health/ready": {"operationId": "server_ready", "responses": _yes_or_no(_object({"ready": TRUTH}))},
    }
    for prefix, name in ((VERSION, "version"), (MODEL, "model")):
        if path.startswith(prefix):
            return _of_model(path.removeprefix(prefix), name, served)
    return told.get(path, {})


def _of_model(action: str, name: str, served: Served) -> Schema:
    """Return what is to be said of ``action`` of the protocol on the "model" or on a "version" of it."""
    shown = {"name": served.name, "version": served.version}
    given = ("name",) if name == "model" else ("name", "version")
    parameters = [{"name": one, "in": "path", "required": True, "schema": WORD, "example": shown[one]} for one in given]
    unknown = _problems(404)
    told: dict[str, Schema] = {
        "": {"operationId": f"{name}_metadata", "responses": _answer(_metadata_answer(), describe(served)) | unknown},
        "/ready": {
            "operationId": f"{name}_ready",
            "responses": _yes_or_no(_object({"name": WORD, "ready": TRUTH})) | unknown,
        },
        "/infer": {
            "operationId": f"{name}_infer",
            "parameters": [*parameters, REQUEST_ID],
            "requestBody": _infer_body(served),
            "responses": _answer(_infer_answer()) | _refusals("#/inputs/0/data", _misfit_tensor(served), 404),
        },
    }
    return {"parameters": parameters, **told[action]}


def _answer(schema: Schema, example: Any = None) -> Schema:
    """Return the response when all is well."""
    content: Schema = {"schema": schema, **({} if example is None else {"example": example})}
    headers = {"X-Request-Id": {"schema": WORD, "description": "The request's, or one that was made for it"}}
    return {"200": {"description": "The answer", "headers": headers, "content": {JSON: content}}}


def _yes_or_no(schema: Schema) -> Schema:
    """Return the responses of an address that answers in the same form whether the model may be asked or not."""
    content = {JSON: {"schema": schema}}
    return {"200": {"description": "Ready", "content": content}, "503": {"description": "Not", "content": content}}


def _problems(*statuses: int) -> Schema:
    """Return the responses that tell of problems."""
    told: Schema = {}
    for status in statuses:
        content = {MEDIA_TYPE: {"schema": PROBLEM, "example": _problem_example(status)}}
        told[str(status)] = {"description": TITLES[status].capitalize(), "content": content}
        if status == 429:
            told["429"]["headers"] = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}}
    return told


def _problem_example(status: int, detail: str = "") -> Schema:
    return {"type": "about:blank", "title": TITLES[status], "status": status, "detail": detail or TITLES[status]}


def _refusals(pointer: str, detail: str, *statuses: int) -> Schema:
    """Return what may go wrong with rows, and with ``statuses``; one that does not fit shows where and why."""
    told = _problems(*ASKED, *statuses)
    example = _problem_example(422, detail) | {"errors": [{"pointer": pointer, "detail": detail}]}
    told["422"]["content"][MEDIA_TYPE]["example"] = example
    return told


def _predict_body(served: Served) -> Schema:
    settings = served.settings
    if served.takes_texts:
        item: Schema = {"type": "string", "minLength": 1, "maxLength": settings.max_text_characters, "pattern": r"\S"}
        key = "texts"
    else:
        item = {"type": "string", "contentEncoding": "base64", "description": "A picture's file"}
        key = "pictures"
    rows = {"type": "array", "items": item, "minItems": 1, "maxItems": settings.max_request_rows}
    properties: Schema = {key: rows}
    if served.predictor.detects:
        properties["threshold"] = {**SHARE, "description": "The lowest score wanted"}
    schema = {"type": "object", "required": [key], "properties": properties, "additionalProperties": False}
    content: Schema = {JSON: {"schema": schema, **_examples(served, key)}}
    if not served.takes_texts:
        content["image/*"] = {"schema": {"type": "string", "format": "binary"}}
    return {"required": True, "content": content}


def _examples(served: Served, key: str) -> Schema:
    """Return requests made of recorded rows, or of one neutral text where none were recorded."""
    values = [row.text or row.image for row in example_rows(served)]
    if not values:
        return {"examples": {"a row": {"value": {key: ["It is what it is."]}}}} if served.takes_texts else {}
    told = {"a row of the test data": {"value": {key: values[:1]}}}
    if len(values) > 1 and sum(map(len, values)) <= SHOWN_CHARACTERS:
        told["several rows at once"] = {"value": {key: values}}
    return {"examples": told}


def _predicted(served: Served) -> Schema:
    labels = served.model.signature.labels
    label = {"type": "string", "enum": list(labels)}
    if served.predictor.detects:
        box = {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4}
        found = _object({"label": label, "score": SHARE, "box": box})
        size = {"type": "integer", "minimum": 1}
        answer = _object({"width": size, "height": size, "boxes": {"type": "array", "items": found}})
    else:
        answer = _object({"label": label, "score": SHARE, "scores": _object(dict.fromkeys(labels, SHARE))})
    model = _object(dict.fromkeys(served.identity, WORD))
    schema = _object({"model": model, "answers": {"type": "array", "items": answer}})
    texts = ("#/texts/0", "a text must hold more than spaces")
    refusals = _refusals(*texts if served.takes_texts else ("#/pictures/0", "a picture must be its file in base64"))
    return _answer(schema, _predicted_example(served)) | refusals


def _predicted_example(served: Served) -> Any:
    """Return the answer to the first request of the examples as it was recorded, None where nothing was."""
    names = served.model.signature.labels
    for row in example_rows(served)[:1]:
        if served.predictor.detects:
            boxes = [
                {"label": names[label], "score": score, "box": list(box)}
                for label, score, box in zip(row.labels, row.scores, row.boxes, strict=True)
                if served.expected and score >= served.expected.threshold
            ]
            width, height = served.predictor.prepare([row.value])[0].size or (0, 0)
            return {"model": served.identity, "answers": [{"width": width, "height": height, "boxes": boxes}]}
        best = max(range(len(row.scores)), key=lambda place: row.scores[place])
        scores = dict(zip(names, row.scores, strict=True))
        answer = {"label": names[best], "score": row.scores[best], "scores": scores}
        return {"model": served.identity, "answers": [answer]}
    return None


def _infer_body(served: Served) -> Schema:
    tensor = describe(served)["inputs"][0]
    sizes = [{"type": "integer", "minimum": 1, "maximum": served.settings.max_request_rows}]
    sizes[0] |= {"maximum": 1} if tensor["shape"][0] == 1 else {}
    sizes += [{"type": "integer", "minimum": size, "maximum": size} for size in tensor["shape"][1:]]
    shape = {"type": "array", "prefixItems": sizes, "minItems": len(sizes), "maxItems": len(sizes)}
    name, datatype = ({"type": "string", "enum": [tensor[key]]} for key in ("name", "datatype"))
    due = _object({"name": name, "datatype": datatype, "shape": shape, "data": _infer_data(served)})
    output = _object({"name": {"type": "string", "enum": [one["name"] for one in describe(served)["outputs"]]}})
    properties = {
        "id": WORD,
        "inputs": {"type": "array", "items": due, "minItems": 1, "maxItems": 1},
        "outputs": {"type": "array", "items": output, "description": "The tensors wanted; none: all"},
    }
    content: Schema = {"schema": {"type": "object", "required": ["inputs"], "properties": properties}}
    if example := _infer_example(served, tensor):
        content["example"] = example
    return {"required": True, "content": {JSON: content}}


def _infer_data(served: Served) -> Schema:
    """Return the schema of a tensor's values; how many there are must be what the shape says."""
    if served.takes_texts:
        text = {"type": "string", "minLength": 1, "maxLength": served.settings.max_text_characters, "pattern": r"\S"}
        return {"type": "array", "items": text, "minItems": 1, "maxItems": served.settings.max_request_rows}
    return {"type": "array", "minItems": 1, "description": "Bytes from 0 to 255, flat or nested as the shape says"}


def _misfit_tensor(served: Served) -> str:
    return (
        "the shape says 2 rows, the data has 1"
        if served.takes_texts
        else "a pixel must be a whole number from 0 to 255"
    )


def _infer_example(served: Served, tensor: Schema) -> Schema | None:
    rows = example_rows(served)
    if texts := [row.text for row in rows if row.text]:
        return {"inputs": [{**tensor, "shape": [len(texts)], "data": texts}]}
    size = [1, *tensor["shape"][1:]]
    if served.takes_texts or not rows or math.prod(size) > SHOWN_NUMBERS:
        return None
    pixels = served.predictor.prepare([rows[0].value])[0].data
    return {"inputs": [{**tensor, "shape": size, "data": pixels.ravel().tolist()}]}


def _infer_answer() -> Schema:
    shape = {"type": "array", "items": {"type": "integer"}}
    tensor = _object({"name": WORD, "datatype": WORD, "shape": shape, "data": {"type": "array"}})
    properties = {"model_name": WORD, "model_version": WORD, "id": WORD}
    outputs = {"type": "array", "items": tensor}
    return _object({"model_name": WORD, "model_version": WORD, "outputs": outputs}) | {
        "properties": {**properties, "outputs": outputs}
    }


def _metadata_answer() -> Schema:
    shape = {"type": "array", "items": {"type": "integer"}}
    tensors = {"type": "array", "items": _object({"name": WORD, "datatype": WORD, "shape": shape})}
    versions = {"type": "array", "items": WORD}
    return _object({"name": WORD, "versions": versions, "platform": WORD, "inputs": tensors, "outputs": tensors})


def _server_answer() -> Schema:
    return _object({"name": WORD, "version": WORD, "extensions": {"type": "array", "items": WORD}})


def _ready_answer(served: Served) -> Schema:
    version = _object({**dict.fromkeys(served.identity, WORD), "parity": WORD})
    roles = {"type": "object", "additionalProperties": version, "description": "By stable, canary, shadow"}
    refused = {"type": "object", "additionalProperties": WORD, "description": "Why, by version"}
    told = {"ready": TRUTH, "parity": WORD, **dict.fromkeys(served.identity, WORD)}
    authentication = {"type": "string", "enum": ["tokens", "none"], "description": "What a caller must send"}
    return _object({**told, "versions": roles, "refused": refused, "authentication": authentication})


def _parity_answer() -> Schema:
    count = {"type": "integer", "minimum": 0}
    return _object({"rows": count, "alike": count, "ready": TRUTH, "told": WORD})


def _object(properties: Schema) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}
