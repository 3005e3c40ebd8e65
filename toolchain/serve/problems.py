"""Problems: what goes wrong with a request, told as RFC 9457 asks, with neither stack nor path nor what was sent."""

import json
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
PACKAGE = Path(__file__).parents[1]
TITLES = {
    400: "the request is not what this address understands",
    401: "a bearer token is needed",
    403: "the request comes from another site",
    404: "there is nothing at this address",
    405: "this address has no such method",
    408: "the request came too slowly",
    413: "the request is too large",
    415: "the body is of a kind that is not understood",
    421: "this server has another name",
    422: "the request does not fit the model",
    429: "too many requests wait",
    431: "the head of the request is too large",
    499: "the client has gone",
    500: "the server failed",
    501: "this is not implemented",
    503: "the model is not ready",
    504: "the answer took too long",
    505: "this version of HTTP is not spoken",
}


class Problem(Exception):
    """A request that is not answered as asked.

    Args:
        status: HTTP's, one of TITLES.
        detail: One line for the caller: what was wrong, what is expected.
        pointer: Where in the body (RFC 6901), "" for all of it.
        retry_after: Seconds after which the caller may come again, 0 to say nothing.
        headers: More of the response.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        pointer: str = "",
        retry_after: int = 0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.pointer, self.retry_after = status, detail, pointer, retry_after
        self._headers = dict(headers or {})

    def response(self) -> Response:
        headers = {**self._headers, **({"Retry-After": str(self.retry_after)} if self.retry_after else {})}
        return respond(self.status, self.detail, self.pointer, headers)


def respond(status: int, detail: str, pointer: str = "", headers: Mapping[str, str] | None = None) -> Response:
    """Return the response that tells a problem; "error" is for clients of the Open Inference Protocol."""
    title = TITLES.get(status, "the request failed")
    told: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": detail, "error": detail}
    if pointer:
        told["errors"] = [{"pointer": f"#{pointer}", "detail": detail}]
    return Response(json.dumps(told), status, dict(headers or {}), MEDIA_TYPE)


def tell_problems(app: FastAPI) -> None:
    """Let ``app`` answer all that goes wrong with a problem."""
    app.add_exception_handler(Problem, _of_problem)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(Exception, _of_failure)


async def _of_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


async def _of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = TITLES.get(error.status_code, "the request failed") + "; /docs shows what there is"
    headers = dict(error.headers or {})
    if headers.get("Allow") == "GET":
        headers["Allow"] = "GET, HEAD"  # the middleware turns one into the other
    return respond(error.status_code, detail, headers=headers)


async def _of_failure(request: Request, error: Exception) -> Response:
    return respond(500, "the server failed on this request; its log says where")


def tell_place(error: BaseException, what: str = "a request") -> None:
    """Print the kind of ``error`` and where in this package it rose, without its text, which may hold a request's."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(PACKAGE)
    ]
    last = frames[-1] if frames else None
    place = f"{Path(last.filename).relative_to(PACKAGE)}:{last.lineno}" if last else "elsewhere"
    print(f"{what} failed with {type(error).__name__} at {place}", file=sys.stderr, flush=True)
