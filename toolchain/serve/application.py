"""Application: the addresses of the server, around one model."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from enum import Enum
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from toolchain.serve import inference_protocol, openapi
from toolchain.serve.door import OPEN, Door
from toolchain.serve.predict import JSON, predict
from toolchain.serve.problems import respond, tell_problems
from toolchain.serve.served import Served

DESCRIPTION = """{task} by `{variant}` (digest `{digest}`): the file that was measured, its preprocessing included.
Labels: {labels}. Limits: {rows} rows and {size:,} bytes in a request, {deadline:g} s for an answer."""
SHOWN_LABELS = 20


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
        description=_description(served),
        lifespan=lifespan,
        separate_input_output_schemas=False,
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

    schema, example = openapi.predict_answer(served)
    app.add_api_route(
        "/predict",
        ask,
        methods=["POST"],
        summary="Ask the model",
        tags=["predict"],
        openapi_extra=openapi.predict_body(served),
        responses=openapi.responses(schema, example, (400, 415, *openapi.COMMON)),
        response_class=Response,
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

    text = {"content": {"text/plain": {"schema": {"type": "string"}}}}
    plain: dict[int | str, dict[str, Any]] = {200: text}
    given = {"type": "object"}
    tags: list[str | Enum] = ["health"]
    add = app.add_api_route
    add("/healthz", healthz, summary="Whether the server runs", tags=tags, responses=plain, response_class=Response)
    ready = openapi.responses(given, statuses=(503,))
    add(
        "/readyz", readyz, summary="Whether the model may be asked", tags=tags, responses=ready, response_class=Response
    )
    again = openapi.responses(given, statuses=(401, 500))
    add(
        "/parity",
        parity,
        methods=["POST"],
        summary="Ask the recorded rows again, and tell whether the answers are alike",
        tags=tags,
        responses=again,
        response_class=Response,
    )
    add("/metrics", metrics, summary="Figures for Prometheus", tags=tags, responses=plain, response_class=Response)


def _describe(app: FastAPI, served: Served, secured: bool) -> None:
    """Complete the document that FastAPI makes of the routes: v2's bodies, and how a token is sent."""
    plain = app.openapi

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            for path, operations in document["paths"].items():
                if path.endswith("/infer"):
                    operations["post"] |= openapi.infer_body(served)
                    told = openapi.responses(openapi.infer_answer(served), statuses=(400, 404, 415, *openapi.COMMON))
                    operations["post"]["responses"] = {str(status): value for status, value in told.items()}
                if secured and path not in OPEN:
                    for operation in operations.values():
                        operation["security"] = [{"token": []}]
            if secured:
                schemes = {"token": {"type": "http", "scheme": "bearer"}}
                document.setdefault("components", {})["securitySchemes"] = schemes
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign]  # as FastAPI's documentation does it


def _description(served: Served) -> str:
    labels = served.model.signature.labels
    more = ", …" if len(labels) > SHOWN_LABELS else ""
    settings = served.settings
    return DESCRIPTION.format(
        task=served.model.signature.task.replace("-", " ").capitalize(),
        variant=served.model.variant,
        digest=served.model.digest[:12],
        labels=", ".join(labels[:SHOWN_LABELS]) + more,
        rows=settings.request_rows,
        size=settings.text_body_bytes if served.takes_texts else settings.body_bytes,
        deadline=settings.deadline_seconds,
    )
