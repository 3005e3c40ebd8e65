"""Compare two JSON Schemas (2020-12, as in OpenAPI 3.1): does one allow every value that the other allows?

The comparison is conservative: schemas that cannot be compared count as different. A value matches a schema when it
matches each of its keywords, so the keywords are compared one by one.
"""

import json
from collections.abc import Iterator
from typing import Any

from toolchain.lifecycle.openapi_diff.references import ANNOTATIONS

LOWEST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
HIGHEST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
COUNTS = ("minLength", "minItems", "minProperties")  # 0 when unset
COMPARED = {*LOWEST, *HIGHEST, "type", "enum", "const", "properties", "required", "additionalProperties", "items"}
COMPARED.add("prefixItems")
INTERDEPENDENT = ("patternProperties", "unevaluatedProperties", "unevaluatedItems")  # change others' meaning
ANY = frozenset(("null", "boolean", "integer", "number", "string", "array", "object"))
Difference = tuple[str, str]  # the path in the value ("predictions[].label"), and the change


def differences(old: Any, new: Any, *, is_request: bool, path: str = "") -> Iterator[Difference]:
    """Yield the differences between the schemas ``old`` and ``new`` that break clients.

    The new schema must allow each request that the old one allows; for responses it is the reverse. Removed fields and
    removed response values are differences too. A field that only the new schema describes is assumed not to have been
    sent before.
    """
    old, new = ({} if schema is True else schema for schema in (old, new))
    subset, superset = (old, new) if is_request else (new, old)
    if subset is False or superset == {}:
        yield from _removed_fields(old, new, is_request, path) if old and new is not False else ()
        return
    if superset is False or any(keyword in schema for schema in (subset, superset) for keyword in INTERDEPENDENT):
        if _constraints(subset) != _constraints(superset):
            yield path, "differs, in a way that cannot be compared"
        return
    yield from _types(old, new, subset, superset, path)
    yield from _values(old, new, is_request, path)
    yield from _limits(old, new, subset, superset, path)
    yield from _remaining(subset, superset, path)
    yield from _fields(old, new, is_request, path)
    yield from _elements(old, new, is_request, path)


def canonical_json(value: Any) -> str:
    """Return ``value`` as JSON; equal values give equal text."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _constraints(schema: Any) -> Any:
    """Return the keywords of ``schema`` that constrain values."""
    if not isinstance(schema, dict):
        return schema
    return {name: value for name, value in schema.items() if name not in ANNOTATIONS and not name.startswith("x-")}


def _types(old: Any, new: Any, subset: Any, superset: Any, path: str) -> Iterator[Difference]:
    if not _value_types(subset) <= _value_types(superset):
        yield path, f"type is {canonical_json(new.get('type', 'any'))}, was {canonical_json(old.get('type', 'any'))}"


def _value_types(schema: Any) -> frozenset[str]:
    found = schema.get("type", list(ANY))
    types = {found} if isinstance(found, str) else set(found)
    return frozenset(types | ({"integer"} if "number" in types else set()))


def _values(old: Any, new: Any, is_request: bool, path: str) -> Iterator[Difference]:
    """Compare enumerated values; clients do not expect a label that was added to a response, or removed from it."""
    before, now = _listed(old), _listed(new)
    if before is None or now is None:
        if (now if is_request else before) is not None:
            yield path, "is an enumeration now" if is_request else "is not an enumeration any more"
        return
    if removed := [value for value in before if value not in now]:
        yield path, f"{', '.join(removed)} removed"
    if not is_request and (added := [value for value in now if value not in before]):
        yield path, f"{', '.join(added)} added"


def _listed(schema: Any) -> list[str] | None:
    """Return the values that ``schema`` enumerates, as JSON; None when it enumerates none."""
    if "const" in schema:
        return [canonical_json(schema["const"])]
    return [canonical_json(value) for value in schema["enum"]] if "enum" in schema else None


def _limits(old: Any, new: Any, subset: Any, superset: Any, path: str) -> Iterator[Difference]:
    for keywords, sign in ((LOWEST, 1), (HIGHEST, -1)):
        for keyword in keywords:
            unset = 0 if keyword in COUNTS else None
            limit, kept = superset.get(keyword, unset), subset.get(keyword, unset)
            if limit == unset or (kept is not None and sign * kept >= sign * limit):
                continue
            now, before = (canonical_json(schema.get(keyword)).replace("null", "not set") for schema in (new, old))
            yield path, f"{keyword} is {now}, was {before}"


def _remaining(subset: Any, superset: Any, path: str) -> Iterator[Difference]:
    """Compare the remaining keywords (pattern, format, anyOf, ...) as a whole, since some depend on each other."""
    expected, found = (
        {name: value for name, value in _constraints(schema).items() if name not in COMPARED}
        for schema in (superset, subset)
    )
    if expected and expected != found:
        names = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        yield path, f"{', '.join(names)} differs"


def _fields(old: Any, new: Any, is_request: bool, path: str) -> Iterator[Difference]:
    before, now = old.get("properties", {}), new.get("properties", {})
    removed = before.keys() - now.keys()
    yield from _removed_fields(old, new, is_request, path)
    subset, superset = (old, new) if is_request else (new, old)
    for name in superset.get("required", []):
        if name not in subset.get("required", []) and name not in removed:
            yield _child(path, name), "is required now" if is_request else "may be missing now"
    for name in sorted(before.keys() & now.keys()):
        yield from differences(before[name], now[name], is_request=is_request, path=_child(path, name))
    yield from _additional_properties(old, new, is_request, path)


def _removed_fields(old: Any, new: Any, is_request: bool, path: str) -> Iterator[Difference]:
    before, now = (schema.get("properties", {}) for schema in (old, new))
    for name in sorted(before.keys() - now.keys()):
        if not (is_request and isinstance(new.get("additionalProperties"), dict)):
            yield _child(path, name), "was removed"


def _additional_properties(old: Any, new: Any, is_request: bool, path: str) -> Iterator[Difference]:
    """Compare the schemas of additional properties."""
    before, now = (schema.get("additionalProperties", True) for schema in (old, new))
    described, known = (schema.get("properties", {}) for schema in (old, new))
    if isinstance(before, dict):  # any name was allowed: its new schema must allow the same values
        for name in sorted(known.keys() - described.keys()):
            yield from differences(before, known[name], is_request=is_request, path=_child(path, name))
    if isinstance(now, dict):
        for name in sorted(described.keys() - known.keys()):
            yield from differences(described[name], now, is_request=is_request, path=_child(path, name))
    if before is False and not is_request:
        yield from ((_child(path, name), "was added") for name in sorted(known.keys() - described.keys()))
    closed = before is not False and now is False if is_request else before is False and now is not False
    if closed:
        yield path, "additional properties are rejected now" if is_request else "additional properties may occur now"
    elif before is not False and now is not False:
        yield from differences(before, now, is_request=is_request, path=_child(path, "*"))


def _elements(old: Any, new: Any, is_request: bool, path: str) -> Iterator[Difference]:
    heads = [schema.get("prefixItems", []) for schema in (old, new)]
    rests = [schema.get("items", True) for schema in (old, new)]
    for position in range(max(map(len, heads))):
        before, now = (
            head[position] if position < len(head) else rest for head, rest in zip(heads, rests, strict=True)
        )
        yield from differences(before, now, is_request=is_request, path=f"{path}[{position}]")
    yield from differences(*rests, is_request=is_request, path=f"{path}[]")


def _child(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
