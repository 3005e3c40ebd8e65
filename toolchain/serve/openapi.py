"""OpenAPI: what /docs and /openapi.json say of requests and answers, with examples from the model's test rows."""

from typing import Any

from toolchain.serve.inference_protocol import describe
from toolchain.serve.problems import MEDIA_TYPE, TITLES
from toolchain.serve.served import Served, example_rows

COMMON = (401, 408, 413, 422, 429, 500, 503, 504)  # what may happen to a request with rows
Schema = dict[str, Any]


def responses(
    schema: Schema, example: Any = None, statuses: tuple[int, ...] = COMMON
) -> dict[int | str, dict[str, Any]]:
    """Return a route's responses: ``schema`` when all is well, problems for ``statuses``."""
    good: Schema = {"schema": schema, **({"example": example} if example is not None else {})}
    told: dict[int | str, dict[str, Any]] = {200: {"description": "The answer", "content": {"application/json": good}}}
    for status in statuses:
        body = {"schema": problem_schema(), "example": _problem_example(status)}
        told[status] = {"description": TITLES[status].capitalize(), "content": {MEDIA_TYPE: body}}
        if status == 429:
            told[status]["headers"] = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}}
    return told


def problem_schema() -> Schema:
    """Return what RFC 9457 calls problem details, and what we add."""
    error = {"type": "object", "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}}}
    return {
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string", "description": "What was wrong, and what is expected"},
            "error": {"type": "string", "description": "The same, for clients of the Open Inference Protocol"},
            "errors": {"type": "array", "items": error, "description": "Where in the body (RFC 6901)"},
        },
    }


def predict_body(served: Served) -> dict[str, Any]:
    """Return the request body of /predict."""
    settings = served.settings
    if served.takes_texts:
        item: Schema = {"type": "string", "minLength": 1, "maxLength": settings.text_characters, "pattern": r"\S"}
        key = "texts"
    else:
        item = {"type": "string", "contentEncoding": "base64", "description": "A picture's file"}
        key = "pictures"
    rows = {"type": "array", "items": item, "minItems": 1, "maxItems": settings.request_rows}
    properties: Schema = {key: rows}
    if served.answerer.detects:
        properties["threshold"] = {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "description": "The lowest score wanted",
        }
    schema = {"type": "object", "required": [key], "properties": properties, "additionalProperties": False}
    content: Schema = {"application/json": {"schema": schema, "examples": _examples(served, key)}}
    if not served.takes_texts:
        content["image/*"] = {"schema": {"type": "string", "format": "binary"}}
    return {"requestBody": {"required": True, "content": content}}


def predict_answer(served: Served) -> tuple[Schema, Any]:
    """Return the schema of the answer of /predict, and an example where one was recorded."""
    texts = {name: {"type": "string"} for name in served.identity}
    share = {"type": "number", "minimum": 0, "maximum": 1}
    label = {"type": "string", "enum": list(served.model.signature.labels)}
    if served.answerer.detects:
        box = {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4}
        found = _object({"label": label, "score": share, "box": box})
        size = {"type": "integer", "minimum": 1}
        answer = _object({"width": size, "height": size, "boxes": {"type": "array", "items": found}})
    else:
        scores = _object(dict.fromkeys(served.model.signature.labels, share))
        answer = _object({"label": label, "score": share, "scores": scores})
    schema = _object({"model": _object(texts), "answers": {"type": "array", "items": answer}})
    return schema, _answer_example(served)


def infer_body(served: Served) -> dict[str, Any]:
    """Return the request body of /v2/models/{name}/infer."""
    tensor = describe(served)["inputs"][0]
    shape = {"type": "array", "items": {"type": "integer", "minimum": 1}}
    due = _object(
        {
            "name": {"type": "string", "enum": [tensor["name"]]},
            "datatype": {"type": "string", "enum": [tensor["datatype"]]},
            "shape": {**shape, "minItems": len(tensor["shape"]), "maxItems": len(tensor["shape"])},
            "data": {"type": "array", "items": {"type": "string"} if served.takes_texts else {}},
        }
    )
    inputs = {"type": "array", "items": due, "minItems": 1, "maxItems": 1}
    properties = {"id": {"type": "string"}, "inputs": inputs, "outputs": {"type": "array"}}
    schema = {"type": "object", "required": ["inputs"], "properties": properties}
    content: Schema = {"schema": schema}
    rows = [row.text for row in example_rows(served) if row.text]
    if rows:
        content["example"] = {"inputs": [{**tensor, "shape": [len(rows)], "data": rows}]}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def infer_answer(served: Served) -> Schema:
    """Return the schema of the answer of /v2/models/{name}/infer."""
    shape = {"type": "array", "items": {"type": "integer"}}
    word = {"type": "string"}
    tensor = _object({"name": word, "datatype": word, "shape": shape, "data": {"type": "array"}})
    outputs = {"type": "array", "items": tensor}
    return {
        "type": "object",
        "required": ["model_name", "outputs"],
        "properties": {"model_name": word, "model_version": word, "id": word, "outputs": outputs},
    }


def _object(properties: Schema) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}


def _examples(served: Served, key: str) -> dict[str, Any]:
    """Return named requests made of recorded rows, or of one neutral text where none were recorded."""
    values = [row.text or row.picture for row in example_rows(served)]
    if not values:
        return {"a row": {"value": {key: ["It is what it is."]}}} if served.takes_texts else {}
    told = {"a row of the test data": {"value": {key: values[:1]}}}
    return told | ({"several rows at once": {"value": {key: values}}} if len(values) > 1 else {})


def _answer_example(served: Served) -> Any:
    names = served.model.signature.labels
    for row in example_rows(served)[:1]:
        if served.answerer.detects:
            boxes = [
                {"label": names[label], "score": score, "box": list(box)}
                for label, score, box in zip(row.labels, row.scores, row.boxes, strict=True)
                if served.expected and score >= served.expected.threshold
            ]
            width, height = served.answerer.prepare([row.value])[0].size or (0, 0)
            return {"model": served.identity, "answers": [{"width": width, "height": height, "boxes": boxes}]}
        best = max(range(len(row.scores)), key=lambda place: row.scores[place])
        scores = dict(zip(names, row.scores, strict=True))
        answer = {"label": names[best], "score": row.scores[best], "scores": scores}
        return {"model": served.identity, "answers": [answer]}
    return None


def _problem_example(status: int) -> dict[str, Any]:
    detail = "a text must hold more than spaces" if status == 422 else TITLES[status]
    told: dict[str, Any] = {"type": "about:blank", "title": TITLES[status], "status": status, "detail": detail}
    return told | ({"errors": [{"pointer": "#/texts/0", "detail": detail}]} if status == 422 else {})
