import json

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from toolchain.serve.problems import Problem, add_exception_handlers, log_location, problem_response


def test_a_problem_has_the_fields_of_rfc_9457_and_its_pointer():
    response = Problem(422, "too long", "/texts/1", retry_after=2).response()
    assert (response.status_code, response.media_type) == (422, "application/problem+json")
    assert response.headers["retry-after"] == "2"
    content = json.loads(bytes(response.body))
    assert content["title"] == "Unprocessable Content"
    assert content["errors"] == [{"pointer": "#/texts/1", "detail": "too long"}]
    assert "errors" not in json.loads(bytes(problem_response(400, "bad").body))


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()
    add_exception_handlers(app)

    @app.get("/fail")
    def fail() -> None:
        raise RuntimeError("a secret")

    return TestClient(app, raise_server_exceptions=False)


def test_an_unexpected_error_exposes_no_details(client: TestClient):
    response = client.get("/fail")
    assert response.status_code == 500
    assert "a secret" not in response.text


def test_an_unknown_route_and_method_are_problems(client: TestClient):
    assert client.get("/other").json()["title"] == "Not Found"
    wrong = client.post("/fail")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD")


def test_the_log_has_the_type_of_an_error_and_not_its_message(capsys: pytest.CaptureFixture[str]):
    log_location(ValueError("a secret"))
    assert capsys.readouterr().err == "request failed with ValueError at unknown location\n"
