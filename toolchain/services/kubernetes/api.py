"""Call the Kubernetes API server, with the kubeconfig (KUBECONFIG, ~/.kube/config) or from inside a pod."""

import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from toolchain.errors import ServiceError

Response = TypeVar("Response")
REQUEST_TIMEOUT_S = 10.0  # a slower API server counts as down
IN_A_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


def timeout() -> dict[str, float]:
    """Return the arguments that limit the time of a call."""
    return {"_request_timeout": REQUEST_TIMEOUT_S}


@cache
def client_of(kind: str) -> Any:
    """Return the client ``kind`` of the kubernetes package, made once.

    Raises:
        ServiceError: there is no usable kubeconfig.
    """
    from kubernetes import client, config

    try:
        if IN_A_POD.is_file() and not os.environ.get("KUBECONFIG"):
            config.load_incluster_config()
            return getattr(client, kind)()
        return getattr(client, kind)(config.new_client_from_config())
    except config.ConfigException as error:
        raise ServiceError(f"there is no usable kubeconfig ({error}): set KUBECONFIG to one") from error


def call_core_api(call: Callable[[Any], Response]) -> Response:
    """Return the result of ``call`` with the client of pods, services and other core resources; see ``call_api``."""
    core = client_of("CoreV1Api")
    return call_api(lambda: call(core))


def permitted(call: Callable[[Any], Response], but: tuple[int, ...] = (403, 404)) -> Response | None:
    """Return the result of ``call``, None for the HTTP statuses ``but``: not permitted, or not found."""
    from kubernetes.client.exceptions import ApiException

    try:
        return call_core_api(call)
    except ServiceError as error:
        if isinstance(error.__cause__, ApiException) and error.__cause__.status in but:
            return None
        raise


def call_api(call: Callable[[], Response]) -> Response:
    """Return the result of ``call``.

    Raises:
        ServiceError: the request failed; the message explains what to do.
    """
    import urllib3
    from kubernetes.client.exceptions import ApiException

    try:
        return call()
    except ApiException as error:
        hint = {
            401: "log in again: the kubeconfig's credentials are too old",
            403: "request the permission",
            503: "its pods are starting, or failed to start: retry in a minute, or check them",
        }
        message = re.search(r'"message":"((?:[^"\\]|\\.)*)"', str(error.body or ""))
        reason = message[1].replace('\\"', '"') if message else error.reason
        raise ServiceError(
            f"Kubernetes rejected the request: {reason}; {hint.get(error.status, 'see the name and the namespace')}"
        ) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise ServiceError(
            f"Kubernetes' API server does not respond ({reason}); check KUBECONFIG and the network"
        ) from error
