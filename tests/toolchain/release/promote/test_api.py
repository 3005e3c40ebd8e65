"""Breaking changes are listed in a clause of limited length."""

from typing import Any

import pytest

from tests.support.openapi import changed, original
from toolchain.release.promote.api import MAX_CHANGE_CHARACTERS, Api, compare

POST = ("paths", "/predict", "post")
REQUEST = (*POST, "requestBody", "content", "application/json", "schema", "properties", "texts")
LABEL = (*POST, "responses", "200", "content", "application/json", "schema", "properties", "predictions", "items",
    "properties", "label", "enum")  # fmt: skip


def test_an_equal_api_breaks_nothing():
    found = compare(changed("info", to={"title": "reviews", "version": "2"}), "abc", original(), "1")
    assert found == Api("abc", "1", ())
    assert found.objection == ""


def test_a_version_without_a_document_is_not_compared():
    assert compare(original(), "abc", None, "1") == Api("abc")


@pytest.mark.parametrize(
    ("new", "change"),
    [
        (changed(*LABEL, to=["positive"]), 'POST /predict response 200 predictions[].label: "negative" removed'),
        (changed(*REQUEST, "maxItems", to=8), "POST /predict request texts: maxItems is 8, was 64"),
        (changed("security", to=[{"token": []}]), "POST /predict: requires authentication now"),
    ],
)
def test_a_breaking_change_is_an_objection(new: Any, change: str):
    found = compare(new, "abc", original(), "1")
    assert found.breaking[0] == change
    assert found.objection.startswith(f"it breaks callers of version 1: {change}")


def test_the_clause_has_a_limited_length():
    old = changed(*LABEL, to=[f"a label of some length {number}" for number in range(500)])
    found = compare(changed(*LABEL, to=[]), "abc", old, "1")
    assert len(found.breaking[0]) > 5_000
    assert len(found.objection) < 2 * MAX_CHANGE_CHARACTERS
    paths = {f"/{number}": {"get": {}} for number in range(40)}
    assert compare(changed("paths", to={}), "abc", changed("paths", to=paths), "1").objection.endswith(", and 37 more")
