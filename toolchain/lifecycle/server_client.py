"""Query running model servers over HTTP: their readiness and their metrics. Neither needs a token."""

from collections.abc import Sequence
from typing import Any

from toolchain.errors import ServiceError
from toolchain.services import http

HTTP_PORT = 8080  # the port of a pod that serves
REQUEST_TIMEOUT_S = 10.0  # both responses are immediate; a busy machine takes longer


def fetch_metrics(urls: Sequence[str]) -> dict[str, str]:
    """Return the text of /metrics of each server in ``urls``, by its URL.

    Raises:
        ServiceError: one of them does not respond, or has no metrics.
    """
    return {url: _metrics(f"{url.rstrip('/')}/metrics") for url in urls}


def selector(model: str) -> str:
    """Return what selects the pods that serve ``model`` on a cluster."""
    return f"app.kubernetes.io/component=model-server,app.kubernetes.io/name={model}"


def readiness(url: str) -> dict[str, Any]:
    """Return the readiness (/readyz) of the server at ``url``, whether or not it is ready.

    Raises:
        ServiceError: it does not respond, or is not a model server.
    """
    response = _get(f"{url.rstrip('/')}/readyz")
    try:
        return dict(response.json())
    except (ValueError, TypeError) as error:
        raise ServiceError(f"{url} is not a model server of the toolchain: /readyz returned no JSON object") from error


def _metrics(url: str) -> str:
    response = _get(url)
    if response.is_error:
        raise ServiceError(f"{url} returned {response.status_code} {response.reason_phrase}")
    return response.text


def _get(url: str) -> "http.Response":
    try:
        return http.request(url, timeout_s=REQUEST_TIMEOUT_S, use_proxy=False)
    except http.UnreachableError as error:
        raise ServiceError(f"{url} does not respond ({error}); start a server with toolchain serve MODEL") from error
