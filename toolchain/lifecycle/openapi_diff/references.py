"""Inline the "$ref"s of an OpenAPI document."""

from typing import Any

from toolchain.errors import DataError

ANNOTATIONS = frozenset(  # keywords of a schema that do not constrain values
    ("$comment", "default", "deprecated", "description", "example", "examples", "externalDocs", "title")
)


def inlined(document: Any) -> Any:
    """Return ``document`` with its references inlined, except recursive ones.

    Raises:
        DataError: the target of a reference is not in the document.
    """
    return _inlined(document, document, ())


def _inlined(part: Any, document: Any, path: tuple[str, ...]) -> Any:
    if isinstance(part, list):
        return [_inlined(one, document, path) for one in part]
    if not isinstance(part, dict):
        return part
    target = part.get("$ref")
    if not isinstance(target, str):
        return {name: _inlined(one, document, path) for name, one in part.items()}
    if target in path:
        return part
    found = _inlined(_at(target, document), document, (*path, target))
    siblings = {name: _inlined(one, document, path) for name, one in part.items() if name != "$ref"}
    if siblings.keys() <= ANNOTATIONS and isinstance(found, dict):
        return {**found, **siblings}
    return {"allOf": [found, siblings]}


def _at(reference: str, document: Any) -> Any:
    """Return the part of ``document`` at the JSON pointer (RFC 6901) ``reference``."""
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
