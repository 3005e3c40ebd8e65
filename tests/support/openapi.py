"""An OpenAPI document in the form of the model server's, and changed copies of it."""

import copy
from collections.abc import Callable
from typing import Any

Document = dict[str, Any]


def original() -> Document:
    """Return a document in the form of the model server's, written by hand so that it stays while that one changes."""
    share = {"type": "number", "minimum": 0, "maximum": 1}
    prediction = {
        "type": "object",
        "required": ["label", "score", "scores"],
        "properties": {
            "label": {"type": "string", "enum": ["negative", "positive"]},
            "score": share,
            "scores": {"type": "object", "required": ["negative", "positive"],
                "properties": {"negative": share, "positive": share}},
            "note": {"type": "string"},
        },
    }  # fmt: skip
    rows = {
        "type": "array",
        "items": {"type": "string", "minLength": 1, "maxLength": 20_000, "pattern": r"\S"},
        "minItems": 1,
        "maxItems": 64,
    }
    request = {
        "type": "object",
        "required": ["texts"],
        "properties": {"texts": rows, "threshold": {"type": "number", "minimum": 0, "maximum": 1}},
        "additionalProperties": False,
    }
    response = {
        "type": "object",
        "required": ["model", "predictions"],
        "properties": {"model": {"type": "string"}, "predictions": {"type": "array", "items": prediction}},
    }
    late = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}}
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    post = {
        "operationId": "predict",
        "requestBody": {"required": True, "content": {"application/json": {"schema": request}}},
        "responses": {
            "200": {"description": "The prediction", "content": {"application/json": {"schema": response}}},
            "422": {"description": "Bad", "content": problem},
            "429": {"description": "Full", "content": problem, "headers": late},
        },
    }
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    wait = {"name": "wait", "in": "query", "required": False, "schema": {"type": "integer", "maximum": 60}}
    get = {"operationId": "model", "parameters": [wait], "responses": {"200": {"description": "It"}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "reviews", "version": "1"},
        "paths": {"/predict": {"post": post}, "/models/{name}": {"parameters": [name], "get": get}},
        "components": {
            "schemas": {
                "Problem": {"type": "object", "required": ["title", "status"],
                    "properties": {"title": {"type": "string"}, "status": {"type": "integer"}}},
            },
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }  # fmt: skip


def changed(*steps: str, to: Any = None, value: Callable[[Any], Any] | None = None) -> Document:
    """Return the original in which what ``steps`` lead to is ``to``, or what ``value`` makes of it; None: without."""
    document = copy.deepcopy(original())
    place: Any = document
    for step in steps[:-1]:
        place = place[step]
    last = steps[-1]
    new = value(place[last]) if value else to
    if new is None:
        del place[last]
    else:
        place[last] = new
    return document
