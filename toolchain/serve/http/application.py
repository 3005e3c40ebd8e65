"""Build the ASGI application: its routes and its middleware."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from enum import Enum
from functools import partial
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from toolchain.serve.http import inference_protocol, openapi
from toolchain.serve.http.middleware import RequestMiddleware
from toolchain.serve.http.predict import JSON, predict
from toolchain.serve.http.response_headers import DOCS_FILES, docs_page
from toolchain.serve.problems import add_exception_handlers, problem_response
from toolchain.serve.versions.router import Router
from toolchain.serve.versions.watcher import VersionWatcher

PREDICT = "/predict"


def build(router: Router, tokens: Sequence[str] = (), watcher: VersionWatcher | None = None) -> RequestMiddleware:
    """Return the ASGI application that serves ``router``, which ``watcher`` keeps up to date."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if watcher:
            watcher.start(asyncio.get_running_loop())
        yield
        if watcher:
            watcher.stop()
        await router.close()

    app = FastAPIOffline(
        docs_url=None,
        redoc_url=None,
        static_url=DOCS_FILES,
        title=router.name,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    middleware = RequestMiddleware(app, router, tokens)
    _add_docs(app, router)
    _add_predict(app, router)
    _add_health(app, router, middleware)
    inference_protocol.add_routes(app, router)
    _describe(app, router, bool(tokens))
    add_exception_handlers(app)
    middleware.direct = {
        route.path: route for route in app.routes if isinstance(route, APIRoute) and route.path == PREDICT
    }
    return middleware


def _add_docs(app: FastAPI, router: Router) -> None:
    page = docs_page(router.name)

    async def docs(request: Request) -> Response:
        return page

    app.add_route("/docs", docs)


def _add_predict(app: FastAPI, router: Router) -> None:
    async def endpoint(request: Request) -> Response:
        return await predict(request, router)

    app.add_api_route(PREDICT, endpoint, methods=["POST"], summary="Predict", tags=["predict"], response_class=Response)


def _add_health(app: FastAPI, router: Router, middleware: RequestMiddleware) -> None:
    check = ParityCheck(router)

    async def healthz() -> Response:
        return PlainTextResponse("alive")

    async def readyz() -> Response:
        if router.not_ready_reason:
            return problem_response(503, router.not_ready_reason)
        return Response(orjson.dumps(_ready(router, middleware.authentication)), media_type=JSON)

    async def parity() -> Response:
        return Response(orjson.dumps(await check.run()), media_type=JSON)

    async def metrics() -> Response:
        others = middleware.in_flight - 1  # this request is not counted
        return Response(router.metrics(others), headers={"Content-Type": CONTENT_TYPE_LATEST})

    tags: list[str | Enum] = ["health"]
    add = partial(app.add_api_route, tags=tags, response_class=Response)
    for path in ("/healthz", "/livez"):
        add(path, healthz, summary="Liveness")
    add("/readyz", readyz, summary="Readiness and loaded versions")
    add("/parity", parity, methods=["POST"], summary="Check the recorded predictions again")
    add("/metrics", metrics, summary="Metrics for Prometheus")


def _ready(router: Router, authentication: str) -> dict[str, Any]:
    stable = router.stable
    versions = {role: {**served.identity, "parity": served.parity.summary} for role, served in router.roles.items()}
    rejected = {what: rejection.public_message for what, rejection in router.rejected.items()}
    state = {"ready": True, "parity": stable.parity.summary, **stable.identity}
    return {**state, "versions": versions, "rejected": rejected, "authentication": authentication}


class ParityCheck:
    """Repeats the parity check; concurrent requests share one run."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._running: asyncio.Task[dict[str, Any]] | None = None

    async def run(self) -> dict[str, Any]:
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(_check_parity(self._router))
        return await asyncio.shield(self._running)


async def _check_parity(router: Router) -> dict[str, Any]:
    """Check the parity of every version, and return the sum."""
    found = {}
    for served in router.roles.values():
        with served.held():
            found[served.version] = await asyncio.to_thread(served.check_parity)
    summaries = [
        one.summary if len(found) == 1 else f"version {version}: {one.summary}" for version, one in found.items()
    ]
    rows, matching = sum(one.rows for one in found.values()), sum(one.matching for one in found.values())
    return {
        "rows": rows,
        "matching": matching,
        "ready": not router.not_ready_reason,
        "message": "; ".join(summaries) or router.not_ready_reason,
    }


def _describe(app: FastAPI, router: Router, secured: bool) -> None:
    """Generate the OpenAPI document from the stable version, which FastAPI knows nothing about."""
    described: dict[str, str] = {}  # the identity only: a reference would keep a replaced version alive

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None or described != router.stable.identity:
            described.update(router.stable.identity)
            app.openapi_schema = openapi.document(app.routes, router.stable, secured)
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign]  # as FastAPI's documentation does it
