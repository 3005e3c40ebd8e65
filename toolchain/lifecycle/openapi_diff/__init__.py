"""Compatibility: what a new OpenAPI 3.1 document takes away from those who call by the old one.

A change breaks a caller when a request that the old document allows need not be understood any more, or when an answer
need not be what the old document promises. What is not understood here counts as broken once it differs. Callbacks,
links, servers and webhooks are not looked at: a model server has none.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from toolchain.lifecycle.openapi_diff.references import inlined
from toolchain.lifecycle.openapi_diff.schemas import differences, said

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
Part = dict[str, Any]  # of a document


@dataclass(frozen=True)
class Change:
    """Something that a caller of before cannot rely on any more."""

    where: str  # "POST /predict request texts[]"
    what: str  # "maxLength is 100, was 20000"

    @property
    def message(self) -> str:
        return f"{self.where}: {self.what}"


def breaking_changes(old: Part, new: Part) -> tuple[Change, ...]:
    """Return what breaks callers of ``old`` when a server of ``new`` answers them; () when nothing does."""
    return tuple(_in_document(inlined(old), inlined(new)))


def _in_document(old: Part, new: Part) -> Iterator[Change]:
    for path, method, operation in _operations(old):
        where = f"{method.upper()} {path}"
        other = new["paths"].get(path, {})
        if method not in other:
            yield Change(where, "is gone" if other else "is gone, as all of this path is")
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
    """Return an operation with the parameters that all of its path have."""
    own: Part = operations[method]
    return {**own, "parameters": [*operations.get("parameters", []), *own.get("parameters", [])]}


def _alternatives(operation: Part, document: Part) -> list[set[str]]:
    """Return the ways to prove who asks, one of which is enough: each the schemes and scopes that it takes."""
    known = document.get("components", {}).get("securitySchemes", {})
    ways: list[Part] = operation["security"] if "security" in operation else document.get("security", [])
    found = []
    for way in ways:
        schemes = {name: {**known.get(name, {}), "description": ""} for name in way}
        found.append({said([schemes[name], scope]) for name, scopes in way.items() for scope in ("", *scopes)})
    return found or [set()]


def _in_security(where: str, old: list[set[str]], new: list[set[str]]) -> Iterator[Change]:
    if any(not any(way <= before for way in new) for before in old):
        yield Change(where, "needs authentication now" if set() in old else "needs other authentication now")


def _parameters(operation: Part) -> dict[tuple[str, str], Part]:
    return {(parameter["in"], parameter["name"]): parameter for parameter in operation["parameters"]}


def _in_parameters(where: str, old: dict[tuple[str, str], Part], new: dict[tuple[str, str], Part]) -> Iterator[Change]:
    for key in sorted(old.keys() | new.keys()):
        place = f"{where} {key[0]} parameter {key[1]}"
        if key not in new:
            yield Change(place, "is gone")
        elif new[key].get("required") and not old.get(key, {}).get("required"):
            yield Change(place, "is required now")
        if key in old and key in new:
            if any(old[key].get(name) != new[key].get(name) for name in ("style", "explode", "content")):
                yield Change(place, "is written otherwise now")
            yield from _in_schema(place, old[key].get("schema", True), new[key].get("schema", True), asked=True)


def _in_body(where: str, old: Part | None, new: Part | None) -> Iterator[Change]:
    if new and new.get("required") and not (old and old.get("required")):
        yield Change(where, "is required now")
    if not old:
        return
    if not new:
        yield Change(where, "is gone: nothing is taken any more")
        return
    for kind, media in old["content"].items():
        found = [other for pattern, other in new["content"].items() if fnmatchcase(kind, pattern)]
        if not found:
            yield Change(where, f"{kind} is not taken any more")
        for other in found[:1]:
            yield from _in_schema(where, media.get("schema", True), other.get("schema", True), asked=True)


def _in_responses(where: str, old: Part, new: Part) -> Iterator[Change]:
    """Tell what changed in answers; that an error cannot happen any more harms nobody."""
    for status, response in old.items():
        place = f"{where} answer {status}"
        if status in new:
            yield from _in_response(place, response, new[status])
        elif status.startswith("2"):
            yield Change(place, "is gone")


def _in_response(where: str, old: Part, new: Part) -> Iterator[Change]:
    for name, header in old.get("headers", {}).items():
        other = new.get("headers", {}).get(name)
        if other is None:
            yield Change(f"{where} header {name}", "is gone")
        else:
            place = f"{where} header {name}"
            yield from _in_schema(place, header.get("schema", True), other.get("schema", True), asked=False)
    for kind, media in old.get("content", {}).items():
        other = new.get("content", {}).get(kind)
        if other is None:
            yield Change(where, f"{kind} is gone")
        else:
            yield from _in_schema(where, media.get("schema", True), other.get("schema", True), asked=False)


def _in_schema(where: str, old: Any, new: Any, *, asked: bool) -> Iterator[Change]:
    for place, what in differences(old, new, asked=asked):
        yield Change(f"{where} {place}".rstrip(), what)
