"""Small real models, each with its recorded predictions.

The text model counts words: its logits are the numbers of negative and positive words. The image model measures the
mean brightness. The detector finds one box at a known position.
"""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.support.model_server import Running, begin, command, ready
from tests.support.models import brightness, one_box, picture, record, write_model, write_words
from tests.support.versions import WEIGHTS
from toolchain.artifacts.expected import Row, encode_image
from toolchain.serve.http.application import build
from toolchain.serve.settings import Settings
from toolchain.serve.versions.router import static_router
from toolchain.serve.versions.version import load


@pytest.fixture
def words(tmp_path: Path) -> Path:
    return write_words(tmp_path / "words")


@pytest.fixture(scope="session")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of the versions of a model, by number."""
    place = tmp_path_factory.mktemp("versions")
    return {number: write_words(place / number, weight) for number, weight in WEIGHTS.items()}


@pytest.fixture
def image_model(tmp_path: Path) -> Path:
    folder = write_model(tmp_path / "brightness", "image-classification", brightness, ("dark", "bright"))
    rows = []
    for level in (0, 255):
        odds = np.exp([0.5 - level / 255, level / 255 - 0.5])
        rows.append(Row(image=encode_image(picture(level)), scores=tuple((odds / odds.sum()).tolist())))
    record(folder, rows)
    return folder


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    folder = write_model(tmp_path / "box", "object-detection", one_box, ("thing", "whole"))
    file = encode_image(picture(128, width=20, height=10))
    record(folder, [Row(image=file, scores=(0.9, 0.1), boxes=((0, 0, 10, 5), (0, 0, 20, 10)), labels=(0, 1))])
    return folder


@pytest.fixture
def serving() -> Iterator[Callable[..., TestClient]]:
    """Return a function that serves a model's folder within this process, and gives a client of it."""
    clients: list[TestClient] = []

    def start(folder: Path, tokens: tuple[str, ...] = (), **settings: Any) -> TestClient:
        served = load(Settings(model=folder, name="reviews", version="3", **settings))
        client = TestClient(build(static_router(served), tokens), "http://127.0.0.1", raise_server_exceptions=False)
        client.__enter__()
        client.app_state["served"] = served
        clients.append(client)
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    """Return a function that starts the server of a model's folder in a separate process."""
    started: list[subprocess.Popen[str]] = []

    def run(folder: Path, *words: str, port: int = 0, **environment: str) -> Running:
        started.append(begin(command(folder, "--port", str(port), *words), **environment))
        return ready(started[-1])

    yield run
    for process in started:
        process.kill()
        process.communicate()
