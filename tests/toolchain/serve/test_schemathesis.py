"""Run schemathesis against the real server: requests that the OpenAPI document allows, and others.

All its checks are on. One exception: an inference of the Open Inference Protocol may be rejected although it fits the
document, since JSON Schema cannot express that a tensor has as many values as its shape.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.model_server import ROOT, Running

TOKEN = "a-token-that-is-long"
CONFIG = """
hooks = "tests.toolchain.serve.hooks"

[[operations]]
include-operation-id = ["model_infer", "version_infer"]
checks.positive_data_acceptance.expected-statuses = ["200", "404", "422"]
"""


def find(running: Running, folder: Path, examples: int, *words: str, seconds: int = 0) -> str:
    """Return the output of schemathesis after ``examples`` requests of each type without findings."""
    (folder / "schemathesis.toml").write_text(CONFIG)
    found = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "--config-file", str(folder / "schemathesis.toml"), "run",
            f"http://127.0.0.1:{running.port}/openapi.json", "--checks", "all", "--mode", "all", "--seed", "1",
            "--max-examples", str(examples), "--no-color", *words],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert found.returncode == 0, found.stdout + found.stderr
    assert "Tested: 15" in found.stdout
    code, output = running.end()
    assert code == 0
    assert "a request failed" not in output
    return found.stdout


@pytest.mark.parametrize("model", ["words", "image_model", "detector"])
def test_schemathesis_finds_nothing(
    model: str, start: Callable[..., Running], request: pytest.FixtureRequest, tmp_path: Path
):
    running = start(request.getfixturevalue(model), "--drain-seconds", "0", "--version", "3")
    find(running, tmp_path, 5)


def test_schemathesis_finds_nothing_behind_a_token(start: Callable[..., Running], words: Path, tmp_path: Path):
    running = start(words, "--drain-seconds", "0", TOOLCHAIN_SERVE_TOKENS=TOKEN)
    find(running, tmp_path, 3, "--header", f"Authorization: Bearer {TOKEN}")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["words", "image_model", "detector"])
def test_schemathesis_finds_nothing_in_hundreds_of_requests(
    model: str, start: Callable[..., Running], request: pytest.FixtureRequest, tmp_path: Path
):
    running = start(request.getfixturevalue(model), "--drain-seconds", "0", "--version", "3")
    find(running, tmp_path, 100)
