"""Application: the addresses of the server, around the versions of one model."""

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
from toolchain.serve.problems import respond, tell_problems
from toolchain.serve.versions.router import Router
from toolchain.serve.versions.watcher import VersionWatcher

PREDICT = "/predict"


def build(router: Router, tokens: Sequence[str] = (), watcher: VersionWatcher | None = None) -> RequestMiddleware:
    """Return the whole ASGI application: ``router`` behind its middleware, and kept as ``watcher`` says."""

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
    tell_problems(app)
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
    async def ask(request: Request) -> Response:
        return await predict(request, router)

    app.add_api_route(
        PREDICT, ask, methods=["POST"], summary="Ask the model", tags=["predict"], response_class=Response
    )


def _add_health(app: FastAPI, router: Router, middleware: RequestMiddleware) -> None:
    recorded = Recorded(router)

    async def healthz() -> Response:
        return PlainTextResponse("alive")

    async def readyz() -> Response:
        if router.unready:
            return respond(503, router.unready)
        return Response(orjson.dumps(_ready(router, middleware.authentication)), media_type=JSON)

    async def parity() -> Response:
        return Response(orjson.dumps(await recorded.ask()), media_type=JSON)

    async def metrics() -> Response:
        others = middleware.in_flight - 1  # without this request
        return Response(router.metrics(others), headers={"Content-Type": CONTENT_TYPE_LATEST})

    tags: list[str | Enum] = ["health"]
    again = "Ask the recorded rows again, and tell whether the answers are alike"
    add = partial(app.add_api_route, tags=tags, response_class=Response)
    for path in ("/healthz", "/livez"):
        add(path, healthz, summary="Whether the server runs")
    add("/readyz", readyz, summary="Whether the model may be asked")
    add("/parity", parity, methods=["POST"], summary=again)
    add("/metrics", metrics, summary="Figures for Prometheus")


def _ready(router: Router, authentication: str) -> dict[str, Any]:
    stable = router.stable
    versions = {role: {**served.identity, "parity": served.parity.told} for role, served in router.roles.items()}
    refused = {what: refusal.told for what, refusal in router.refused.items()}
    told = {"ready": True, "parity": stable.parity.told, **stable.identity}
    return {**told, "versions": versions, "refused": refused, "authentication": authentication}


class Recorded:
    """The recorded rows, asked again; who comes meanwhile gets the same answer."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._running: asyncio.Task[dict[str, Any]] | None = None

    async def ask(self) -> dict[str, Any]:
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(_ask_recorded(self._router))
        return await asyncio.shield(self._running)


async def _ask_recorded(router: Router) -> dict[str, Any]:
    """Ask every version its recorded rows, and return what came out of all of them."""
    found = {}
    for served in router.roles.values():
        with served.held():
            found[served.version] = await asyncio.to_thread(served.check_parity)
    told = [one.told if len(found) == 1 else f"version {version}: {one.told}" for version, one in found.items()]
    rows, alike = sum(one.rows for one in found.values()), sum(one.alike for one in found.values())
    return {"rows": rows, "alike": alike, "ready": not router.unready, "told": "; ".join(told) or router.unready}


def _describe(app: FastAPI, router: Router, secured: bool) -> None:
    """Let the document be ours, of the stable version: FastAPI knows the routes, not what passes through them."""
    described: dict[str, str] = {}  # the version that the document is of, not itself: it may be replaced and must end

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None or described != router.stable.identity:
            described.update(router.stable.identity)
            app.openapi_schema = openapi.document(app.routes, router.stable, secured)
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign]  # as FastAPI's documentation does it
