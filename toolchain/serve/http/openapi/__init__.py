"""Generate the OpenAPI document of /openapi.json and /docs, with examples from the model's test rows.

The same model and settings give the same document, byte for byte: promotion stores it with the version and compares it
with that of the serving version.
"""

from collections.abc import Sequence

from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute

from toolchain.serve.http.inference_protocol import MODEL, VERSION, describe
from toolchain.serve.http.middleware import PUBLIC
from toolchain.serve.http.openapi.infer import infer_body, infer_response
from toolchain.serve.http.openapi.predict import predict_body, predict_responses
from toolchain.serve.http.openapi.responses import (
    BOOLEAN,
    STRING,
    Schema,
    object_schema,
    ok,
    problem_schema,
    problems,
    readiness,
    row_errors,
)
from toolchain.serve.versions.version import LoadedVersion

MAX_LABELS = 20  # in the description
DESCRIPTION = """{task} with the variant `{variant}` (digest `{digest}`), preprocessing included.

**Labels:** {labels}

**Limits:** {rows} rows and {size:,} bytes per request, {timeout:g} s per response"""
TAGS = [
    {"name": "predict", "description": "Predictions for texts or images"},
    {"name": "health", "description": "Health and metrics"},
    {"name": "v2", "description": "Open Inference Protocol v2, with tensors as JSON"},
]
REQUEST_ID_DOC = "Optional. During a canary rollout, requests with the same id are routed to the same version"
REQUEST_ID = {"name": "X-Request-Id", "in": "header", "schema": {"type": "string"}, "description": REQUEST_ID_DOC}


def document(routes: Sequence[BaseRoute], served: LoadedVersion, secured: bool) -> Schema:
    """Return the document for ``routes`` of ``served``; ``secured`` if requests need a token."""
    made = get_openapi(
        title=served.name, version=served.version, description=_description(served), routes=routes, tags=TAGS
    )
    made["components"] = {"schemas": {"Problem": problem_schema()}}
    if secured:
        made["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for path, operations in made["paths"].items():
        for operation in operations.values():
            operation |= _operation(path, served)
            if secured and path not in PUBLIC:
                operation["security"] = [{"token": []}]
                operation["responses"] |= problems(401)
    return made


def _description(served: LoadedVersion) -> str:
    labels = served.model.signature.labels
    settings = served.settings
    return DESCRIPTION.format(
        task=served.model.signature.task.replace("-", " ").capitalize(),
        variant=served.model.variant,
        digest=served.model.digest[:12],
        labels=", ".join(labels[:MAX_LABELS]) + (", …" if len(labels) > MAX_LABELS else ""),
        rows=settings.max_request_rows,
        size=settings.max_body_bytes if served.task.input.file_type else settings.max_text_body_bytes,
        timeout=settings.request_timeout,
    )


def _operation(path: str, served: LoadedVersion) -> Schema:
    """Return the documentation of the operation at ``path``."""
    text = {"200": {"description": "Plain text", "content": {"text/plain": {"schema": STRING}}}}
    operations: dict[str, Schema] = {
        "/predict": {
            "operationId": "predict",
            "parameters": [REQUEST_ID],
            "requestBody": predict_body(served),
            "responses": predict_responses(served),
        },
        "/healthz": {"operationId": "alive", "responses": text},
        "/livez": {"operationId": "live", "responses": text},
        "/readyz": {"operationId": "ready", "responses": ok(_ready_response(served)) | problems(503)},
        "/parity": {"operationId": "parity", "responses": ok(_parity_response()) | problems(500)},
        "/metrics": {"operationId": "metrics", "responses": text},
        "/v2": {"operationId": "server_metadata", "responses": ok(_server_response())},
        "/v2/health/live": {"operationId": "server_live", "responses": ok(object_schema({"live": BOOLEAN}))},
        "/v2/health/ready": {"operationId": "server_ready", "responses": readiness(object_schema({"ready": BOOLEAN}))},
    }
    for prefix, name in ((VERSION, "version"), (MODEL, "model")):
        if path.startswith(prefix):
            return _of_model(path.removeprefix(prefix), name, served)
    return operations.get(path, {})


def _of_model(action: str, name: str, served: LoadedVersion) -> Schema:
    """Return the documentation of a protocol operation on the "model" or on a "version" of it."""
    shown = {"name": served.name, "version": served.version}
    given = ("name",) if name == "model" else ("name", "version")
    parameters = [
        {"name": one, "in": "path", "required": True, "schema": STRING, "example": shown[one]} for one in given
    ]
    unknown = problems(404)
    operations: dict[str, Schema] = {
        "": {"operationId": f"{name}_metadata", "responses": ok(_metadata_response(), describe(served)) | unknown},
        "/ready": {
            "operationId": f"{name}_ready",
            "responses": readiness(object_schema({"name": STRING, "ready": BOOLEAN})) | unknown,
        },
        "/infer": {
            "operationId": f"{name}_infer",
            "parameters": [*parameters, REQUEST_ID],
            "requestBody": infer_body(served),
            "responses": ok(infer_response()) | row_errors("#/inputs/0/data", served.task.input.invalid_tensor, 404),
        },
    }
    return {"parameters": parameters, **operations[action]}


def _metadata_response() -> Schema:
    shape = {"type": "array", "items": {"type": "integer"}}
    tensors = {"type": "array", "items": object_schema({"name": STRING, "datatype": STRING, "shape": shape})}
    versions = {"type": "array", "items": STRING}
    return object_schema(
        {"name": STRING, "versions": versions, "platform": STRING, "inputs": tensors, "outputs": tensors}
    )


def _server_response() -> Schema:
    return object_schema({"name": STRING, "version": STRING, "extensions": {"type": "array", "items": STRING}})


def _ready_response(served: LoadedVersion) -> Schema:
    version = object_schema({**dict.fromkeys(served.identity, STRING), "parity": STRING})
    roles = {"type": "object", "additionalProperties": version, "description": "By role: stable, canary or shadow"}
    rejected = {"type": "object", "additionalProperties": STRING, "description": "Reasons, by version"}
    state = {"ready": BOOLEAN, "parity": STRING, **dict.fromkeys(served.identity, STRING)}
    authentication = {"type": "string", "enum": ["tokens", "none"], "description": "Credentials that requests need"}
    return object_schema({**state, "versions": roles, "rejected": rejected, "authentication": authentication})


def _parity_response() -> Schema:
    count = {"type": "integer", "minimum": 0}
    return object_schema({"rows": count, "matching": count, "ready": BOOLEAN, "message": STRING})
