"""Describe POST /predict: its request, its responses, and examples from the recorded rows."""

from typing import Any

from toolchain.serve.http.openapi.responses import JSON, PROBABILITY, STRING, Schema, object_schema, ok, row_errors
from toolchain.serve.versions.version import Served, example_rows

MAX_EXAMPLE_CHARACTERS = 100_000  # of an example with several rows: an image may have some 500,000 in base64


def predict_body(served: Served) -> Schema:
    settings = served.settings
    if served.takes_texts:
        item: Schema = {"type": "string", "minLength": 1, "maxLength": settings.max_text_characters, "pattern": r"\S"}
        key = "texts"
    else:
        item = {"type": "string", "contentEncoding": "base64", "description": "An image file"}
        key = "images"
    rows = {"type": "array", "items": item, "minItems": 1, "maxItems": settings.max_request_rows}
    properties: Schema = {key: rows}
    if served.predictor.detects:
        properties["threshold"] = {**PROBABILITY, "description": "Minimum score of the returned boxes"}
    schema = {"type": "object", "required": [key], "properties": properties, "additionalProperties": False}
    content: Schema = {JSON: {"schema": schema, **_examples(served, key)}}
    if not served.takes_texts:
        content["image/*"] = {"schema": {"type": "string", "format": "binary"}}
    return {"required": True, "content": content}


def _examples(served: Served, key: str) -> Schema:
    """Return example requests from the recorded rows, or with a neutral text if there are none."""
    values = [row.text or row.image for row in example_rows(served)]
    if not values:
        return {"examples": {"one row": {"value": {key: ["It is what it is."]}}}} if served.takes_texts else {}
    examples = {"one row": {"value": {key: values[:1]}}}
    if len(values) > 1 and sum(map(len, values)) <= MAX_EXAMPLE_CHARACTERS:
        examples["several rows"] = {"value": {key: values}}
    return {"examples": examples}


def predict_responses(served: Served) -> Schema:
    labels = served.model.signature.labels
    label = {"type": "string", "enum": list(labels)}
    if served.predictor.detects:
        box = {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4}
        found = object_schema({"label": label, "score": PROBABILITY, "box": box})
        size = {"type": "integer", "minimum": 1}
        prediction = object_schema({"width": size, "height": size, "boxes": {"type": "array", "items": found}})
    else:
        prediction = object_schema(
            {"label": label, "score": PROBABILITY, "scores": object_schema(dict.fromkeys(labels, PROBABILITY))}
        )
    model = object_schema(dict.fromkeys(served.identity, STRING))
    schema = object_schema({"model": model, "predictions": {"type": "array", "items": prediction}})
    texts = ("#/texts/0", "a text must not be blank")
    errors = row_errors(*texts if served.takes_texts else ("#/images/0", "an image must be a file in base64"))
    return ok(schema, _predicted_example(served)) | errors


def _predicted_example(served: Served) -> Any:
    """Return the recorded response to the first example request, None if there is none."""
    names = served.model.signature.labels
    for row in example_rows(served)[:1]:
        if served.predictor.detects:
            boxes = [
                {"label": names[label], "score": score, "box": list(box)}
                for label, score, box in zip(row.labels, row.scores, row.boxes, strict=True)
                if served.expected and score >= served.expected.threshold
            ]
            width, height = served.predictor.prepare([row.value])[0].size or (0, 0)
            return {"model": served.identity, "predictions": [{"width": width, "height": height, "boxes": boxes}]}
        best = max(range(len(row.scores)), key=lambda index: row.scores[index])
        scores = dict(zip(names, row.scores, strict=True))
        prediction = {"label": names[best], "score": row.scores[best], "scores": scores}
        return {"model": served.identity, "predictions": [prediction]}
    return None
