"""A registered model is promoted, served, traced back and rolled back by the command line, with a real registry."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path

import pyarrow as pa
import pytest

from cli.__main__ import main
from cli.settings import read_settings
from tests.support.models import record, word_counter, write_model
from toolchain.artifacts.dataset import new_dataset, open_dataset
from toolchain.artifacts.expected import Row
from toolchain.artifacts.model import open_model
from toolchain.artifacts.provenance import Work
from toolchain.lifecycle import ledger
from toolchain.services import mlflow_retry
from toolchain.services.mlflow import Tracker

ROOT = Path(__file__).parents[3]
GOOD, WRONG = (0.2689414, 0.7310586), (0.9, 0.1)  # what the model answers to "good": softmax of 0 and 1; and not
SOURCE = "5" * 64
NOWHERE = "http://127.0.0.1:9"  # nothing listens there
NUMBERS = count(1)  # of models: each test has its own


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four models of the same form that are other files; the last answers otherwise than was recorded."""
    folder = tmp_path_factory.mktemp("models")
    data = Work("data.ingest", None)
    data.source = {"uri": "reviews.csv", "sha256": SOURCE}
    with new_dataset(folder / "rows", pa.schema([("text", pa.string())]), data) as writer:
        writer.write("train", pa.table({"text": ["good"]}))
    made = []
    for number in range(1, 5):
        work = Work("export.onnx", None, dataset=open_dataset(folder / "rows"))
        graph = partial(word_counter, opset=12 + number)
        made.append(write_model(folder / str(number), "text-classification", graph, work=work))
        record(made[-1], [Row(text="good", scores=WRONG if number == 4 else GOOD)])
    return made


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("promotion") / "runs" / "mlflow.db"


@pytest.fixture
def tracker(database: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    monkeypatch.setenv("TOOLCHAIN_RUNS", str(database.parent))
    monkeypatch.setenv("TOOLCHAIN_OWNER", "ann")
    monkeypatch.delenv("TOOLCHAIN_BUCKET", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(mlflow_retry, "RETRY_INTERVAL_S", 0.0)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", read_settings().tracking_uri)
    return Tracker()


@pytest.fixture
def model(tracker: Tracker, models: list[Path]) -> str:
    """A model of this test alone: version 1, then 2 (the winner) and 3 (rejected) together, then 4 (accurate)."""
    name = f"words-{next(NUMBERS)}"
    for number, (folder, run, accurate) in enumerate(
        zip(models, "abbc", ("true", "true", "false", "true"), strict=True), 1
    ):
        found = tracker.runs({"test": name, "letter": run}, "any")
        place = found[0].id if found else tracker.create_run("any", run, {"test": name, "letter": run})
        tracker.upload(place, folder, f"variants/{number}")
        tags = {"digest": open_model(folder).digest, "variant": "fp32", "accurate": accurate, "processor": "any"}
        tracker.add_version(name, place, f"variants/{number}", tags, "")
    tracker.set_alias(name, "candidate", "2")
    return name


def champion(tracker: Tracker, model: str) -> str:
    return tracker.aliases(model).get("champion", "")


def entries(model: str, capsys: pytest.CaptureFixture[str]) -> list[dict]:
    capsys.readouterr()
    assert main(["ledger", model, "--json"]) == 0
    found: list[dict] = json.loads(capsys.readouterr().out)
    return found


def test_the_json_of_a_promotion_and_of_a_rollback_is_all_that_is_on_standard_output(
    model: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["promote", model, "--version", "1", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["action"] == "promote"
    assert "promoted version 1 of" in printed.err
    assert main(["promote", model, "--json"]) == 0
    capsys.readouterr()
    assert main(["rollback", model, "--json"]) == 0
    rolled_back = json.loads(capsys.readouterr().out)
    assert rolled_back == {"model": model, "action": "rolled back", "version": "1", "live_version": "1"}


def test_the_candidate_is_promoted_after_a_server_predicted_with_it(
    model: str, tracker: Tracker, models: list[Path], capsys: pytest.CaptureFixture[str]
):
    assert main(["promote", model, "--reason", "the first"]) == 0
    output = capsys.readouterr().out
    assert "promoted version 2 of" in output
    assert "winner on any; 1 of 1 recorded rows match" in output
    assert champion(tracker, model) == "2"
    (entry,) = entries(model, capsys)
    said = {name: entry[name] for name in ("action", "version", "digest", "verdict", "reason", "overridden", "user")}
    assert said == {
        "action": "promoted",
        "version": "2",
        "digest": open_model(models[1]).digest,
        "verdict": "winner on any",
        "reason": "the first",
        "overridden": "",
        "user": "ann",
    }
    assert main(["promote", model]) == 0, "once more changes nothing"
    assert "is serving already, as version 2" in capsys.readouterr().out
    assert len(entries(model, capsys)) == 1


def test_what_the_gate_rejected_needs_force_and_a_reason(
    model: str, tracker: Tracker, capsys: pytest.CaptureFixture[str]
):
    assert main(["promote", model, "--version", "3"]) == 3
    assert "not promoted: version 3" in (output := capsys.readouterr().out)
    assert "the gate rejected it: rejected on any" in output
    assert main(["promote", model, "--version", "3", "--force"]) == 2
    assert "--reason" in capsys.readouterr().err
    assert (champion(tracker, model), entries(model, capsys)) == ("", [])
    assert main(["promote", model, "--version", "3", "--force", "--reason", "a customer asked"]) == 0
    (entry,) = entries(model, capsys)
    assert (entry["overridden"], entry["reason"]) == ("the gate rejected it: rejected on any", "a customer asked")
    assert champion(tracker, model) == "3"


def test_a_version_that_a_server_does_not_respond_with_as_recorded_is_rejected_with_force_too(
    model: str, tracker: Tracker, capsys: pytest.CaptureFixture[str]
):
    for words in ([], ["--force", "--reason", "hurry"]):
        assert main(["promote", model, "--version", "4", *words]) == 3
        assert "1 of 1 predictions differ from those recorded at evaluation" in capsys.readouterr().out
    assert (champion(tracker, model), entries(model, capsys)) == ("", [])


def test_an_older_version_is_rejected_and_rolling_back_is_the_way(
    model: str, tracker: Tracker, capsys: pytest.CaptureFixture[str]
):
    assert main(["promote", model, "--version", "1"]) == 0
    assert main(["promote", model, "--alias", "candidate"]) == 0
    assert main(["promote", model, "--version", "1"]) == 3
    assert "it is older than the serving version 2" in capsys.readouterr().out
    assert main(["rollback", model, "--reason", "complaints", "--server", NOWHERE]) == 0
    output = capsys.readouterr().out
    assert output.startswith(f"rolled back: version 1 of {model} is live again\n")
    assert f"no model server is running at {NOWHERE}" in output
    assert champion(tracker, model) == "1"
    last = entries(model, capsys)[-1]
    assert (last["action"], last["version"], last["reason"], last["user"]) == ("rolled back", "1", "complaints", "ann")
    assert main(["rollback", model]) == 2
    assert f"{model} was serving before version 1" in capsys.readouterr().err


def test_the_ledger_is_shown_as_a_table_and_shows_where_the_alias_differs(
    model: str, tracker: Tracker, capsys: pytest.CaptureFixture[str]
):
    assert main(["ledger", model]) == 0
    assert capsys.readouterr().out == f"no version of {model} was promoted yet\n"
    main(["promote", model, "--reason", "[bold]faster"])
    tracker.set_alias(model, "champion", "1")
    capsys.readouterr()
    assert main(["ledger", model]) == 0
    output = capsys.readouterr().out
    assert all(word in output for word in ("when (UTC)", "ann", "promoted", "winner on any", "[bold]faster"))
    assert f"toolchain promote {model} --version 2" in output
    assert main(["promote", model, "--version", "2"]) == 0
    assert champion(tracker, model) == "2"


def test_a_ledger_with_versions_of_others_is_shown_without_their_terminal_codes(
    model: str, tracker: Tracker, capsys: pytest.CaptureFixture[str]
):
    main(["promote", model, "--reason", "better \x1b[2Jthan before"])
    strange = tracker.versions(f"{model}.ledger")[0]
    tracker.add_version(f"{model}.ledger", strange.run, strange.path, {ledger.TAG_ENTRY: "\x1b]0;mine\x07"}, "")
    capsys.readouterr()
    assert main(["ledger", model]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "\x07" not in printed
    assert r"better \x1b[2Jthan" in printed
    assert "damaged" in printed
    assert main(["ledger", model, "--json"]) == 0
    assert [line["action"] for line in json.loads(capsys.readouterr().out)] == ["promoted", "damaged"]


def test_a_misspelt_model_gets_the_nearest_name(model: str, capsys: pytest.CaptureFixture[str]):
    misspelt = f"{model[1:]}"
    assert main(["ledger", misspelt]) == 2
    assert f"no model '{misspelt}' is registered in" in (said := capsys.readouterr().err)
    assert "did you mean 'words-" in said


def test_a_version_that_something_else_registered_is_rejected_in_one_line(
    model: str, tracker: Tracker, capsys: pytest.CaptureFixture[str]
):
    known = tracker.versions(model)[0]
    strange = tracker.add_version(model, known.run, known.path, {}, "")
    assert main(["promote", model, "--version", strange.number]) == 2
    assert f"version {strange.number} of {model} has no tag 'digest'" in capsys.readouterr().err


def test_a_rollback_ends_a_shadow_only_and_logs_it(model: str, tracker: Tracker, capsys: pytest.CaptureFixture[str]):
    assert main(["promote", model, "--shadow", "--server", NOWHERE]) == 3
    assert "no version is serving" in capsys.readouterr().out
    assert main(["promote", model, "--version", "1", "--server", NOWHERE]) == 0
    assert main(["promote", model, "--shadow", "--reason", "to see", "--server", NOWHERE]) == 0
    assert (entries(model, capsys)[-1]["action"], champion(tracker, model)) == ("shadow", "1")
    assert main(["rollback", model, "--server", NOWHERE]) == 0
    assert f"ended the shadow of version 2; version 1 of {model} stays live" in capsys.readouterr().out
    assert [entry["action"] for entry in entries(model, capsys)] == ["promoted", "shadow", "shadow ended"]
    with pytest.raises(SystemExit):
        main(["promote", model, "--shadow", "--canary"])


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["promote", "nobody"], "no model 'nobody' is registered in sqlite"),
        (["rollback", "nobody"], "no model 'nobody' is registered in sqlite"),
        (["ledger", "nobody"], "no model 'nobody' is registered in sqlite"),
        (["promote", "MODEL", "--version", "9"], "has no version 9; it has 1, 2, 3, 4"),
        (["promote", "MODEL", "--version", "two"], "a version is a number"),
        (["promote", "MODEL", "--alias", "best"], "has no alias 'best'; it has candidate"),
        (["promote", "MODEL:1"], "expected the name of a registered model"),
        (["promote", "MODEL.ledger"], "is a ledger: promote"),
        (["promote", "it's"], "expected the name of a registered model"),
        (["promote", "MODEL", "--reason", "x" * 501], "give 500 at most"),
        (["rollback", "MODEL"], "was serving"),
    ],
)
def test_bad_usage_is_one_line_and_2(words: list[str], reason: str, model: str, capsys: pytest.CaptureFixture[str]):
    assert main([word.replace("MODEL", model) for word in words]) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1


def test_a_version_and_an_alias_are_not_given_together():
    with pytest.raises(SystemExit) as ended:
        main(["promote", "words", "--version", "1", "--alias", "candidate"])
    assert ended.value.code == 2


@pytest.mark.parametrize("command", ["promote", "rollback", "ledger"])
def test_an_empty_folder_of_runs_has_no_models(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("TOOLCHAIN_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert main([command, "words"]) == 2
    assert "no model 'words' is registered yet" in capsys.readouterr().err


@contextmanager
def serving(model: str) -> Iterator[str]:
    """Serve ``model`` by the command line and yield its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "serve", model, "--port", "0"],
        cwd=ROOT, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        line = next(line for line in process.stdout if line.startswith("ready: "))
        yield line.removeprefix("ready: ").partition("/docs")[0]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)


def test_what_serves_now_leads_back_to_the_source_rows(
    model: str, tracker: Tracker, models: list[Path], capsys: pytest.CaptureFixture[str]
):
    assert main(["promote", model]) == 0
    with serving(model) as address:
        capsys.readouterr()
        assert main(["lineage", address]) == 0
    output = capsys.readouterr().out
    digest = open_model(models[1]).digest[:12]
    assert f"serves version 2 of {model}, digest {digest}" in " ".join(output.split())
    assert f"export.onnx → model {digest}" in output
    assert "data.ingest → dataset" in output
    assert SOURCE in output


@pytest.mark.parametrize(
    ("status", "content", "code", "reason"),
    [
        (200, "hello", 1, "is not a model server"),
        (200, "{}", 1, "is not a model server"),
        (503, "{}", 1, "returned 503 Service Unavailable: no model is ready there"),
        (
            200,
            json.dumps({"digest": "f" * 64, "name": "words"}),
            2,
            "digest ffffffffffff, which is not in the registry",
        ),
    ],
)
def test_an_address_with_no_registered_model_is_reported_in_one_line(
    status: int, content: str, code: int, reason: str,
    tracker: Tracker, answering: Callable[..., str], capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    assert main(["lineage", answering(status, content)]) == code
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1


def test_an_address_where_nothing_responds_is_reported_in_one_line(
    tracker: Tracker, capsys: pytest.CaptureFixture[str]
):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert main(["lineage", f"http://127.0.0.1:{free.getsockname()[1]}"]) == 1
    assert "does not respond" in capsys.readouterr().err
