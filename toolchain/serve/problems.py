"""Report errors as RFC 9457 problem details, without stack traces, paths or request content."""

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
TITLES = {  # the phrases of RFC 9110, and 6585; 499 is nginx's
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    421: "Misdirected Request",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    499: "Client Closed Request",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}


class Problem(Exception):
    """An error response.

    Args:
        status: HTTP status, one of TITLES.
        detail: One line for the client: what was wrong and what is expected.
        pointer: JSON pointer into the body (RFC 6901), "" for the whole body.
        retry_after: Seconds after which the client may retry; 0: no Retry-After header.
        headers: Additional response headers.
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
        return problem_response(self.status, self.detail, self.pointer, headers)


def problem_response(status: int, detail: str, pointer: str = "", headers: Mapping[str, str] | None = None) -> Response:
    """Return a problem response; the field "error" is for clients of the Open Inference Protocol."""
    title = TITLES.get(status, "Error")
    body: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": detail, "error": detail}
    if pointer:
        body["errors"] = [{"pointer": f"#{pointer}", "detail": detail}]
    return Response(json.dumps(body), status, dict(headers or {}), MEDIA_TYPE)


def add_exception_handlers(app: FastAPI) -> None:
    """Make ``app`` respond to every error with a problem."""
    app.add_exception_handler(Problem, _of_problem)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(Exception, _of_failure)


async def _of_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


async def _of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = f"{TITLES.get(error.status_code, 'Error')}; see /docs for the available routes"
    headers = dict(error.headers or {})
    if headers.get("Allow") == "GET":
        headers["Allow"] = "GET, HEAD"  # the middleware handles HEAD like GET
    return problem_response(error.status_code, detail, headers=headers)


async def _of_failure(request: Request, error: Exception) -> Response:
    return problem_response(500, "internal error; see the server's log")


def log_location(error: BaseException, what: str = "request") -> None:
    """Log the type and location of ``error``, without its message, which may contain request data."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(PACKAGE)
    ]
    last = frames[-1] if frames else None
    location = f"{Path(last.filename).relative_to(PACKAGE)}:{last.lineno}" if last else "unknown location"
    print(f"{what} failed with {type(error).__name__} at {location}", file=sys.stderr, flush=True)
