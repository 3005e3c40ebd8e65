"""The cluster's MLflow as this machine reaches it: its address, and who asks."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

from cli.cluster.bucket import OURS, PROMOTER, inside, settings_in_cluster
from cli.cluster.kfp_client import NAMESPACE
from cli.settings import Settings, environment
from toolchain.errors import ServiceError
from toolchain.services import kubernetes

ADDRESS = "MLFLOW_TRACKING_URI"
LOGIN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
# Else MLflow sends its clients to S3 itself, by an address that only the inside of the cluster knows.
THROUGH_MLFLOW = {"MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false", "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false"}


@contextmanager
def registry_of(engine: str | None, settings: Settings) -> Iterator[Settings]:
    """Yield ``settings`` with the registry of ``engine``, by default theirs: the cluster's, or this machine's.

    Raises:
        ServiceError: the cluster's is not known, or cannot be reached.
    """
    if (engine or settings.engine) == "cluster":
        with registry_reached(settings, settings.namespace or NAMESPACE, PROMOTER) as found:
            yield found
    else:
        yield settings


@contextmanager
def registry_reached(settings: Settings, namespace: str, secret: str = OURS) -> Iterator[Settings]:
    """Yield ``settings`` with the address of the cluster's registry, which is reachable while the block lasts.

    A server that the environment names (MLFLOW_TRACKING_URI) comes first, then the one that the cluster tells its steps
    of, where the kubeconfig may read that, with the login of ``secret``. An address inside the cluster is reached by a
    forwarded port.

    Raises:
        ServiceError: neither says where MLflow is, or it cannot be reached.
    """
    if not settings.tracking_uri.startswith("sqlite"):
        yield settings
        return
    told = settings_in_cluster(namespace, secret)
    if not told.get(ADDRESS):
        raise ServiceError(
            f"the cluster's MLflow is not known: set {ADDRESS}, or let the kubeconfig's user read the Secret and "
            f"ConfigMap {OURS} of namespace {namespace}"
        )
    place = inside(told[ADDRESS], namespace)
    with kubernetes.forwarded(*place) if place else nullcontext(0) as port:
        address = f"http://127.0.0.1:{port}" if place else told[ADDRESS]
        login = {name: told[name] for name in LOGIN if name in told}
        with environment({**login, **THROUGH_MLFLOW}):
            yield replace(settings, tracking_uri=address, registry=f"{namespace}.cluster")
