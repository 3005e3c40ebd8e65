"""Test the OpenAPI document of every task: valid, reproducible, with correct examples."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import validate as fits
from openapi_spec_validator import validate
from starlette.testclient import TestClient

from toolchain.lifecycle.openapi_diff import breaking_changes

Serving = Callable[..., TestClient]
TASKS = ("words", "image_model", "detector")
TOKEN = "a-token-that-is-long"


@pytest.fixture(params=TASKS)
def client(request: pytest.FixtureRequest, serving: Serving) -> TestClient:
    return serving(request.getfixturevalue(request.param))


def document(client: TestClient) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    reported: dict[str, Any] = client.get("/openapi.json", headers=headers).json()
    return reported


def test_it_is_a_valid_document_of_the_version(client: TestClient):
    reported = document(client)
    validate(reported)
    assert reported["info"]["title"] == "reviews"
    assert reported["info"]["version"] == "3"


@pytest.mark.parametrize("task", TASKS)
def test_the_same_model_gives_the_same_document_to_the_byte(
    task: str, serving: Serving, request: pytest.FixtureRequest
):
    folder = request.getfixturevalue(task)
    one, other = (serving(folder).get("/openapi.json").content for _ in range(2))
    assert one == other
    assert breaking_changes(json.loads(one), json.loads(other)) == ()


def test_each_operation_has_a_plain_unique_name(client: TestClient):
    names = [operation["operationId"] for path in document(client)["paths"].values() for operation in path.values()]
    assert len(set(names)) == len(names) == 15
    assert all("__" not in name for name in names)


def test_each_example_fits_what_it_is_an_example_of(client: TestClient):
    reported = document(client)
    looked_at = 0
    for content in contents(reported):
        shown = [content["example"]] if "example" in content else []
        shown += [example["value"] for example in content.get("examples", {}).values()]
        for value in shown:
            fits(value, {**content["schema"], "components": reported["components"]})
            looked_at += 1
    assert looked_at > 25


def contents(part: Any) -> Any:
    """Yield everything in a document that is of a media type."""
    if isinstance(part, dict):
        if "schema" in part and ("example" in part or "examples" in part):
            yield part
        for value in part.values():
            yield from contents(value)


def test_the_example_requests_work(client: TestClient):
    reported = document(client)
    names = {"name": "reviews", "version": "3"}
    asked = 0
    for path, operations in reported["paths"].items():
        body = operations.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json", {})
        shown = [body["example"]] if "example" in body else []
        for value in [*shown, *(example["value"] for example in body.get("examples", {}).values())]:
            response = client.post(path.format(**names), json=value)
            assert response.status_code == 200, response.text
            good = operations["post"]["responses"]["200"]["content"]["application/json"]
            fits(response.json(), good["schema"])
            asked += 1
    assert asked >= 3


def test_a_rejection_uses_the_models_terms(serving: Serving, words: Path, image_model: Path):
    for folder, pointer in ((words, "#/texts/0"), (image_model, "#/images/0")):
        responses = document(serving(folder))["paths"]["/predict"]["post"]["responses"]
        assert responses["422"]["content"]["application/problem+json"]["example"]["errors"][0]["pointer"] == pointer


def test_a_token_is_required_by_all_private_routes(serving: Serving, words: Path):
    reported = document(serving(words, tokens=(TOKEN,)))
    validate(reported)
    open_ = {
        path for path, operations in reported["paths"].items() for one in operations.values() if "security" not in one
    }
    assert open_ == {"/healthz", "/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"}
    assert "401" in reported["paths"]["/predict"]["post"]["responses"]
    assert "401" not in document(serving(words))["paths"]["/predict"]["post"]["responses"]


def test_tighter_limits_are_a_breaking_change_and_wider_ones_none(serving: Serving, words: Path):
    usual = document(serving(words))
    tight = document(serving(words, max_request_rows=8, max_text_characters=100))
    found = {change.message for change in breaking_changes(usual, tight)}
    assert "POST /predict request texts: maxItems is 8, was 64" in found
    assert "POST /predict request texts[]: maxLength is 100, was 20000" in found
    assert breaking_changes(tight, usual) == ()
