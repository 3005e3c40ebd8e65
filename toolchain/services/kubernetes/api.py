"""The API server: the one door to it, by the kubeconfig (KUBECONFIG, ~/.kube/config) or from inside a pod."""

import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from toolchain.errors import ServiceError

Answer = TypeVar("Answer")
SECONDS_TO_ANSWER = 10.0  # an API server that takes longer is down
IN_A_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


def patience() -> dict[str, float]:
    """Return the arguments of a call that shall not wait for an API server that is down."""
    return {"_request_timeout": SECONDS_TO_ANSWER}


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


def ask(call: Callable[[Any], Answer]) -> Answer:
    """Return what ``call`` answers, given the client of pods, services and the like; raises as ``asked``."""
    core = client_of("CoreV1Api")
    return asked(lambda: call(core))


def permitted(call: Callable[[Any], Answer], but: tuple[int, ...] = (403, 404)) -> Answer | None:
    """Return what ``call`` answers, None for the HTTP statuses ``but``: not for us to read, or not there."""
    from kubernetes.client.exceptions import ApiException

    try:
        return ask(call)
    except ServiceError as error:
        if isinstance(error.__cause__, ApiException) and error.__cause__.status in but:
            return None
        raise


def asked(call: Callable[[], Answer]) -> Answer:
    """Return what ``call`` answers.

    Raises:
        ServiceError: in one line, what to do when it does not.
    """
    import urllib3
    from kubernetes.client.exceptions import ApiException

    try:
        return call()
    except ApiException as error:
        hint = {
            401: "log in again: the kubeconfig's credentials are too old",
            403: "ask for the right to do it",
            503: "its pods are being started, or cannot be: try again in a minute, or look at them",
        }
        said = re.search(r'"message":"((?:[^"\\]|\\.)*)"', str(error.body or ""))
        reason = said[1].replace('\\"', '"') if said else error.reason
        raise ServiceError(
            f"Kubernetes refuses: {reason}; {hint.get(error.status, 'see the name and the namespace')}"
        ) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise ServiceError(
            f"Kubernetes' API server does not answer ({reason}); check KUBECONFIG and the network"
        ) from error
