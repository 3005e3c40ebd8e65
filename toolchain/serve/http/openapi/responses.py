"""Define the schemas and responses that several operations share."""

from typing import Any

from toolchain.serve.problems import MEDIA_TYPE, TITLES

JSON = "application/json"
ROW_ERRORS = (400, 408, 413, 415, 422, 429, 500, 503, 504)  # of requests with rows
PROBLEM = {"$ref": "#/components/schemas/Problem"}
STRING, BOOLEAN, PROBABILITY = {"type": "string"}, {"type": "boolean"}, {"type": "number", "minimum": 0, "maximum": 1}
Schema = dict[str, Any]


def object_schema(properties: Schema) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}


def problem_schema() -> Schema:
    """Return the schema of problem details (RFC 9457), with two additional fields."""
    error = object_schema({"pointer": STRING, "detail": STRING})
    return {
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": STRING,
            "status": {"type": "integer"},
            "detail": {"type": "string", "description": "What was wrong and what was expected"},
            "error": {"type": "string", "description": "The detail, for clients of the Open Inference Protocol"},
            "errors": {
                "type": "array",
                "items": error,
                "description": "Errors with JSON pointers into the body (RFC 6901)",
            },
        },
    }


def ok(schema: Schema, example: Any = None) -> Schema:
    """Return the 200 response."""
    content: Schema = {"schema": schema, **({} if example is None else {"example": example})}
    headers = {"X-Request-Id": {"schema": STRING, "description": "The request's id, or a generated one"}}
    return {"200": {"description": "OK", "headers": headers, "content": {JSON: content}}}


def readiness(schema: Schema) -> Schema:
    """Return the responses of a readiness route, which have the same schema for both states."""
    content = {JSON: {"schema": schema}}
    return {
        "200": {"description": "Ready", "content": content},
        "503": {"description": "Not ready", "content": content},
    }


def problems(*statuses: int) -> Schema:
    """Return the error responses."""
    responses: Schema = {}
    for status in statuses:
        content = {MEDIA_TYPE: {"schema": PROBLEM, "example": _problem_example(status)}}
        responses[str(status)] = {"description": TITLES[status], "content": content}
        if status == 429:
            responses["429"]["headers"] = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}}
    return responses


def _problem_example(status: int, detail: str = "") -> Schema:
    return {"type": "about:blank", "title": TITLES[status], "status": status, "detail": detail or TITLES[status]}


def row_errors(pointer: str, detail: str, *statuses: int) -> Schema:
    """Return the error responses of a request with rows, and of ``statuses``."""
    responses = problems(*ROW_ERRORS, *statuses)
    example = _problem_example(422, detail) | {"errors": [{"pointer": pointer, "detail": detail}]}
    responses["422"]["content"][MEDIA_TYPE]["example"] = example
    return responses
