"""Schemas: whether what one JSON Schema (2020-12, as OpenAPI 3.1 uses it) allows, another one allows too.

Keyword by keyword, and never too lenient: where it cannot tell, it says that the schemas differ. What fits a schema
fits each of its keywords, so it is enough that each keyword of the second one follows from the first.
"""

import json
from collections.abc import Iterator
from typing import Any

from toolchain.lifecycle.openapi_diff.references import ANNOTATIONS

LOWEST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
HIGHEST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
COUNTS = ("minLength", "minItems", "minProperties")  # 0 where nothing is said
COMPARED = {*LOWEST, *HIGHEST, "type", "enum", "const", "properties", "required", "additionalProperties", "items"}
COMPARED.add("prefixItems")
TANGLED = ("patternProperties", "unevaluatedProperties", "unevaluatedItems")  # change what the others mean
ANY = frozenset(("null", "boolean", "integer", "number", "string", "array", "object"))
Difference = tuple[str, str]  # where in the value ("answers[].label"), and what


def differences(old: Any, new: Any, *, asked: bool, place: str = "") -> Iterator[Difference]:
    """Yield why callers who know ``old`` break on ``new``, the schemas of what they send (``asked``) or are answered.

    A request must be allowed by the new schema if the old one allows it, an answer the other way round. Besides,
    a field that is gone, or a value that is never answered any more, is told. A field that is new in the new schema is
    taken to be one that nobody sent before.
    """
    old, new = ({} if schema is True else schema for schema in (old, new))
    given, taken = (old, new) if asked else (new, old)
    if given is False or taken == {}:
        yield from _gone_fields(old, new, asked, place) if old and new is not False else ()
        return
    if taken is False or any(word in schema for schema in (given, taken) for word in TANGLED):
        if _constraints(given) != _constraints(taken):
            yield place, "differs, in a way that cannot be compared"
        return
    yield from _types(old, new, given, taken, place)
    yield from _values(old, new, asked, place)
    yield from _limits(old, new, given, taken, place)
    yield from _others(given, taken, place)
    yield from _fields(old, new, asked, place)
    yield from _elements(old, new, asked, place)


def said(value: Any) -> str:
    """Return ``value`` as JSON, the same text for the same value."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _constraints(schema: Any) -> Any:
    """Return what ``schema`` allows, without what it says to people."""
    if not isinstance(schema, dict):
        return schema
    return {name: value for name, value in schema.items() if name not in ANNOTATIONS and not name.startswith("x-")}


def _types(old: Any, new: Any, given: Any, taken: Any, place: str) -> Iterator[Difference]:
    if not _kinds(given) <= _kinds(taken):
        yield place, f"type is {said(new.get('type', 'any'))}, was {said(old.get('type', 'any'))}"


def _kinds(schema: Any) -> frozenset[str]:
    found = schema.get("type", list(ANY))
    kinds = {found} if isinstance(found, str) else set(found)
    return frozenset(kinds | ({"integer"} if "number" in kinds else set()))


def _values(old: Any, new: Any, asked: bool, place: str) -> Iterator[Difference]:
    """Compare what is listed one by one: an answer's label that is gone, or new, is one that callers do not expect."""
    before, now = _listed(old), _listed(new)
    if before is None or now is None:
        if (now if asked else before) is not None:
            yield place, "is one of a list now" if asked else "is not one of a list any more"
        return
    if gone := [value for value in before if value not in now]:
        yield place, f"{', '.join(gone)} is gone"
    if not asked and (added := [value for value in now if value not in before]):
        yield place, f"{', '.join(added)} is new"


def _listed(schema: Any) -> list[str] | None:
    """Return the values that ``schema`` lists, as JSON; None when it lists none."""
    if "const" in schema:
        return [said(schema["const"])]
    return [said(value) for value in schema["enum"]] if "enum" in schema else None


def _limits(old: Any, new: Any, given: Any, taken: Any, place: str) -> Iterator[Difference]:
    for words, sign in ((LOWEST, 1), (HIGHEST, -1)):
        for word in words:
            nothing = 0 if word in COUNTS else None
            limit, kept = taken.get(word, nothing), given.get(word, nothing)
            if limit == nothing or (kept is not None and sign * kept >= sign * limit):
                continue
            yield place, f"{word} is {said(new.get(word))}, was {said(old.get(word))}".replace("null", "not set")


def _others(given: Any, taken: Any, place: str) -> Iterator[Difference]:
    """Compare what has no rule of its own (pattern, format, anyOf, ...) all at once: some of it belongs together."""
    due, found = (
        {name: value for name, value in _constraints(schema).items() if name not in COMPARED}
        for schema in (taken, given)
    )
    if due and due != found:
        names = sorted(name for name in due.keys() | found.keys() if due.get(name) != found.get(name))
        yield place, f"{', '.join(names)} differs"


def _fields(old: Any, new: Any, asked: bool, place: str) -> Iterator[Difference]:
    before, now = old.get("properties", {}), new.get("properties", {})
    gone = before.keys() - now.keys()
    yield from _gone_fields(old, new, asked, place)
    given, taken = (old, new) if asked else (new, old)
    for name in taken.get("required", []):
        if name not in given.get("required", []) and name not in gone:
            yield _below(place, name), "is required now" if asked else "may be missing now"
    for name in sorted(before.keys() & now.keys()):
        yield from differences(before[name], now[name], asked=asked, place=_below(place, name))
    yield from _further_fields(old, new, asked, place)


def _gone_fields(old: Any, new: Any, asked: bool, place: str) -> Iterator[Difference]:
    before, now = (schema.get("properties", {}) for schema in (old, new))
    for name in sorted(before.keys() - now.keys()):
        if not (asked and isinstance(new.get("additionalProperties"), dict)):
            yield _below(place, name), "is gone"


def _further_fields(old: Any, new: Any, asked: bool, place: str) -> Iterator[Difference]:
    """Compare what is allowed of fields that are not described by name."""
    before, now = (schema.get("additionalProperties", True) for schema in (old, new))
    described, known = (schema.get("properties", {}) for schema in (old, new))
    if isinstance(before, dict):  # any name was allowed: one that is described now must still allow the same
        for name in sorted(known.keys() - described.keys()):
            yield from differences(before, known[name], asked=asked, place=_below(place, name))
    if isinstance(now, dict):
        for name in sorted(described.keys() - known.keys()):
            yield from differences(described[name], now, asked=asked, place=_below(place, name))
    if before is False and not asked:
        yield from ((_below(place, name), "is new") for name in sorted(known.keys() - described.keys()))
    closed = before is not False and now is False if asked else before is False and now is not False
    if closed:
        yield place, "fields that are not described are refused now" if asked else "further fields may come now"
    elif before is not False and now is not False:
        yield from differences(before, now, asked=asked, place=_below(place, "*"))


def _elements(old: Any, new: Any, asked: bool, place: str) -> Iterator[Difference]:
    heads = [schema.get("prefixItems", []) for schema in (old, new)]
    rests = [schema.get("items", True) for schema in (old, new)]
    for position in range(max(map(len, heads))):
        before, now = (
            head[position] if position < len(head) else rest for head, rest in zip(heads, rests, strict=True)
        )
        yield from differences(before, now, asked=asked, place=f"{place}[{position}]")
    yield from differences(*rests, asked=asked, place=f"{place}[]")


def _below(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name
