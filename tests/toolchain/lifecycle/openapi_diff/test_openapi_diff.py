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

from tests.toolchain.lifecycle.openapi_diff.conftest import Document, changed, original
from toolchain.lifecycle.openapi_diff import breaking_changes

OASDIFF = shutil.which("oasdiff", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
POST = ("paths", "/predict", "post")
BODY = (*POST, "requestBody", "content", "application/json", "schema")
ASKED = (*BODY, "properties")
ANSWERS = (*POST, "responses", "200", "content", "application/json", "schema", "properties")
ANSWER = (*ANSWERS, "predictions", "items", "properties")
GET = ("paths", "/models/{name}", "get")
TOKEN = [{"token": []}]


def added(**values: Any) -> Any:
    return lambda found: {**found, **values}


def without(*names: str) -> Any:
    return lambda found: [one for one in found if one not in names]


# What changes; what is told of it; whether `oasdiff breaking` 1.37.0 tells of it too. It lets pass what callers were
# never promised to get. Here they break: a label that is never answered again means that the model is another one.
BREAKING: dict[str, tuple[Document, str, bool]] = {
    "a path is gone": (changed("paths", "/predict"), "POST /predict: is gone", True),
    "a method is gone": (
        changed("paths", "/predict", value=lambda post: {"put": post["post"]}), "POST /predict: is gone", True),
    "a token is needed": (changed(*POST, "security", to=TOKEN), "POST /predict: needs authentication now", True),
    "a token is needed everywhere": (changed("security", to=TOKEN), "needs authentication now", True),
    "a text may be shorter only": (
        changed(*ASKED, "texts", "items", "maxLength", to=100),
        "POST /predict request texts[]: maxLength is 100, was 20000", True),
    "fewer rows": (changed(*ASKED, "texts", "maxItems", to=8), "request texts: maxItems is 8, was 64", True),
    "more rows at least": (changed(*ASKED, "texts", "minItems", to=2), "request texts: minItems is 2, was 1", True),
    "a threshold of a half at least": (
        changed(*ASKED, "threshold", "minimum", to=0.5), "request threshold: minimum is 0.5, was 0", True),
    "another pattern": (changed(*ASKED, "texts", "items", "pattern", to="^a"), "pattern differs", True),
    "another type in a request": (
        changed(*ASKED, "threshold", "type", to="string"), "request threshold: type is \"string\", was \"number\"",
        True),
    "a whole number in a request": (
        changed(*ASKED, "threshold", "type", to="integer"), "type is \"integer\", was \"number\"", True),
    "a field is required": (
        changed(*BODY, "required", to=["texts", "threshold"]), "request threshold: is required now", True),
    "a field of a request is gone": (
        changed(*ASKED, "threshold"), "POST /predict request threshold: is gone", True),
    "a value is one of a list": (
        changed(*ASKED, "threshold", value=added(enum=[0.5])), "request threshold: is one of a list now", True),
    "JSON is not taken": (
        changed(*POST, "requestBody", "content", value=lambda content: {"text/plain": content["application/json"]}),
        "application/json is not taken any more", True),
    "no body is taken": (changed(*POST, "requestBody"), "nothing is taken any more", True),
    "a label is gone": (
        changed(*ANSWER, "label", "enum", to=["positive"]), "predictions[].label: \"negative\" is gone", False),
    "a label is new": (
        changed(*ANSWER, "label", "enum", to=["negative", "positive", "neutral"]), "\"neutral\" is new", True),
    "any label": (changed(*ANSWER, "label", "enum"), "is not one of a list any more", True),
    "another type in an answer": (
        changed(*ANSWERS, "model", "type", to="integer"),
        "answer 200 model: type is \"integer\", was \"string\"", True),
    "a field of an answer is gone": (changed(*ANSWER, "score"), "predictions[].score: is gone", True),
    "a class's score is gone": (
        changed(*ANSWER, "scores", "properties", "negative"), "predictions[].scores.negative: is gone", True),
    "a field of an answer that need not come is gone": (changed(*ANSWER, "note"), "predictions[].note: is gone", False),
    "a field may be missing": (
        changed(*ANSWERS[:-1], "required", to=["predictions"]), "answer 200 model: may be missing now", True),
    "a score may be above 1": (
        changed(*ANSWER, "score", "maximum", to=100), "score: maximum is 100, was 1", True),
    "an answer is no JSON": (
        changed(*POST, "responses", "200", "content", value=lambda content: {"text/csv": content["application/json"]}),
        "answer 200: application/json is gone", True),
    "success is gone": (
        changed(*POST, "responses", value=lambda all_: {**all_, "200": None, "202": all_["200"]}),
        "answer 200: is gone", True),
    "a header is gone": (
        changed(*POST, "responses", "429", "headers"), "answer 429 header Retry-After: is gone", False),
    "a problem lacks its title": (
        changed("components", "schemas", "Problem", "properties", "title"), "answer 422 title: is gone", True),
    "a parameter is required": (
        changed(*GET, "parameters", value=lambda all_: [{**all_[0], "required": True}]),
        "GET /models/{name} query parameter wait: is required now", True),
    "a parameter is gone": (changed(*GET, "parameters", to=[]), "query parameter wait: is gone", True),
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
    "longer texts": changed(*ASKED, "texts", "items", "maxLength", to=30_000),
    "no limit of rows": changed(*ASKED, "texts", "maxItems"),
    "a field need not come": changed(*BODY, "required", to=[]),
    "a field that need not come is new": changed(*ASKED, value=added(language={"type": "string"})),
    "a picture is taken too": changed(
        *POST, "requestBody", "content", value=added(**{"image/*": {"schema": {"type": "string"}}})
    ),
    "a field of an answer is new": changed(*ANSWER, value=added(words={"type": "integer"})),
    "a field always comes": changed(*ANSWER[:-1], "required", value=lambda all_: [*all_, "note"]),
    "labels in another order": changed(*ANSWER, "label", "enum", to=["positive", "negative"]),
    "scores are narrower": changed(*ANSWER, "score", "maximum", to=0.9),
    "an error cannot happen any more": changed(*POST, "responses", "422"),
    "an error may happen": changed(*POST, "responses", value=added(**{"503": {"description": "Not ready"}})),
    "an example": changed(*POST, "requestBody", "content", "application/json", value=added(example={"texts": ["a"]})),
    "a number where a whole one was": changed(
        *GET, "parameters", value=lambda all_: [{**all_[0], "schema": {"type": "number", "maximum": 60}}]
    ),
}


@pytest.mark.parametrize("name", BREAKING)
def test_what_breaks_callers_is_told_with_its_place(name: str, old: Document):
    new, told, _ = BREAKING[name]
    found = [change.message for change in breaking_changes(old, present(new))]
    assert any(told in one for one in found), found


@pytest.mark.parametrize("name", HARMLESS)
def test_what_breaks_nobody_is_not_told(name: str, old: Document):
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
def test_oasdiff_says_what_is_said_here(tmp_path: Path):
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


def test_another_way_to_prove_who_asks_breaks(old: Document):
    old["security"] = TOKEN
    new = copy.deepcopy(old)
    new["components"]["securitySchemes"]["token"] = {"type": "apiKey", "in": "header", "name": "X-Key"}
    assert {change.what for change in breaking_changes(old, new)} == {"needs other authentication now"}
    new = copy.deepcopy(old)
    new["security"] = [*TOKEN, {}]
    assert breaking_changes(old, new) == ()


def test_the_same_pair_always_gives_the_same_list(old: Document):
    new = changed("paths", to={})
    assert [change.message for change in breaking_changes(old, new)] == [
        "POST /predict: is gone, as all of this path is",
        "GET /models/{name}: is gone, as all of this path is",
    ]
