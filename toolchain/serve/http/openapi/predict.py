"""Describe POST /predict: its request, its responses, and examples from the recorded rows."""

from typing import Any

from toolchain.serve.http.openapi.responses import JSON, PROBABILITY, STRING, Schema, object_schema, ok, row_errors
from toolchain.serve.versions.version import LoadedVersion, example_rows

MAX_EXAMPLE_CHARACTERS = 100_000  # of an example with several rows: an image may have some 500,000 in base64


def predict_body(served: LoadedVersion) -> Schema:
    settings, read = served.settings, served.task.input
    rows = {
        "type": "array",
        "items": read.schema(settings.limits),
        "minItems": 1,
        "maxItems": settings.max_request_rows,
    }
    properties: Schema = {read.field: rows}
    if served.task.output.has_threshold:
        properties["threshold"] = {**PROBABILITY, "description": "Minimum score of the returned boxes"}
    schema = {"type": "object", "required": [read.field], "properties": properties, "additionalProperties": False}
    content: Schema = {JSON: {"schema": schema, **_examples(served)}}
    if read.file_type:
        content[read.file_type] = {"schema": {"type": "string", "format": "binary"}}
    return {"required": True, "content": content}


def _examples(served: LoadedVersion) -> Schema:
    """Return example requests from the recorded rows, or with a neutral text if there are none."""
    read = served.task.input
    values = [row.json_value for row in example_rows(served)]
    if not values:
        return {} if read.file_type else {"examples": {"one row": {"value": {read.field: [read.neutral()]}}}}
    examples = {"one row": {"value": {read.field: values[:1]}}}
    if len(values) > 1 and sum(map(len, values)) <= MAX_EXAMPLE_CHARACTERS:
        examples["several rows"] = {"value": {read.field: values}}
    return {"examples": examples}


def predict_responses(served: LoadedVersion) -> Schema:
    read = served.task.input
    prediction = object_schema(served.task.output.schema())
    model = object_schema(dict.fromkeys(served.identity, STRING))
    schema = object_schema({"model": model, "predictions": {"type": "array", "items": prediction}})
    return ok(schema, _predicted_example(served)) | row_errors(f"#/{read.field}/0", read.invalid_value)


def _predicted_example(served: LoadedVersion) -> Any:
    """Return the recorded response to the first example request, None if there is none."""
    for row in example_rows(served)[:1]:
        assert served.expected is not None
        recorded: Any = served.task.output.recorded(row)
        (prepared,) = served.predictor.prepare([row.value])
        prediction = served.task.output.response(recorded, prepared, served.expected.threshold)
        return {"model": served.identity, "predictions": [prediction]}
    return None
