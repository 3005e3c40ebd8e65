"""Sends a pipeline to a Kubeflow Pipelines server, by KFP's own client."""

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from pipelines.engine.settings import Settings
from toolchain.errors import ServiceError

SECONDS_TO_ANSWER = 30  # a server that takes longer to say that it is well has a fault


def submit(pipeline: str, compiled: str, values: Mapping[str, Any], settings: Settings, cached: bool) -> str:
    """Start ``pipeline`` on the server of ``settings`` and return the address of its run.

    Without KFP_ENDPOINT, KFP's own configuration decides (~/.config/kfp/context.json, or the cluster it runs in).

    Raises:
        ServiceError: the server is not there, or refuses.
    """
    import urllib3
    from kfp_server_api.exceptions import ApiException

    try:
        _check_health(settings)
        return _submit(pipeline, compiled, values, settings, cached)
    except (ApiException, HTTPError) as error:
        raise _refusal(settings, error.status, error.reason) from error
    except (urllib3.exceptions.HTTPError, OSError, ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        advice = "set KFP_ENDPOINT to its URL, or submit with --engine local"
        raise ServiceError(f"no Kubeflow Pipelines server answers at {_name(settings)} ({reason}); {advice}") from error


def _check_health(settings: Settings) -> None:
    """Ask the server how it is once; KFP's client would ask five times, for half a minute, printing tracebacks."""
    if not settings.endpoint:
        return
    headers = {"Authorization": f"Bearer {settings.token}"} if settings.token else {}
    request = Request(f"{settings.endpoint.rstrip('/')}/apis/v2beta1/healthz", headers=headers)
    with urlopen(request, timeout=SECONDS_TO_ANSWER):
        return


def _submit(pipeline: str, compiled: str, values: Mapping[str, Any], settings: Settings, cached: bool) -> str:
    import kfp

    warnings.filterwarnings("ignore", category=FutureWarning, module="kfp")  # it says that it needs a KFP of version 2
    client = kfp.Client(
        host=settings.endpoint or None,
        existing_token=settings.token or None,
        namespace=settings.namespace or "kubeflow",
    )
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / f"{pipeline}.yaml"
        package.write_text(compiled, encoding="utf-8")
        run = client.create_run_from_pipeline_package(
            str(package),
            arguments=dict(values),
            run_name=pipeline,
            experiment_name=pipeline,
            namespace=settings.namespace or None,
            enable_caching=None if cached else False,
        )
    return f"{settings.endpoint.rstrip('/')}/#/runs/details/{run.run_id}"


def _refusal(settings: Settings, status: int | None, reason: str) -> ServiceError:
    denied = "set KFP_TOKEN to a token that may create runs, and KFP_NAMESPACE to your profile"
    return ServiceError(
        f"{_name(settings)} refuses the run: {status} {reason}; {denied if status in (401, 403) else 'see its log'}"
    )


def _name(settings: Settings) -> str:
    return settings.endpoint or "the endpoint of KFP's own configuration"
