"""Find the changes of an OpenAPI 3.1 document that break clients of its previous version.

A change is breaking when a request that the old document allows may be rejected, or when a response may differ from
what the old document describes. Differences that cannot be analyzed count as breaking. Callbacks, links, servers and
webhooks are ignored: a model server has none.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from toolchain.lifecycle.openapi_diff.references import inlined
from toolchain.lifecycle.openapi_diff.schemas import canonical_json, differences

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
Part = dict[str, Any]  # of a document


@dataclass(frozen=True)
class Change:
    """A breaking change."""

    where: str  # "POST /predict request texts[]"
    what: str  # "maxLength is 100, was 20000"

    @property
    def message(self) -> str:
        return f"{self.where}: {self.what}"


def breaking_changes(old: Part, new: Part) -> tuple[Change, ...]:
    """Return the changes that break clients of ``old`` when they call a server of ``new``."""
    return tuple(_in_document(inlined(old), inlined(new)))


def _in_document(old: Part, new: Part) -> Iterator[Change]:
    for path, method, operation in _operations(old):
        where = f"{method.upper()} {path}"
        other = new["paths"].get(path, {})
        if method not in other:
            yield Change(where, "was removed" if other else "was removed with its path")
            continue
        revised = _whole(other, method)
        yield from _in_security(where, _alternatives(operation, old), _alternatives(revised, new))
        yield from _in_parameters(where, _parameters(operation), _parameters(revised))
        yield from _in_body(f"{where} request", operation.get("requestBody"), revised.get("requestBody"))
        yield from _in_responses(where, operation.get("responses", {}), revised.get("responses", {}))


def _operations(document: Part) -> Iterator[tuple[str, str, Part]]:
    for path, operations in document["paths"].items():
        for method in METHODS:
            if method in operations:
                yield path, method, _whole(operations, method)


def _whole(operations: Part, method: str) -> Part:
    """Return an operation including the parameters of its path."""
    own: Part = operations[method]
    return {**own, "parameters": [*operations.get("parameters", []), *own.get("parameters", [])]}


def _alternatives(operation: Part, document: Part) -> list[set[str]]:
    """Return the alternative security requirements, each as its schemes and scopes."""
    known = document.get("components", {}).get("securitySchemes", {})
    ways: list[Part] = operation["security"] if "security" in operation else document.get("security", [])
    found = []
    for way in ways:
        schemes = {name: {**known.get(name, {}), "description": ""} for name in way}
        found.append(
            {canonical_json([schemes[name], scope]) for name, scopes in way.items() for scope in ("", *scopes)}
        )
    return found or [set()]


def _in_security(where: str, old: list[set[str]], new: list[set[str]]) -> Iterator[Change]:
    if any(not any(way <= before for way in new) for before in old):
        yield Change(where, "requires authentication now" if set() in old else "requires other authentication now")


def _parameters(operation: Part) -> dict[tuple[str, str], Part]:
    return {(parameter["in"], parameter["name"]): parameter for parameter in operation["parameters"]}


def _in_parameters(where: str, old: dict[tuple[str, str], Part], new: dict[tuple[str, str], Part]) -> Iterator[Change]:
    for key in sorted(old.keys() | new.keys()):
        parameter = f"{where} {key[0]} parameter {key[1]}"
        if key not in new:
            yield Change(parameter, "was removed")
        elif new[key].get("required") and not old.get(key, {}).get("required"):
            yield Change(parameter, "is required now")
        if key in old and key in new:
            if any(old[key].get(name) != new[key].get(name) for name in ("style", "explode", "content")):
                yield Change(parameter, "is serialized differently now")
            yield from _in_schema(
                parameter, old[key].get("schema", True), new[key].get("schema", True), is_request=True
            )


def _in_body(where: str, old: Part | None, new: Part | None) -> Iterator[Change]:
    if new and new.get("required") and not (old and old.get("required")):
        yield Change(where, "is required now")
    if not old:
        return
    if not new:
        yield Change(where, "was removed")
        return
    for media_type, media in old["content"].items():
        found = [other for pattern, other in new["content"].items() if fnmatchcase(media_type, pattern)]
        if not found:
            yield Change(where, f"{media_type} is not supported any more")
        for other in found[:1]:
            yield from _in_schema(where, media.get("schema", True), other.get("schema", True), is_request=True)


def _in_responses(where: str, old: Part, new: Part) -> Iterator[Change]:
    """Compare the responses; removing an error response breaks no client."""
    for status, response in old.items():
        part = f"{where} response {status}"
        if status in new:
            yield from _in_response(part, response, new[status])
        elif status.startswith("2"):
            yield Change(part, "was removed")


def _in_response(where: str, old: Part, new: Part) -> Iterator[Change]:
    for name, header in old.get("headers", {}).items():
        other = new.get("headers", {}).get(name)
        if other is None:
            yield Change(f"{where} header {name}", "was removed")
        else:
            part = f"{where} header {name}"
            yield from _in_schema(part, header.get("schema", True), other.get("schema", True), is_request=False)
    for media_type, media in old.get("content", {}).items():
        other = new.get("content", {}).get(media_type)
        if other is None:
            yield Change(where, f"{media_type} was removed")
        else:
            yield from _in_schema(where, media.get("schema", True), other.get("schema", True), is_request=False)


def _in_schema(where: str, old: Any, new: Any, *, is_request: bool) -> Iterator[Change]:
    for path, what in differences(old, new, is_request=is_request):
        yield Change(f"{where} {path}".rstrip(), what)
