"""A version's API is printed, and compared with another's, by the command line, with a real registry and server."""

import json
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from openapi_spec_validator import validate

from cli.__main__ import main
from cli.settings import read_settings
from tests.support.models import record, word_counter, write_model
from toolchain.artifacts.expected import Row
from toolchain.artifacts.model import open_model
from toolchain.services.mlflow import Tracker

NUMBERS = count(1)  # of models: each test has its own
LABELS = (("negative", "positive"), ("negative", "positive"), ("bad", "good"))  # of versions 1, 2 and 3


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("openapi") / "runs" / "mlflow.db"


@pytest.fixture
def tracker(database: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    monkeypatch.setenv("TOOLCHAIN_RUNS", str(database.parent))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", read_settings().tracking_uri)
    monkeypatch.delenv("TOOLCHAIN_BUCKET", raising=False)
    return Tracker()


@pytest.fixture
def model(tracker: Tracker, tmp_path: Path) -> str:
    """The name of a model of three versions, the last of which names its classes otherwise."""
    name = f"reviews-{next(NUMBERS)}"
    run = tracker.create_run("any", "any", {})
    for number, labels in enumerate(LABELS, 1):
        graph = partial(word_counter, opset=12 + number)
        folder = write_model(tmp_path / str(number), "text-classification", graph, labels)
        record(folder, [Row(text="a good film", scores=(0.2689414, 0.7310586))])
        tracker.upload(run, folder, f"variants/{number}")
        tags = {"digest": open_model(folder).digest, "variant": "fp32", "accurate": "true"}
        tracker.add_version(name, run, f"variants/{number}", tags, "")
    tracker.set_alias(name, "candidate", "2")
    return name


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["openapi", *words])
    found = capsys.readouterr()
    return code, found.out, found.err


def test_the_document_of_a_version_that_never_served_is_a_valid_one(model: str, capsys: pytest.CaptureFixture[str]):
    code, text, _ = printed(capsys, model, "--version", "3")
    document = json.loads(text)
    assert code == 0
    validate(document)
    assert (document["info"]["title"], document["info"]["version"]) == (model, "3")
    assert printed(capsys, model, "--version", "3") == (0, text, ""), "to the byte"


def test_the_document_that_was_kept_at_promotion_is_printed(
    model: str, tracker: Tracker, capsys: pytest.CaptureFixture[str]
):
    before = printed(capsys, model)[1]
    assert main(["promote", model]) == 0
    version = tracker.versions(model)[1]
    assert "openapi.sha256" in version.tags
    assert printed(capsys, model)[1] == before, "the candidate's, then the same version's as the champion"


def test_a_change_for_callers_differs_from_no_change(model: str, capsys: pytest.CaptureFixture[str]):
    code, text, _ = printed(capsys, model, "--against", "1")
    assert (code, text) == (0, f"version 2 of {model} breaks no client of version 1\n")
    code, text, _ = printed(capsys, model, "--version", "3", "--against", "2")
    assert code == 3
    assert 'POST /predict response 200 predictions[].label: "negative", "positive" removed\n' in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "no model 'nothing' is registered"),
        (["reviews:2"], "--version"),
        (["--version", "9"], "has no version 9; it has 1, 2, 3"),
        (["--against", "champion"], "has no version champion; it has 1, 2, 3"),
    ],
)
def test_what_is_not_there_is_reported(words: list[str], message: str, model: str, capsys: pytest.CaptureFixture[str]):
    code, _, error = printed(capsys, *([model] if words[0].startswith("-") else []), *words)
    assert code == 2
    assert message in error


def test_a_model_that_nothing_here_runs_is_reported(
    tracker: Tracker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = write_model(tmp_path / "broken", "text-classification", lambda path: path.write_bytes(b"no") and None)
    run = tracker.create_run("any", "any", {})
    tracker.upload(run, folder, "variants/broken")
    tracker.add_version("broken", run, "variants/broken", {"digest": open_model(folder).digest}, "")
    code, _, error = printed(capsys, "broken")
    assert code == 1
    assert "the API of version 1 of broken is not known: error: " in error
    assert "Traceback" not in error
