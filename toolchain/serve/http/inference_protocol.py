"""Serve the Open Inference Protocol v2 over HTTP, with tensors as JSON.

Texts are BYTES tensors, images UINT8 tensors of pixels at the model's size. The specification is
https://github.com/kserve/open-inference-protocol; its binary extension is not supported.
"""

from collections.abc import Awaitable, Callable, Sequence
from math import inf
from typing import Any

import orjson
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from toolchain.inference.prepared import Prepared
from toolchain.serve.http import predict
from toolchain.serve.http.middleware import REQUEST_ID, soon
from toolchain.serve.problems import Problem
from toolchain.serve.versions.router import Router
from toolchain.serve.versions.version import LoadedVersion

SERVER = "dl-toolchain"
PLATFORM = "{backend}_onnx"
MODEL = "/v2/models/{name}"
VERSION = "/v2/models/{name}/versions/{version}"


def add_routes(app: FastAPI, router: Router) -> None:
    """Add the protocol's routes to ``app``."""

    async def server(request: Request) -> Response:
        return _json({"name": SERVER, "version": router.stable.version, "extensions": []})

    async def live(request: Request) -> Response:
        return _json({"live": True})

    async def ready(request: Request) -> Response:
        return _json({"ready": not router.not_ready_reason}, 503 if router.not_ready_reason else 200)

    async def metadata(request: Request) -> Response:
        return _json({**describe(_named(request, router)), "versions": router.versions})

    async def model_ready(request: Request) -> Response:
        not_ready_reason = _named(request, router).not_ready_reason or router.not_ready_reason
        return _json({"name": router.name, "ready": not not_ready_reason}, 503 if not_ready_reason else 200)

    async def infer(request: Request) -> Response:
        return await respond(request, router)

    app.add_api_route("/v2", server, tags=["v2"], summary="Server metadata")
    app.add_api_route("/v2/health/live", live, tags=["v2"], summary="Server liveness")
    app.add_api_route("/v2/health/ready", ready, tags=["v2"], summary="Server readiness")
    for path in (MODEL, VERSION):
        what = "Model" if path == MODEL else "Version"
        app.add_api_route(path, metadata, tags=["v2"], summary=f"{what} metadata")
        app.add_api_route(f"{path}/ready", model_ready, tags=["v2"], summary=f"{what} readiness")
        app.add_api_route(
            f"{path}/infer",
            infer,
            methods=["POST"],
            tags=["v2"],
            summary="Inference" if path == MODEL else "Inference by this version",
        )


def describe(served: LoadedVersion) -> dict[str, Any]:
    """Return the metadata of the model."""
    return {
        "name": served.name,
        "versions": [served.version],
        "platform": PLATFORM.format(backend=served.model.signature.backend),
        "inputs": [_input(served)],
        "outputs": _outputs(served),
    }


async def respond(request: Request, router: Router) -> Response:
    """Serve an inference request."""
    _named(request, router)  # before the body is read
    if "inference-header-content-length" in request.headers:
        raise Problem(415, "tensors must be JSON; the binary extension is not supported")
    if predict.content_type(request) != predict.JSON:
        raise Problem(415, f"the body's Content-Type must be {predict.JSON}")
    content = await request.body()
    served = predict.chosen(request, router, request.path_params.get("version", ""))
    body = predict.read_json(content)
    if not isinstance(body.get("id", ""), str):
        raise Problem(422, "the id must be a string", "/id")
    response = await infer(body, served, router, request.scope[REQUEST_ID], lambda: predict.disconnected(request))
    if "id" in body:
        response["id"] = body["id"]
    return _json(response)


async def infer(
    body: dict[str, Any],
    served: LoadedVersion,
    router: Router,
    request_id: str,
    disconnected: Callable[[], Awaitable[object]],
    seconds: float = inf,
) -> dict[str, Any]:
    """Return the response to ``body``; see ``LoadedVersion.predict`` for ``disconnected`` and ``seconds``."""
    tensor = _only_input(body, served)
    wanted = _wanted_outputs(body, served)
    rows = await _rows(tensor, served)
    predictions = await served.predict(rows, disconnected, seconds)

    def note() -> None:
        router.compare(served, predictions, lambda other: _prepared_for(tensor, rows, served, other))
        router.sample(served, request_id, _values(tensor, served), rows, predictions)
        for row, one in zip(rows, predictions, strict=True):
            predict.count(served, row, one)

    soon(note)
    tensors = [tensor for tensor in _tensors(served, predictions) if not wanted or tensor["name"] in wanted]
    return {"model_name": served.name, "model_version": served.version, "outputs": tensors}


def named(name: str, version: str, router: Router) -> LoadedVersion:
    """Return the named version, the stable one by default."""
    if name != router.name:
        raise Problem(404, f"model not found; this server serves {router.name}")
    return router.choose("", version) if version else router.stable


def _named(request: Request, router: Router) -> LoadedVersion:
    return named(request.path_params["name"], request.path_params.get("version", ""), router)


def _input(served: LoadedVersion) -> dict[str, Any]:
    return served.task.input.tensor(served.task.max_batch_size)


def _outputs(served: LoadedVersion) -> list[dict[str, Any]]:
    return served.task.output.tensors()


def _only_input(body: dict[str, Any], served: LoadedVersion) -> dict[str, Any]:
    """Return the one tensor of the request, if its name, datatype and shape are the model's."""
    expected = _input(served)
    inputs = body.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise Problem(422, f"inputs must be a list of one tensor, {expected['name']}", "/inputs")
    found: dict[str, Any] = inputs[0]
    for key in ("name", "datatype"):
        if found.get(key) != expected[key]:
            raise Problem(422, f"the tensor's {key} must be {expected[key]}", f"/inputs/0/{key}")
    shape = found.get("shape")
    if not isinstance(shape, list) or not all(type(size) is int and size > 0 for size in shape):
        raise Problem(422, "the tensor's shape must be a list of whole numbers above 0", "/inputs/0/shape")
    if len(shape) != len(expected["shape"]) or any(
        d not in (-1, s) for s, d in zip(shape, expected["shape"], strict=True)
    ):
        raise Problem(422, f"the tensor's shape must be {expected['shape']} (-1: any)", "/inputs/0/shape")
    max_rows = served.settings.max_request_rows
    if shape[0] > max_rows:
        raise Problem(422, f"the tensor has {shape[0]:,} rows, {max_rows} are allowed", "/inputs/0/shape/0")
    return found


def _wanted_outputs(body: dict[str, Any], served: LoadedVersion) -> set[str]:
    """Return the names of the requested tensors; empty for all."""
    wanted = body.get("outputs", [])
    known = [tensor["name"] for tensor in _outputs(served)]
    if not isinstance(wanted, list) or not all(isinstance(one, dict) and one.get("name") in known for one in wanted):
        raise Problem(422, f"outputs must be a list of tensors of the model: {', '.join(known)}", "/outputs")
    return {str(one["name"]) for one in wanted}


async def _rows(tensor: dict[str, Any], served: LoadedVersion) -> list[Prepared]:
    read = served.task.input
    with predict.request_checked():
        found = read.parse_tensor(tensor.get("data"), tensor["shape"], served.settings.limits, "/inputs/0/data")
    if read.tensor_is_prepared:
        return [Prepared(data, read.length(data)) for data in found]
    return await predict.prepare(served, found)


def _values(tensor: dict[str, Any], served: LoadedVersion) -> Any:
    """Return the values in a request's tensor, None where it has prepared rows only."""
    return None if served.task.input.tensor_is_prepared else tensor["data"]


async def _prepared_for(
    tensor: dict[str, Any], rows: list[Prepared], served: LoadedVersion, other: LoadedVersion
) -> list[Prepared]:
    """Return the rows of a request to ``served``, prepared for ``other``."""
    if not served.task.input.tensor_is_prepared:
        return await predict.prepare(other, tensor["data"])
    if _input(other) != _input(served):
        raise Problem(422, "the input shapes of the versions differ")
    return rows


def _tensors(served: LoadedVersion, predictions: Sequence[Any]) -> list[dict[str, Any]]:
    values = served.task.output.tensor_values(predictions)
    return [
        {**tensor, "shape": shape, "data": data} for tensor, (shape, data) in zip(_outputs(served), values, strict=True)
    ]


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type=predict.JSON)
