"""Connect to the MLflow server of a cluster from this machine."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

from cli.cluster.bucket import PROMOTER_SECRET, cluster_settings, service_address
from cli.cluster.kfp_client import NAMESPACE
from cli.settings import Settings, environment
from pipelines._pods import STEPS_CONFIG
from toolchain.errors import ServiceError
from toolchain.services import kubernetes

ADDRESS = "MLFLOW_TRACKING_URI"
LOGIN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
# Otherwise MLflow redirects its clients to S3, at an address that is only valid inside the cluster.
PROXY_DOWNLOADS = {"MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false", "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false"}


@contextmanager
def registry_of(engine: str | None, settings: Settings) -> Iterator[Settings]:
    """Yield ``settings`` with the registry of ``engine``, by default their own engine.

    Raises:
        ServiceError: the registry of the cluster is not known, or not reachable.
    """
    if (engine or settings.engine) == "cluster":
        with cluster_registry(settings, settings.namespace or NAMESPACE, PROMOTER_SECRET) as found:
            yield found
    else:
        yield settings


@contextmanager
def cluster_registry(settings: Settings, namespace: str, secret: str = STEPS_CONFIG) -> Iterator[Settings]:
    """Yield ``settings`` with the address of the cluster's registry, which is reachable during the block.

    MLFLOW_TRACKING_URI of the environment takes precedence over the ConfigMap of the steps, which is used with the
    login of ``secret`` and requires a kubeconfig that may read both. An address inside the cluster is port-forwarded.

    Raises:
        ServiceError: the address of MLflow is not known, or it is not reachable.
    """
    if not settings.tracking_uri.startswith("sqlite"):
        yield settings
        return
    found = cluster_settings(namespace, secret)
    if not found.get(ADDRESS):
        raise ServiceError(
            f"the cluster's MLflow is not known: set {ADDRESS}, or let the kubeconfig's user read the Secret and "
            f"the ConfigMap {STEPS_CONFIG} of namespace {namespace}"
        )
    service = service_address(found[ADDRESS], namespace)
    with kubernetes.forwarded(*service) if service else nullcontext(0) as port:
        address = f"http://127.0.0.1:{port}" if service else found[ADDRESS]
        login = {name: found[name] for name in LOGIN if name in found}
        with environment({**login, **PROXY_DOWNLOADS}):
            yield replace(settings, tracking_uri=address, registry=f"{namespace}.cluster")
