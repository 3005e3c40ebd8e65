"""Apply resources to the cluster (server-side apply).

Paths are derived from the documents: discovery would need further requests, or a cache that may be stale.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from toolchain.services.kubernetes.api import call_core_api, permitted, timeout

MANAGER = "toolchain"  # the field manager, shown by `kubectl get --show-managed-fields`
APPLY = "application/apply-patch+yaml"

Document = Mapping[str, Any]


def apply(documents: Iterable[Document]) -> None:
    """Apply ``documents`` in order, each to its namespace.

    Their fields are owned by the toolchain from then on; fields that are no longer in a document are removed; fields
    that others set stay.

    Raises:
        ServiceError: the cluster is down, rejects a document, or does not have its kind.
    """
    for document in documents:
        call_core_api(_applied(document))


def found(api_version: str, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
    """Return the resource of that name; None when it is missing, or reading it is not permitted."""
    path = _path(api_version, kind, namespace, name)
    response = permitted(lambda core: _call(core, path, "GET"))
    return None if response is None else dict(response)


def _applied(document: Document) -> Callable[[Any], Any]:
    """Return the call that applies ``document``."""
    metadata = document["metadata"]
    path = _path(document["apiVersion"], document["kind"], metadata["namespace"], metadata["name"])
    query = [("fieldManager", MANAGER), ("force", "true")]
    return lambda core: _call(core, path, "PATCH", query, document)


def _path(api_version: str, kind: str, namespace: str, name: str) -> str:
    root = "apis" if "/" in api_version else "api"
    singular = kind.lower()
    plural = f"{singular[:-1]}ies" if singular.endswith("y") else f"{singular}s"
    return f"/{root}/{api_version}/namespaces/{namespace}/{plural}/{name}"


def _call(core: Any, path: str, method: str, query: Sequence[tuple[str, str]] = (), body: Any = None) -> Any:
    """Return the JSON of the API server's response at ``path``, by the client of ``core``."""
    headers = {"Accept": "application/json", "Content-Type": APPLY if body else "application/json"}
    options = {"response_type": "object", "auth_settings": ["BearerToken"], "_return_http_data_only": True}
    return core.api_client.call_api(
        path, method, query_params=[*query], header_params=headers, body=body, **options, **timeout()
    )
