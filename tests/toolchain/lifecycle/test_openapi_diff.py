"""What breaks callers, each case with what oasdiff, the field's tool for it, says of the same pair of documents."""

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from tests.support.openapi import Document, changed, original
from toolchain.lifecycle.openapi_diff import breaking_changes

OASDIFF = shutil.which("oasdiff", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
POST = ("paths", "/predict", "post")
BODY = (*POST, "requestBody", "content", "application/json", "schema")
REQUEST = (*BODY, "properties")
RESPONSE = (*POST, "responses", "200", "content", "application/json", "schema", "properties")
PREDICTION = (*RESPONSE, "predictions", "items", "properties")
GET = ("paths", "/models/{name}", "get")
TOKEN = [{"token": []}]


def added(**values: Any) -> Any:
    return lambda found: {**found, **values}


def without(*names: str) -> Any:
    return lambda found: [one for one in found if one not in names]


# What changes; what is told of it; whether `oasdiff breaking` 1.37.0 tells of it too. It lets pass what callers were
# never promised to get. Here they break: a label that is never answered again means that the model is another one.
BREAKING: dict[str, tuple[Document, str, bool]] = {
    "a path is gone": (changed("paths", "/predict"), "POST /predict: was removed", True),
    "a method is gone": (
        changed("paths", "/predict", value=lambda post: {"put": post["post"]}), "POST /predict: was removed", True),
    "a token is needed": (changed(*POST, "security", to=TOKEN), "POST /predict: requires authentication now", True),
    "a token is needed everywhere": (changed("security", to=TOKEN), "requires authentication now", True),
    "a text may be shorter only": (
        changed(*REQUEST, "texts", "items", "maxLength", to=100),
        "POST /predict request texts[]: maxLength is 100, was 20000", True),
    "fewer rows": (changed(*REQUEST, "texts", "maxItems", to=8), "request texts: maxItems is 8, was 64", True),
    "more rows at least": (changed(*REQUEST, "texts", "minItems", to=2), "request texts: minItems is 2, was 1", True),
    "a threshold of a half at least": (
        changed(*REQUEST, "threshold", "minimum", to=0.5), "request threshold: minimum is 0.5, was 0", True),
    "another pattern": (changed(*REQUEST, "texts", "items", "pattern", to="^a"), "pattern differs", True),
    "another type in a request": (
        changed(*REQUEST, "threshold", "type", to="string"), "request threshold: type is \"string\", was \"number\"",
        True),
    "a whole number in a request": (
        changed(*REQUEST, "threshold", "type", to="integer"), "type is \"integer\", was \"number\"", True),
    "a field is required": (
        changed(*BODY, "required", to=["texts", "threshold"]), "request threshold: is required now", True),
    "a field of a request is gone": (
        changed(*REQUEST, "threshold"), "POST /predict request threshold: was removed", True),
    "a value is one of a list": (
        changed(*REQUEST, "threshold", value=added(enum=[0.5])), "request threshold: is an enumeration now", True),
    "JSON is not taken": (
        changed(*POST, "requestBody", "content", value=lambda content: {"text/plain": content["application/json"]}),
        "application/json is not supported any more", True),
    "no body is taken": (changed(*POST, "requestBody"), "POST /predict request: was removed", True),
    "a label is gone": (
        changed(*PREDICTION, "label", "enum", to=["positive"]), "predictions[].label: \"negative\" removed", False),
    "a label is new": (
        changed(*PREDICTION, "label", "enum", to=["negative", "positive", "neutral"]), "\"neutral\" added", True),
    "any label": (changed(*PREDICTION, "label", "enum"), "is not an enumeration any more", True),
    "another type in an answer": (
        changed(*RESPONSE, "model", "type", to="integer"),
        "response 200 model: type is \"integer\", was \"string\"", True),
    "a field of an answer is gone": (changed(*PREDICTION, "score"), "predictions[].score: was removed", True),
    "a class's score is gone": (
        changed(*PREDICTION, "scores", "properties", "negative"), "predictions[].scores.negative: was removed", True),
    "an optional field is gone": (changed(*PREDICTION, "note"), "predictions[].note: was removed", False),
    "a field may be missing": (
        changed(*RESPONSE[:-1], "required", to=["predictions"]), "response 200 model: may be missing now", True),
    "a score may be above 1": (
        changed(*PREDICTION, "score", "maximum", to=100), "score: maximum is 100, was 1", True),
    "an answer is no JSON": (
        changed(*POST, "responses", "200", "content", value=lambda content: {"text/csv": content["application/json"]}),
        "response 200: application/json was removed", True),
    "success is gone": (
        changed(*POST, "responses", value=lambda all_: {**all_, "200": None, "202": all_["200"]}),
        "response 200: was removed", True),
    "a header is gone": (
        changed(*POST, "responses", "429", "headers"), "response 429 header Retry-After: was removed", False),
    "a problem lacks its title": (
        changed("components", "schemas", "Problem", "properties", "title"), "response 422 title: was removed", True),
    "a parameter is required": (
        changed(*GET, "parameters", value=lambda all_: [{**all_[0], "required": True}]),
        "GET /models/{name} query parameter wait: is required now", True),
    "a parameter is gone": (changed(*GET, "parameters", to=[]), "query parameter wait: was removed", True),
    "a parameter has a lower limit": (
        changed(*GET, "parameters", value=lambda all_: [{**all_[0], "schema": {"type": "integer", "maximum": 5}}]),
        "query parameter wait: maximum is 5, was 60", True),
    "a new parameter is required": (
        changed(*GET, "parameters",
            value=lambda all_: [*all_, {"name": "b", "in": "query", "required": True, "schema": {"type": "string"}}]),
        "query parameter b: is required now", True),
}  # fmt: skip

HARMLESS: dict[str, Document] = {
    "nothing": original(),
    "another version and other words": changed("info", to={"title": "other", "version": "2", "description": "new"}),
    "a path is new": changed("paths", value=added(**{"/more": {"get": {"responses": {"200": {"description": "It"}}}}})),
    "longer texts": changed(*REQUEST, "texts", "items", "maxLength", to=30_000),
    "no limit of rows": changed(*REQUEST, "texts", "maxItems"),
    "a field need not come": changed(*BODY, "required", to=[]),
    "a field that need not come is new": changed(*REQUEST, value=added(language={"type": "string"})),
    "a picture is taken too": changed(
        *POST, "requestBody", "content", value=added(**{"image/*": {"schema": {"type": "string"}}})
    ),
    "a field of an answer is new": changed(*PREDICTION, value=added(words={"type": "integer"})),
    "a field always comes": changed(*PREDICTION[:-1], "required", value=lambda all_: [*all_, "note"]),
    "labels in another order": changed(*PREDICTION, "label", "enum", to=["positive", "negative"]),
    "scores are narrower": changed(*PREDICTION, "score", "maximum", to=0.9),
    "an error cannot happen any more": changed(*POST, "responses", "422"),
    "an error may happen": changed(*POST, "responses", value=added(**{"503": {"description": "Not ready"}})),
    "an example": changed(*POST, "requestBody", "content", "application/json", value=added(example={"texts": ["a"]})),
    "a number where a whole one was": changed(
        *GET, "parameters", value=lambda all_: [{**all_[0], "schema": {"type": "number", "maximum": 60}}]
    ),
}


@pytest.fixture
def old() -> Document:
    return original()


@pytest.mark.parametrize("name", BREAKING)
def test_a_breaking_change_is_reported_with_its_path(name: str, old: Document):
    new, told, _ = BREAKING[name]
    found = [change.message for change in breaking_changes(old, present(new))]
    assert any(told in one for one in found), found


@pytest.mark.parametrize("name", HARMLESS)
def test_compatible_changes_are_not_reported(name: str, old: Document):
    assert breaking_changes(old, HARMLESS[name]) == ()


def test_each_document_is_a_valid_one():
    for document in (original(), *HARMLESS.values(), *(present(new) for new, _, _ in BREAKING.values())):
        validate(document)


def present(document: Any) -> Any:
    """Return ``document`` without what is None in it."""
    if isinstance(document, dict):
        return {name: present(value) for name, value in document.items() if value is not None}
    return [present(value) for value in document] if isinstance(document, list) else document


@pytest.mark.skipif(not OASDIFF, reason="needs oasdiff: make .venv/bin/oasdiff")
def test_oasdiff_agrees(tmp_path: Path):
    cases = {name: (present(new), due) for name, (new, _, due) in BREAKING.items()}
    cases |= {name: (new, False) for name, new in HARMLESS.items()}
    found = {name: bool(by_oasdiff(original(), new, tmp_path)) for name, (new, _) in cases.items()}
    assert found == {name: due for name, (_, due) in cases.items()}


def by_oasdiff(old: Document, new: Document, folder: Path) -> list[Any]:
    for name, document in (("old", old), ("new", new)):
        (folder / f"{name}.json").write_text(json.dumps(document))
    words = [OASDIFF or "", "breaking", "old.json", "new.json", "--format", "json"]
    told = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True).stdout
    return list(json.loads(told or "[]"))


def test_a_token_that_was_needed_already_is_no_change():
    old, new = changed(*POST, "security", to=TOKEN), changed("security", to=TOKEN)
    assert [change.where for change in breaking_changes(old, new)] == ["GET /models/{name}"]


def test_another_authentication_scheme_breaks_clients(old: Document):
    old["security"] = TOKEN
    new = copy.deepcopy(old)
    new["components"]["securitySchemes"]["token"] = {"type": "apiKey", "in": "header", "name": "X-Key"}
    assert {change.what for change in breaking_changes(old, new)} == {"requires other authentication now"}
    new = copy.deepcopy(old)
    new["security"] = [*TOKEN, {}]
    assert breaking_changes(old, new) == ()


def test_the_same_pair_always_gives_the_same_list(old: Document):
    new = changed("paths", to={})
    assert [change.message for change in breaking_changes(old, new)] == [
        "POST /predict: was removed with its path",
        "GET /models/{name}: was removed with its path",
    ]
