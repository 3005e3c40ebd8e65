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
from toolchain.serve.http.middleware import Door
from toolchain.serve.http.predict import JSON, predict
from toolchain.serve.http.response_headers import DOCS_FILES, docs_page
from toolchain.serve.problems import respond, tell_problems
from toolchain.serve.versions.router import Fleet
from toolchain.serve.versions.watcher import Follower

PREDICT = "/predict"


def build(fleet: Fleet, tokens: Sequence[str] = (), follower: Follower | None = None) -> Door:
    """Return the whole ASGI application: ``fleet`` behind its door, and kept as ``follower`` says."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if follower:
            follower.start(asyncio.get_running_loop())
        yield
        if follower:
            follower.stop()
        await fleet.close()

    app = FastAPIOffline(
        docs_url=None,
        redoc_url=None,
        static_url=DOCS_FILES,
        title=fleet.name,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    door = Door(app, fleet, tokens)
    _add_docs(app, fleet)
    _add_predict(app, fleet)
    _add_health(app, fleet, door)
    inference_protocol.add_routes(app, fleet)
    _describe(app, fleet, bool(tokens))
    tell_problems(app)
    door.direct = {route.path: route for route in app.routes if isinstance(route, APIRoute) and route.path == PREDICT}
    return door


def _add_docs(app: FastAPI, fleet: Fleet) -> None:
    page = docs_page(fleet.name)

    async def docs(request: Request) -> Response:
        return page

    app.add_route("/docs", docs)


def _add_predict(app: FastAPI, fleet: Fleet) -> None:
    async def ask(request: Request) -> Response:
        return await predict(request, fleet)

    app.add_api_route(
        PREDICT, ask, methods=["POST"], summary="Ask the model", tags=["predict"], response_class=Response
    )


def _add_health(app: FastAPI, fleet: Fleet, door: Door) -> None:
    recorded = Recorded(fleet)

    async def healthz() -> Response:
        return PlainTextResponse("alive")

    async def readyz() -> Response:
        if fleet.unready:
            return respond(503, fleet.unready)
        return Response(orjson.dumps(_ready(fleet, door.authentication)), media_type=JSON)

    async def parity() -> Response:
        return Response(orjson.dumps(await recorded.ask()), media_type=JSON)

    async def metrics() -> Response:
        others = door.in_flight - 1  # without this request
        return Response(fleet.metrics(others), headers={"Content-Type": CONTENT_TYPE_LATEST})

    tags: list[str | Enum] = ["health"]
    again = "Ask the recorded rows again, and tell whether the answers are alike"
    add = partial(app.add_api_route, tags=tags, response_class=Response)
    for path in ("/healthz", "/livez"):
        add(path, healthz, summary="Whether the server runs")
    add("/readyz", readyz, summary="Whether the model may be asked")
    add("/parity", parity, methods=["POST"], summary=again)
    add("/metrics", metrics, summary="Figures for Prometheus")


def _ready(fleet: Fleet, authentication: str) -> dict[str, Any]:
    stable = fleet.stable
    versions = {role: {**served.identity, "parity": served.parity.told} for role, served in fleet.roles.items()}
    refused = {what: refusal.told for what, refusal in fleet.refused.items()}
    told = {"ready": True, "parity": stable.parity.told, **stable.identity}
    return {**told, "versions": versions, "refused": refused, "authentication": authentication}


class Recorded:
    """The recorded rows, asked again; who comes meanwhile gets the same answer."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._running: asyncio.Task[dict[str, Any]] | None = None

    async def ask(self) -> dict[str, Any]:
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(_ask_recorded(self._fleet))
        return await asyncio.shield(self._running)


async def _ask_recorded(fleet: Fleet) -> dict[str, Any]:
    """Ask every version its recorded rows, and return what came out of all of them."""
    found = {}
    for served in fleet.roles.values():
        with served.held():
            found[served.version] = await asyncio.to_thread(served.check_parity)
    told = [one.told if len(found) == 1 else f"version {version}: {one.told}" for version, one in found.items()]
    rows, alike = sum(one.rows for one in found.values()), sum(one.alike for one in found.values())
    return {"rows": rows, "alike": alike, "ready": not fleet.unready, "told": "; ".join(told) or fleet.unready}


def _describe(app: FastAPI, fleet: Fleet, secured: bool) -> None:
    """Let the document be ours, of the stable version: FastAPI knows the routes, not what passes through them."""
    described: dict[str, str] = {}  # the version that the document is of, not itself: it may be replaced and must end

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None or described != fleet.stable.identity:
            described.update(fleet.stable.identity)
            app.openapi_schema = openapi.document(app.routes, fleet.stable, secured)
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign]  # as FastAPI's documentation does it
