"""Model servers that run, asked over HTTP what they serve and for their figures; neither needs a token."""

import json
from collections.abc import Sequence
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from toolchain.errors import ServiceError

HTTP = 8080  # the port of a pod that serves
SECONDS_TO_ANSWER = 10.0  # both answers are ready at once; a busy machine takes longer


def figures(urls: Sequence[str]) -> dict[str, str]:
    """Return what each server of ``urls`` says at /metrics, by its address.

    Raises:
        ServiceError: one of them does not answer.
    """
    return {url: _ask(f"{url.rstrip('/')}/metrics").decode() for url in urls}


def selector(model: str) -> str:
    """Return what selects the pods that serve ``model`` on a cluster."""
    return f"app.kubernetes.io/component=model-server,app.kubernetes.io/name={model}"


def readiness(url: str) -> dict[str, Any]:
    """Return what the server at ``url`` says at /readyz, ready or not.

    Raises:
        ServiceError: it does not answer, or is no model server.
    """
    address = f"{url.rstrip('/')}/readyz"
    try:
        told = json.loads(_ask(address, refused=True))
        return dict(told)
    except (ValueError, TypeError) as error:
        raise ServiceError(f"{url} is no model server of ours: its /readyz is no JSON") from error


def _ask(address: str, refused: bool = False) -> bytes:
    """Return the body of the answer, of a refusal too where ``refused`` says so."""
    try:
        with build_opener(ProxyHandler({})).open(address, timeout=SECONDS_TO_ANSWER) as answer:
            return bytes(answer.read())
    except HTTPError as error:
        if refused:
            return error.read()
        raise ServiceError(f"{address} answered {error.code} {error.reason}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise ServiceError(f"{address} does not answer ({error}); toolchain serve MODEL starts one") from error
