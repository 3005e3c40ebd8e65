"""References: an OpenAPI document with what its "$ref"s point at in their place."""

from typing import Any

from toolchain.errors import DataError

ANNOTATIONS = frozenset(  # of a schema: they say something to people, and allow or forbid nothing
    ("$comment", "default", "deprecated", "description", "example", "examples", "externalDocs", "title")
)


def inlined(document: Any) -> Any:
    """Return ``document`` without references; one that leads back to itself stays, since it has no end.

    Raises:
        DataError: a reference leads nowhere, or out of the document.
    """
    return _inlined(document, document, ())


def _inlined(part: Any, document: Any, way: tuple[str, ...]) -> Any:
    if isinstance(part, list):
        return [_inlined(one, document, way) for one in part]
    if not isinstance(part, dict):
        return part
    target = part.get("$ref")
    if not isinstance(target, str):
        return {name: _inlined(one, document, way) for name, one in part.items()}
    if target in way:
        return part
    found = _inlined(_at(target, document), document, (*way, target))
    beside = {name: _inlined(one, document, way) for name, one in part.items() if name != "$ref"}
    if beside.keys() <= ANNOTATIONS and isinstance(found, dict):
        return {**found, **beside}
    return {"allOf": [found, beside]}


def _at(reference: str, document: Any) -> Any:
    """Return what the JSON pointer (RFC 6901) ``reference`` finds in ``document``."""
    found = document
    try:
        start, *steps = reference.split("/")
        if start != "#":
            raise KeyError(start)
        for step in steps:
            found = found[step.replace("~1", "/").replace("~0", "~")]
    except (KeyError, TypeError) as error:
        raise DataError(f"the OpenAPI document refers to {reference!r}, which is not in it") from error
    return found
