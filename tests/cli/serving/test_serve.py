"""A registered model is served by the command line, from a real registry and without one."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cli.__main__ import main
from cli.serving.serve import choose, follow, repository_path
from cli.settings import read_settings
from tests.support.models import RECORDED, record, word_counter, write_model
from toolchain.artifacts.expected import Row
from toolchain.artifacts.model import open_model
from toolchain.errors import ConfigError, ServiceError
from toolchain.lifecycle import ledger
from toolchain.lifecycle.model_repository import Folder
from toolchain.lifecycle.routing import FILE, RoutingConfig, Target, as_bytes, parse
from toolchain.services import mlflow_retry
from toolchain.services.mlflow import Tracker

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs with a registry: "words" has two versions, the second the candidate."""
    folder = tmp_path_factory.mktemp("served") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        tracker = Tracker()
        for number, labels in enumerate((("bad", "good"), ("negative", "positive")), 1):
            model = write_model(folder.with_name(f"model-{number}"), "text-classification", word_counter, labels)
            record(model, [Row(text=RECORDED[3], scores=(0.7310586, 0.2689414))])
            run = tracker.create_run("any", "any", {})
            tracker.upload(run, model, "variants/fp32")
            tracker.add_version("words", run, "variants/fp32", {"digest": open_model(model).digest}, "")
        tracker.set_alias("words", "candidate", "2")
    return folder


@pytest.fixture
def runs(registered: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOOLCHAIN_RUNS", str(registered))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(mlflow_retry, "RETRY_INTERVAL_S", 0.0)
    return registered


@pytest.fixture
def start(runs: Path) -> Iterator[Callable[..., tuple[int, list[str]]]]:
    """Return a function that serves a model, and gives its port and what was printed until it was ready."""
    started: list[subprocess.Popen[str]] = []

    def run(*words: str, **environment: str) -> tuple[int, list[str]]:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "serve", *words, "--port", "0"],
            cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("ready: "):
                return int(line.split("/docs")[0].rsplit(":", 1)[1]), lines
        raise AssertionError("".join(lines))

    yield run
    for process in started:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        assert process.returncode == 0


def label(port: int, text: str) -> str:
    body = json.dumps({"texts": [text]}).encode()
    with urlopen(Request(f"http://127.0.0.1:{port}/predict", body, {"Content-Type": "application/json"})) as answer:
        return str(json.loads(answer.read())["predictions"][0]["label"])


def test_the_candidate_is_served_while_there_is_no_champion_and_it_is_shown(
    start: Callable[..., tuple[int, list[str]]],
):
    port, lines = start("words")
    assert lines[0] == "words has no champion yet: serving its candidate\n"
    assert lines[1].startswith("serving words: version 2, digest ")
    assert "1 of 1 recorded predictions match" in lines[-1]
    assert label(port, "good") == "positive"


def test_grpc_responds_where_a_port_is_given(start: Callable[..., tuple[int, list[str]]]):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start("words:1", "--grpc-port", str(port))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        asked = health_pb2.HealthCheckRequest()
        told = health_pb2_grpc.HealthStub(channel).Check(asked, wait_for_ready=True, timeout=20)
    assert told.status == health_pb2.HealthCheckResponse.SERVING


def test_what_is_requested_is_sampled_where_a_location_is_given(
    start: Callable[..., tuple[int, list[str]]], tmp_path: Path
):
    port, _ = start("words:1", "--samples", str(tmp_path / "samples"), "--sample-percent", "100")
    label(port, "good")
    end = time.monotonic() + 20
    while "toolchain_sampling_rows_total" not in urlopen(f"http://127.0.0.1:{port}/metrics").read().decode():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_as_many_predictions_are_worked_at_as_are_requested(start: Callable[..., tuple[int, list[str]]]):
    port, _ = start("words:1", "--workers", "3")
    figures = urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    assert re.search(r"toolchain_serving_workers{.*} 3\.0", figures)


def test_a_version_is_served_by_its_number_and_again_without_the_registry(
    start: Callable[..., tuple[int, list[str]]], runs: Path
):
    port, _ = start("words:1")
    assert label(port, "good") == "good"
    began = time.monotonic()
    port, lines = start("words:1", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert time.monotonic() - began < mlflow_retry.MAX_RETRY_S / 2, "a registry that is away is not waited for"
    assert "does not respond; serving version 1 from the local model repository" in lines[0]
    assert label(port, "good") == "good"


def test_a_server_by_the_name_alone_follows_what_is_promoted_and_starts_again_without_the_registry(
    start: Callable[..., tuple[int, list[str]]], runs: Path
):
    port, _ = start("words")
    assert label(port, "good") == "positive"
    first = choose("words:1", "", read_settings())
    routing = RoutingConfig(model="words", stable=Target(version="1", digest=first.digest, variant="fp32"))
    Folder(repository_path("words", read_settings())).write_routing(as_bytes(routing))
    began = time.monotonic()
    while label(port, "good") == "positive":
        assert time.monotonic() - began < 60
        time.sleep(0.2)
    assert label(port, "good") == "good"
    port, lines = start("words", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert "does not respond; serving version 1 from the local model repository" in lines[0]
    assert label(port, "good") == "good"


def test_a_champion_is_served_before_a_candidate(runs: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", read_settings().tracking_uri)
    tracker = Tracker()
    tracker.set_alias("words", "champion", "1")
    chosen = choose("words", "", read_settings())
    assert (chosen.number, chosen.alias) == ("1", "champion")
    assert choose("words", "candidate", read_settings()).number == "2"
    assert choose("words@candidate", "", read_settings()).number == "2"
    tracker._client.delete_registered_model_alias("words", "champion")


def test_a_damaged_copy_is_fetched_again(runs: Path, monkeypatch: pytest.MonkeyPatch):
    chosen = choose("words:2", "", read_settings())
    folder = repository_path("words", read_settings()) / chosen.digest
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").write_bytes(b"other")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(ServiceError, match="the local files of words are damaged"):
        choose("words:2", "", read_settings())
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert (
        open_model(repository_path("words", read_settings()) / choose("words:2", "", read_settings()).digest).digest
        == chosen.digest
    )


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["nobody"], "no model 'nobody' is registered in sqlite"),
        (["words:9"], "words has no version 9; it has 1, 2"),
        (["words", "--alias", "best"], "words has no alias 'best'; it has candidate"),
        (["words:1", "--alias", "candidate"], "names a version already"),
        (["words:one"], "expected a registered model as name, name@alias or name:version"),
        (["it's"], "expected a registered model"),
    ],
)
def test_what_is_not_registered_is_reported_in_one_line(
    words: list[str], reason: str, runs: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["serve", *words]) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1


def test_with_no_registry_and_no_copy_nothing_is_served(runs: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(ServiceError, match="other was never served"):
        choose("other", "", read_settings())


def test_an_empty_folder_of_runs_has_no_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TOOLCHAIN_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ConfigError, match="is registered yet"):
        choose("words", "", read_settings())


def test_what_the_ledger_shows_is_served_before_a_candidate(runs: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", read_settings().tracking_uri)
    tracker = Tracker()
    version = tracker.versions("words")[0]
    digest = version.tags["digest"]
    entry = ledger.Entry(
        action=ledger.PROMOTED, version="1", digest=digest, variant="fp32", verdict="accurate", reason="",
        overridden="", user="somebody", previous="",
    )  # fmt: skip
    ledger.append(tracker, "words", version, entry)
    routing = follow("words", read_settings())
    assert routing.stable == Target(version="1", digest=digest, variant="fp32")
    assert parse((repository_path("words", read_settings()) / FILE).read_bytes(), FILE) == routing
