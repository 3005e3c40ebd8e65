"""Responses of a model server within this process, and what it serves."""

import json
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from toolchain.artifacts.model import open_model
from toolchain.inference.predictor import Predictor
from toolchain.serve.versions.version import LoadedVersion


def served_by(client: TestClient) -> LoadedVersion:
    found: LoadedVersion = client.app_state["served"]
    return found


def problem(response: Any) -> dict[str, Any]:
    """Return the problem in ``response``, after a check that it is one and reveals no internals."""
    assert response.headers["content-type"] == "application/problem+json"
    content: dict[str, Any] = json.loads(response.text)
    assert {"type", "title", "status", "detail"} <= content.keys()
    assert content["status"] == response.status_code
    assert "Traceback" not in response.text
    assert ".py" not in response.text
    assert "/tmp" not in response.text
    return content


def predictor_of(folder: Path) -> Predictor:
    return Predictor(open_model(folder))
