from typing import Any

import pytest

from toolchain.errors import DataError
from toolchain.lifecycle.openapi_diff.references import inlined


def test_what_is_referred_to_is_inlined():
    document = {"a": {"$ref": "#/b/c~1d/e~0f"}, "b": {"c/d": {"e~f": {"$ref": "#/g"}}}, "g": {"type": "string"}}
    assert inlined(document)["a"] == {"type": "string"}


def test_words_beside_a_reference_are_kept_and_limits_hold_too():
    document = {"b": {"type": "string"}, "a": {"$ref": "#/b", "description": "A"}, "c": {"$ref": "#/b", "maxLength": 3}}
    assert inlined(document)["a"] == {"type": "string", "description": "A"}
    assert inlined(document)["c"] == {"allOf": [{"type": "string"}, {"maxLength": 3}]}


def test_what_refers_to_itself_has_an_end():
    tree = {"properties": {"left": {"$ref": "#/tree"}}}
    assert inlined({"tree": tree})["tree"] == {"properties": {"left": {"properties": {"left": {"$ref": "#/tree"}}}}}


@pytest.mark.parametrize("reference", ["#/nowhere", "other.json#/a", "#/list/first", "#/word/a"])
def test_a_reference_that_leads_nowhere_is_rejected(reference: str):
    document: dict[str, Any] = {"a": {"$ref": reference}, "list": [], "word": "w"}
    with pytest.raises(DataError, match="which is not in it"):
        inlined(document)


def test_a_field_of_that_name_is_a_field():
    document = {"properties": {"$ref": {"type": "string"}}}
    assert inlined(document) == document
