"""Cleaning a cluster's bucket: a real S3 server, and one that speaks as much of KFP's API as its real client asks."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cli.cleanup import cluster, command
from cli.settings import Settings
from tests.support.json_server import JsonHandler
from toolchain.errors import ServiceError
from toolchain.services import storage
from toolchain.services.storage import s3

NOW = datetime.now(UTC)
SOURCE = f"sources/{'a' * 64}"


class Kfp(ThreadingHTTPServer):
    """Knows runs and schedules, newest first, and deletes runs."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.runs: list[dict[str, Any]] = []
        self.schedules: list[dict[str, Any]] = []


class Handler(JsonHandler):
    server: Kfp

    def do_GET(self) -> None:
        if "/recurringruns" in self.path:
            self.answer({"recurringRuns": self.server.schedules})
        elif "/runs" in self.path:
            pages = {"page_token=rest": {"runs": self.server.runs[2:]}}
            first = {"runs": self.server.runs[:2], "next_page_token": "rest" if len(self.server.runs) > 2 else ""}
            self.answer(next((page for token, page in pages.items() if token in self.path), first))
        else:
            self.answer({"multi_user": False})

    def do_DELETE(self) -> None:
        gone = self.path.partition("?")[0].rpartition("/")[2]
        self.server.runs = [run for run in self.server.runs if run["run_id"] != gone]
        self.answer({})


@pytest.fixture
def kfp() -> Iterator[Kfp]:
    with Kfp() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def bucket(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TOOLCHAIN_BUCKET", s3_bucket)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setattr(cluster.ClusterArtifacts, "_item", aged(cluster.ClusterArtifacts._item))
    return f"s3://{s3_bucket}"


AGES: dict[str, float] = {}  # days, by a word of an item's name: a server dates by its own clock, which no test turns


def aged(make: Callable[..., Any]) -> Callable[..., Any]:
    import dataclasses

    def made(self: cluster.ClusterArtifacts, name: str, *more: Any) -> Any:
        item = make(self, name, *more)
        days = next((days for word, days in AGES.items() if word in name), 0.0)
        return dataclasses.replace(item, changed=NOW - timedelta(days=days))

    return made


@pytest.fixture
def leave(kfp: Kfp, bucket: str) -> Callable[..., str]:
    """Return a function that leaves a run of some days ago: its artifacts in S3, its record in KFP."""
    AGES.clear()

    def run(
        id: str,
        days: float,
        made: dict[str, list[str]],
        state: str = "SUCCEEDED",
        pipeline: str = "tidy",
        cached: tuple[str, ...] = (),
        parameters: dict[str, Any] | None = None,
    ) -> str:
        name = f"v2/artifacts/{pipeline}/{id}"
        for task, digests in made.items():
            lineage = [{"digest": digest} for digest in reversed(digests)]
            s3.write(json.dumps({"lineage": lineage}).encode(), f"{bucket}/{name}/{task}/uuid/out/dataset.json")
            s3.write(b"rows", f"{bucket}/{name}/{task}/uuid/out/train.parquet")
        AGES[id] = days
        details = [{"display_name": task, "state": "SUCCEEDED"} for task in (*made, *cached)]
        kfp.runs.append(
            {
                "run_id": id,
                "state": state,
                "created_at": (NOW - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "pipeline_spec": {"pipelineInfo": {"name": pipeline}},
                "run_details": {"task_details": details},
                "runtime_config": {"parameters": parameters or {}},
            }
        )
        kfp.runs.sort(key=lambda run: run["created_at"], reverse=True)
        return name

    return run


def cleaned(
    kfp: Kfp,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    needed: dict[str, str] | None = None,
    dry_run: bool = False,
) -> None:
    monkeypatch.setattr(command, "needed_by_models", lambda settings: needed or {})
    settings = Settings(tmp_path, f"http://127.0.0.1:{kfp.server_port}", "", "", "")
    command.clean("30d", dry_run, "cluster", settings)


def in_s3(bucket: str) -> set[str]:
    """Return the run's ids, and other items, that still have files."""
    keys = [file.uri.removeprefix(f"{bucket}/") for file in storage.listing(f"{bucket}/")]
    return {key.split("/")[3] if key.startswith("v2/") else "/".join(key.split("/")[:2]) for key in keys}


def test_an_old_run_goes_from_s3_and_from_kfps_cache(
    kfp: Kfp, bucket: str, leave, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
):
    leave("old", 60, {"split": ["d1"]})
    leave("new", 40, {"split": ["d2"]})
    leave("other", 50, {"split": ["d3"]}, pipeline="bert")
    cleaned(kfp, tmp_path, monkeypatch, dry_run=True)
    assert in_s3(bucket) == {"old", "new", "other"}
    cleaned(kfp, tmp_path, monkeypatch)
    assert in_s3(bucket) == {"new", "other"}
    assert {run["run_id"] for run in kfp.runs} == {"new", "other"}
    assert "1 of 3 removed" in capsys.readouterr().out


def test_what_a_kept_run_or_a_registered_model_was_made_from_stays(kfp: Kfp, bucket: str, leave, tmp_path, monkeypatch):
    leave("rows", 90, {"split": ["d1"]})
    leave("unused", 80, {"split": ["d2"]})
    leave("registered", 70, {"split": ["d3"]})
    leave("trained", 60, {"train": ["m1", "d1"]}, cached=("split",))
    cleaned(kfp, tmp_path, monkeypatch, {"d3": "mood:1"})
    assert in_s3(bucket) == {"rows", "registered", "trained"}


def test_what_may_have_made_what_a_kept_run_took_from_the_cache_stays(kfp, bucket: str, leave, tmp_path, monkeypatch):
    leave("one", 90, {"split": ["d1"]})
    leave("two", 80, {"split": ["d2"]})
    leave("ingested", 75, {"ingest": ["d0"]})
    leave("cached", 60, {}, cached=("split",))
    cleaned(kfp, tmp_path, monkeypatch)
    assert in_s3(bucket) == {"one", "two"}


def test_a_run_in_progress_and_sources_that_are_named_stay(kfp: Kfp, bucket: str, leave, tmp_path: Path, monkeypatch):
    other, third = f"sources/{'b' * 64}", f"sources/{'c' * 64}"
    for source in (SOURCE, other, third):
        s3.write(b"rows", f"{bucket}/{source}/rows.csv")
        AGES[source] = 90
    leave("going", 90, {"split": ["d1"]}, state="RUNNING", parameters={"source": f"{bucket}/{SOURCE}/rows.csv"})
    leave("last", 60, {"split": ["d2"]})
    kfp.schedules = [
        {"display_name": "nightly", "runtime_config": {"parameters": {"source": f"{bucket}/{other}/rows.csv"}}}
    ]
    cleaned(kfp, tmp_path, monkeypatch)
    assert in_s3(bucket) == {"going", "last", SOURCE, other}


def test_old_checkpoints_and_logs_go_and_what_nothing_is_known_of_stays(
    kfp: Kfp, bucket: str, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
):
    AGES.clear()
    AGES.update({"checkpoints/old": 40, "stranger": 90, "logs/tidy-old": 40})
    for name in ("tidy-old", "tidy-new"):
        s3.write(b"said", f"{bucket}/v2/artifacts/logs/{name}/2026/pod/main.log")
    for key in ("checkpoints/old/state.pt", "checkpoints/new/state.pt", "v2/artifacts/tidy/stranger/a/b/c.json"):
        s3.write(b"x", f"{bucket}/{key}")
    s3.write(b"x", f"{bucket}/mlflow/1/model.onnx")
    cleaned(kfp, tmp_path, monkeypatch)
    assert in_s3(bucket) == {"checkpoints/new", "stranger", "mlflow/1", "tidy-new"}
    assert "unknown to Kubeflow Pipelines" in capsys.readouterr().out


def test_what_an_interrupted_cleaning_left_goes_with_the_next(kfp: Kfp, bucket: str, leave, tmp_path, monkeypatch):
    leave("old", 60, {"split": ["d1"]})
    leave("new", 40, {"split": ["d2"]})
    with monkeypatch.context() as patch:
        patch.setattr(storage, "delete", interrupt)
        with pytest.raises(KeyboardInterrupt):
            cleaned(kfp, tmp_path, monkeypatch)
    assert [run["run_id"] for run in kfp.runs] == ["new"], "nobody is handed what is half gone"
    cleaned(kfp, tmp_path, monkeypatch)
    assert in_s3(bucket) == {"new"}


def interrupt(uris: list[str]) -> None:
    raise KeyboardInterrupt


def test_nothing_goes_while_the_server_does_not_respond(kfp: Kfp, bucket: str, leave, tmp_path: Path, monkeypatch):
    leave("old", 60, {"split": ["d1"]})
    leave("new", 40, {"split": ["d2"]})
    monkeypatch.setattr(kfp, "server_port", 9)
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1:9"):
        cleaned(kfp, tmp_path, monkeypatch)
    assert in_s3(bucket) == {"old", "new"}
