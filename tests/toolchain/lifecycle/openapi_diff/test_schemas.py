"""One schema against another, checked by what real values fit each: an independent validator (jsonschema) decides."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from toolchain.lifecycle.openapi_diff.schemas import differences

Schema = dict[str, Any]
WORDS = st.sampled_from(["", "a", "ab", "abc", "b", "1"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 4) | st.sampled_from([0.5, 1.5]) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)


def some(**parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Schema]:
    return st.fixed_dictionaries({}, optional=parts)


def schemas() -> st.SearchStrategy[Any]:
    """Small schemas whose values are likely to differ in one keyword."""
    number, few = st.sampled_from([-1, 0, 1, 1.5, 2]), st.integers(0, 2)
    kinds = st.sampled_from(["string", "integer", "number", "array", "object", "null", ["string", "null"]])
    leaf = some(
        type=kinds,
        enum=st.lists(WORDS, min_size=1, max_size=3, unique=True),
        minimum=number,
        maximum=number,
        exclusiveMinimum=number,
        minLength=few,
        maxLength=few,
        pattern=st.sampled_from(["a", "^b"]),
    )

    def grown(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        either = inner | st.booleans()
        fields = st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
        objects = some(
            type=st.just("object"),
            properties=fields,
            required=st.lists(st.sampled_from("ab"), unique=True),
            additionalProperties=either,
            maxProperties=few,
        )
        lists = some(
            type=st.just("array"),
            items=either,
            prefixItems=st.lists(inner, min_size=1, max_size=2),
            minItems=few,
            maxItems=few,
            uniqueItems=st.booleans(),
        )
        return objects | lists | st.lists(inner, min_size=1, max_size=2).map(lambda several: {"anyOf": several})

    return st.recursive(leaf, grown, max_leaves=4)


def fits(value: Any, schema: Any) -> bool:
    return bool(Draft202012Validator(schema).is_valid(value))


def only_described(value: Any, schema: Any) -> bool:
    """Return whether ``value`` holds no field that ``schema`` says nothing of: callers send none of these."""
    if not isinstance(schema, dict) or isinstance(value, str | int | float | None):
        return True
    if any(not only_described(value, one) for one in schema.get("anyOf", [])):
        return False
    if isinstance(value, list):
        head = schema.get("prefixItems", [])
        each = [*head, *[schema.get("items", True)] * len(value)]
        return all(only_described(one, each[place]) for place, one in enumerate(value))
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    return all(
        only_described(one, known.get(name, others)) and (name in known or isinstance(others, dict))
        for name, one in value.items()
    )


@given(old=schemas(), new=schemas(), value=VALUES)
@example(old={"type": "number"}, new={"type": "integer"}, value=0.5)
@example(old={"properties": {"a": {}}}, new={"properties": {"a": {}}, "required": ["a"]}, value={})
@example(old={"items": True}, new={"items": False}, value=[1])
def test_a_valid_request_stays_valid_without_reported_differences(old: Any, new: Any, value: Any):
    if not list(differences(old, new, is_request=True)) and fits(value, old) and only_described(value, old):
        assert fits(value, new)


@given(old=schemas(), new=schemas(), value=VALUES)
@example(old={"additionalProperties": False}, new={"properties": {"a": {}}}, value={"a": 1})
@example(old={"maximum": 1}, new={}, value=2)
def test_a_response_matches_the_old_schema_without_reported_differences(old: Any, new: Any, value: Any):
    if not list(differences(old, new, is_request=False)) and fits(value, new):
        assert fits(value, old)


@given(schema=schemas(), is_request=st.booleans())
def test_a_schema_does_not_differ_from_itself(schema: Any, is_request: bool):
    assert list(differences(schema, schema, is_request=is_request)) == []


@pytest.mark.parametrize("is_request", [True, False])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"patternProperties": {"^a": {"type": "string"}}}, {"patternProperties": {"^a": {}}}),
        ({"anyOf": [{"type": "string"}]}, {"anyOf": [{"type": "null"}, {"type": "string"}]}),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "uri"}),
        ({"if": {"minLength": 1}, "then": {"maxLength": 2}}, {"if": {"minLength": 2}, "then": {"maxLength": 2}}),
    ],
)
def test_what_cannot_be_compared_counts_as_broken(old: Schema, new: Schema, is_request: bool):
    assert list(differences(old, new, is_request=is_request))


def test_annotations_are_ignored():
    spoken = {"title": "A", "description": "b", "examples": ["c"], "default": "d", "x-order": 1}
    assert list(differences({"type": "string", **spoken}, {"type": "string"}, is_request=True)) == []
    assert list(differences({"anyOf": [{}]}, {"anyOf": [{}], **spoken}, is_request=False)) == []
