"""Sends a pipeline to a Kubeflow Pipelines server, by KFP's own client."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.engine.settings import Settings
from toolchain.errors import ServiceError

SECONDS_TO_ANSWER = 30  # a server that takes longer to accept a run has a fault


def submit(pipeline: str, compiled: str, values: Mapping[str, Any], settings: Settings, cached: bool) -> str:
    """Start ``pipeline`` on the server of ``settings`` and return the address of its run.

    Without KFP_ENDPOINT, KFP's own configuration decides (~/.config/kfp/context.json, or the cluster it runs in).

    Raises:
        ServiceError: the server is not there, or refuses.
    """
    import urllib3
    from kfp_server_api.exceptions import ApiException

    try:
        return _submit(pipeline, compiled, values, settings, cached)
    except ApiException as error:
        refusal = f"{error.status} {error.reason}; {_hint(error.status)}"
        raise ServiceError(f"{_server(settings)} refuses the run: {refusal}") from error
    except (urllib3.exceptions.HTTPError, OSError, ValueError, RuntimeError) as error:
        raise ServiceError(
            f"no Kubeflow Pipelines server answers at {_server(settings)}: {_first_line(error)}; set KFP_ENDPOINT to its "
            "URL, or submit with --engine local"
        ) from error


def _submit(pipeline: str, compiled: str, values: Mapping[str, Any], settings: Settings, cached: bool) -> str:
    import kfp

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


def _server(settings: Settings) -> str:
    return settings.endpoint or "the endpoint of KFP's own configuration"


def _hint(status: int | None) -> str:
    if status in (401, 403):
        return "set KFP_TOKEN to a token that may create runs, and KFP_NAMESPACE to your profile"
    return "see the server's log"


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
