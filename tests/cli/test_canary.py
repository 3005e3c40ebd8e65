"""A canary under traffic, by the command line and with the real server: a good one gets all, a bad one goes back."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.client import HTTPConnection
from itertools import count
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from prometheus_client.parser import text_string_to_metric_families

from cli.__main__ import main
from cli.settings import read_settings
from tests.support.models import record, word_counter, write_model
from toolchain.artifacts.expected import Row
from toolchain.artifacts.model import open_model
from toolchain.lifecycle import ledger
from toolchain.lifecycle.server_client import fetch_metrics
from toolchain.services.mlflow import Tracker

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
GOOD, SWAPPED = (0.2689414, 0.7310586), (0.7310586, 0.2689414)  # softmax of 0 and 1, and of 1 and 0
NUMBERS = count(1)  # of models: each test has its own
SECONDS = 120.0  # for what takes some


def swapped(path: Path) -> None:
    """Write the word counter with its classes confused: what it answers is what was recorded, and all wrong."""
    word_counter(path)
    graph = onnx.load(path)
    for one in graph.graph.initializer:
        if one.name == "weights":
            one.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(numpy_helper.to_array(one)[:, ::-1]), "weights"))
    onnx.save(graph, path)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """What serves, one that answers the same, and one with its classes confused."""
    folder, made = tmp_path_factory.mktemp("models"), []
    for number, graph in enumerate((partial(word_counter, opset=16), word_counter, swapped), 1):
        made.append(write_model(folder / str(number), "text-classification", graph))
        record(made[-1], [Row(text="good", scores=SWAPPED if graph is swapped else GOOD)])
    return made


@pytest.fixture
def tracker(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    runs = tmp_path_factory.getbasetemp() / "canary-runs"
    monkeypatch.setenv("TOOLCHAIN_RUNS", str(runs))
    monkeypatch.setenv("TOOLCHAIN_OWNER", "ann")
    for name in ("TOOLCHAIN_BUCKET", "KFP_ENDPOINT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", read_settings().tracking_uri)
    return Tracker()


@pytest.fixture
def model(tracker: Tracker, models: list[Path]) -> str:
    """The name of a model whose version 1 is the champion, and 2 the candidate."""
    name = f"words-{next(NUMBERS)}"
    for folder in models:
        run = tracker.create_run("any", "any", {})
        tracker.upload(run, folder, "variants/fp32")
        tags = {"digest": open_model(folder).digest, "variant": "fp32", "accurate": "true"}
        tracker.add_version(name, run, "variants/fp32", tags, "")
    tracker.set_alias(name, "candidate", "2")
    assert main(["promote", name, "--version", "1", "--server", "http://127.0.0.1:9"]) == 0
    return name


@pytest.fixture
def address(model: str) -> Iterator[str]:
    """Where ``model`` is served."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "serve", model, "--port", "0"],
        cwd=ROOT, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        line = next(line for line in process.stdout if line.startswith("ready: "))
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield line.removeprefix("ready: ").partition("/docs")[0]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=20)


@pytest.fixture
def traffic(address: str) -> Iterator[list[tuple[int, str]]]:
    """What clients of the server get while the test runs: status and label."""
    got: list[tuple[int, str]] = []
    ended = threading.Event()

    def ask() -> None:
        connection = HTTPConnection(address.removeprefix("http://"), timeout=30)
        while not ended.is_set():
            connection.request("POST", "/predict", '{"texts": ["good"]}', {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = json.loads(answer.read())
            got.append((answer.status, content["predictions"][0]["label"] if answer.status == 200 else ""))
            time.sleep(0.002)

    clients = [threading.Thread(target=ask, daemon=True) for _ in range(3)]
    for client in clients:
        client.start()
    yield got
    ended.set()
    for client in clients:
        client.join(timeout=30)


def actions(tracker: Tracker, model: str) -> list[tuple[str, str, float]]:
    lines = ledger.read(tracker, model).lines
    return [(line.entry.action, line.entry.version, line.entry.percent) for line in lines]


def test_a_healthy_canary_goes_to_a_hundred_percent_under_traffic_and_back_by_one_command(
    model: str, tracker: Tracker, address: str, traffic: list[tuple[int, str]], capsys: pytest.CaptureFixture[str]
):
    assert main(["promote", model, "--canary", "20", "--steps", "50,100", "--server", address, "--minutes", "3"]) == 0
    output = capsys.readouterr().out
    assert "the canary passed at 20, 50 %" in output
    assert f"{address} serves version 2" in output
    due = [("promoted", "1", 0), ("canary", "2", 20), ("canary", "2", 50), ("promoted", "2", 0)]
    assert actions(tracker, model) == due
    assert main(["rollback", model, "--server", address]) == 0
    assert f"{address} serves version 1" in capsys.readouterr().out
    assert main(["ledger", model]) == 0
    assert "canary 20 %" in capsys.readouterr().out
    assert {status for status, _ in traffic} == {200}, "no request failed meanwhile"
    assert {label for _, label in traffic} == {"positive"}


def test_a_canary_that_predicts_differently_goes_back_automatically_and_the_exit_status_is_3(
    model: str, tracker: Tracker, address: str, traffic: list[tuple[int, str]], capsys: pytest.CaptureFixture[str]
):
    assert main(["promote", model, "--version", "3", "--canary", "--server", address, "--minutes", "3"]) == 3
    output = capsys.readouterr().out
    assert "rows got another label than from the stable version" in output
    assert f"{address} serves version 1" in output
    assert [action for action, _, _ in actions(tracker, model)] == ["promoted", "canary", "canary ended"]
    last = ledger.read(tracker, model).lines[-1].entry
    assert "rows got another label" in last.reason
    time.sleep(5)  # the server looks at the repository every two seconds
    seen = len(traffic)
    time.sleep(1)
    assert {label for _, label in traffic[seen:]} == {"positive"}, "nothing asks it any more"


def start_waiting(model: str, address: str) -> "subprocess.Popen[str]":
    """Start a promotion that waits for a canary, with no traffic that could decide it."""
    words = ["promote", model, "--canary", "10", "--server", address, "--minutes", "30"]
    return subprocess.Popen(
        [sys.executable, "-m", "cli", *words], cwd=ROOT, env=dict(os.environ),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_process_leaves_no_canary_behind(number: int, model: str, tracker: Tracker, address: str):
    waiting = start_waiting(model, address)
    wait_for(lambda: ledger.read(tracker, model).canary is not None)
    waiting.send_signal(number)
    assert waiting.wait(timeout=60) == 130
    last = ledger.read(tracker, model).lines[-1].entry
    assert (last.action, last.reason) == ("canary ended", "the promote process was interrupted")


def test_a_trial_whose_watcher_was_killed_is_gone_on_with_or_ended(
    model: str, tracker: Tracker, address: str, traffic: list[tuple[int, str]], capsys: pytest.CaptureFixture[str]
):
    waiting = start_waiting(model, address)
    wait_for(lambda: ledger.read(tracker, model).canary is not None)
    waiting.kill()
    waiting.wait(timeout=60)
    capsys.readouterr()
    assert main(["promote", model, "--version", "3", "--server", address]) == 3, "another one has to wait"
    assert "version 2 is a canary now" in capsys.readouterr().out
    assert main(["promote", model, "--canary", "--steps", "100", "--server", address, "--minutes", "3"]) == 0
    assert [action for action, _, _ in actions(tracker, model)] == ["promoted", "canary", "canary", "promoted"]
    assert main(["rollback", model, "--server", address]) == 0


def compared(address: str) -> dict[str, float]:
    """Return how many rows of the shadow were compared, by whether the label is the same."""
    text = fetch_metrics([address])[address]
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    mine = [one for one in samples if one.name == "toolchain_serving_compared_rows_total"]
    return {one.labels["match"]: one.value for one in mine if one.labels["role"] == "shadow"}


def test_the_rows_of_a_shadow_are_compared_and_no_caller_sees_its_predictions(
    model: str, tracker: Tracker, address: str, traffic: list[tuple[int, str]], capsys: pytest.CaptureFixture[str]
):
    assert main(["promote", model, "--version", "3", "--shadow", "--server", address]) == 0
    assert f"{address} serves version 1" in (output := capsys.readouterr().out)
    assert "version 3 as its shadow" in output
    wait_for(lambda: compared(address).get("no", 0) >= 20)
    assert compared(address).get("yes", 0) == 0, "its classes are confused"
    assert main(["rollback", model, "--server", address]) == 0
    assert f"ended the shadow of version 3; version 1 of {model} stays live" in (output := capsys.readouterr().out)
    assert "as its shadow" not in output
    assert main(["ledger", model]) == 0
    assert "shadow ended" in capsys.readouterr().out
    assert actions(tracker, model) == [("promoted", "1", 0), ("shadow", "3", 0), ("shadow ended", "3", 0)]
    assert set(traffic) == {(200, "positive")}


def test_without_a_server_there_is_no_trial(model: str, tracker: Tracker, capsys: pytest.CaptureFixture[str]):
    assert main(["promote", model, "--canary", "--server", "http://127.0.0.1:9"]) == 1
    assert "http://127.0.0.1:9/metrics does not respond" in capsys.readouterr().err
    assert [action for action, _, _ in actions(tracker, model)] == ["promoted"]
