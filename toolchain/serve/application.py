"""Application: the addresses of the server, around one model."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from enum import Enum
from functools import partial
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from toolchain.serve import inference_protocol, openapi
from toolchain.serve.door import Door
from toolchain.serve.predict import JSON, predict
from toolchain.serve.problems import respond, tell_problems
from toolchain.serve.served import Served


def build(served: Served, tokens: Sequence[str] = ()) -> Door:
    """Return the whole ASGI application: ``served`` behind its door."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(served.batcher.close)

    app = FastAPIOffline(
        redoc_url=None,
        static_url="/docs-files",
        title=served.name,
        version=served.version,
        lifespan=lifespan,
    )
    door = Door(app, served, tokens)
    _add_predict(app, served)
    _add_health(app, served, door)
    inference_protocol.add_routes(app, served)
    _describe(app, served, bool(tokens))
    tell_problems(app)
    return door


def _add_predict(app: FastAPI, served: Served) -> None:
    async def ask(request: Request) -> Response:
        return await predict(request, served)

    app.add_api_route(
        "/predict", ask, methods=["POST"], summary="Ask the model", tags=["predict"], response_class=Response
    )


def _add_health(app: FastAPI, served: Served, door: Door) -> None:
    async def healthz() -> Response:
        return PlainTextResponse("alive")

    async def readyz() -> Response:
        if served.unready:
            return respond(503, served.unready)
        return Response(orjson.dumps({"ready": True, "parity": served.parity.told, **served.identity}), media_type=JSON)

    async def parity() -> Response:
        found = await asyncio.to_thread(served.check_parity)
        told = {"rows": found.rows, "alike": found.alike, "ready": not found.reason, "told": found.told}
        return Response(orjson.dumps(told), media_type=JSON)

    async def metrics() -> Response:
        others = door.in_flight - 1  # without this request
        text = served.metrics.text(others, served.batcher.waiting, not served.unready)
        return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    tags: list[str | Enum] = ["health"]
    again = "Ask the recorded rows again, and tell whether the answers are alike"
    add = partial(app.add_api_route, tags=tags, response_class=Response)
    add("/healthz", healthz, summary="Whether the server runs")
    add("/readyz", readyz, summary="Whether the model may be asked")
    add("/parity", parity, methods=["POST"], summary=again)
    add("/metrics", metrics, summary="Figures for Prometheus")


def _describe(app: FastAPI, served: Served, secured: bool) -> None:
    """Let the document be ours: FastAPI knows the routes, not what passes through them."""

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = openapi.document(app.routes, served, secured)
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign]  # as FastAPI's documentation does it
