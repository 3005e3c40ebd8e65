"""Applying: what shall be on the cluster, told to the API server, which makes it so (server-side apply).

Paths are made from the documents themselves: discovery would ask first what the cluster knows, or trust a file that
says what it knew before.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from toolchain.services.kubernetes.api import call_core_api, permitted, timeout

MANAGER = "toolchain"  # the field manager: who set a field, as `kubectl get --show-managed-fields` tells
APPLY = "application/apply-patch+yaml"

Document = Mapping[str, Any]


def apply(documents: Iterable[Document]) -> None:
    """Let the cluster hold ``documents``, in their order, each with its namespace.

    What they say is ours from then on, whoever set it before; what they left out since the last time goes; what others
    set beside it stays.

    Raises:
        ServiceError: the cluster is down, refuses a document, or does not know its kind.
    """
    for document in documents:
        call_core_api(_applied(document))


def found(api_version: str, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
    """Return the document of that name as the cluster holds it; None where it is not there, or not for us to read."""
    path = _path(api_version, kind, namespace, name)
    response = permitted(lambda core: _call(core, path, "GET"))
    return None if response is None else dict(response)


def _applied(document: Document) -> Callable[[Any], Any]:
    """Return the call that applies ``document``."""
    place = document["metadata"]
    path = _path(document["apiVersion"], document["kind"], place["namespace"], place["name"])
    query = [("fieldManager", MANAGER), ("force", "true")]
    return lambda core: _call(core, path, "PATCH", query, document)


def _path(api_version: str, kind: str, namespace: str, name: str) -> str:
    root = "apis" if "/" in api_version else "api"
    word = kind.lower()
    plural = f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"
    return f"/{root}/{api_version}/namespaces/{namespace}/{plural}/{name}"


def _call(core: Any, path: str, method: str, query: Sequence[tuple[str, str]] = (), body: Any = None) -> Any:
    """Return the JSON that the API server answers at ``path``, by the client of ``core``."""
    headers = {"Accept": "application/json", "Content-Type": APPLY if body else "application/json"}
    options = {"response_type": "object", "auth_settings": ["BearerToken"], "_return_http_data_only": True}
    return core.api_client.call_api(
        path, method, query_params=[*query], header_params=headers, body=body, **options, **timeout()
    )
