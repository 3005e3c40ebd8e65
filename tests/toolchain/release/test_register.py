import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from toolchain.artifacts.dataset import open_dataset
from toolchain.artifacts.expected import read_expected
from toolchain.artifacts.measurement import open_measurement
from toolchain.artifacts.model import open_model
from toolchain.artifacts.variants import open_variants
from toolchain.errors import ConfigError, DataError, ServiceError
from toolchain.lifecycle import registry
from toolchain.release import fetch, register
from toolchain.services import mlflow as door
from toolchain.services import mlflow_live
from toolchain.services.mlflow import Tracker

Reported = Callable[..., tuple[Any, Path]]
VARIANTS = ["fp32", "int8-dynamic", "int8-openvino"]


def registered(artifacts: tuple[Any, Path], target: Path, **settings: Any) -> register.Result:
    places, report = artifacts
    config = register.Config(**{"pipeline": "bert_finetune", **settings})
    return register.run(places.variants, places.dataset, places.accuracy, places.verdict, report, target, config)


def client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(uri, uri)


@pytest.fixture(scope="module")
def artifacts(reported: Reported) -> tuple[Any, Path]:
    return reported()


@pytest.fixture
def once(artifacts: tuple[Any, Path], tmp_path: Path, registry_uri: str) -> dict[str, Any]:
    """What a registration under a name of its own says of itself."""
    registered(artifacts, tmp_path / "registration", model_name=tmp_path.name)
    return open_measurement(tmp_path / "registration", "registration").data


def test_every_variant_becomes_a_version_with_its_digest_and_where_it_came_from(
    once: dict[str, Any], artifacts: tuple[Any, Path], registry_uri: str
):
    variants, dataset = open_variants(artifacts[0].variants), open_dataset(artifacts[0].dataset)
    assert list(once["versions"]) == VARIANTS
    for name, number in once["versions"].items():
        version = client(registry_uri).get_model_version(once["model"], number)
        assert version.tags["variant"] == name
        assert version.tags["digest"] == variants.models[name].digest
        assert version.tags["dataset"] == dataset.digest
        assert version.tags["source_sha256"] == "5d97c37f" * 8
        assert version.tags["base_sha256"] == "53aa5117" * 8
        assert version.tags["processor"] == "avx2"
        steps = [line.split()[0] for line in version.tags["lineage"].splitlines()]
        assert steps[:3] == ["data.ingest", "augment.text", "train.torch_text"]


def test_verdict_stands_on_each_version(once: dict[str, Any], registry_uri: str):
    tags = {
        name: client(registry_uri).get_model_version(once["model"], number).tags
        for name, number in once["versions"].items()
    }
    assert [tags[name]["accurate"] for name in VARIANTS] == ["true", "true", "false"]
    assert [tags[name]["faster.avx2"] for name in VARIANTS] == ["false", "true", "false"]
    assert [bool(tags[name]["rejection.avx2"]) for name in VARIANTS] == [False, False, True]
    assert float(tags["int8-dynamic"]["speedup"]) == pytest.approx(42.8 / 25.6, abs=1e-3)


def test_predictions_of_another_architecture_are_on_the_versions_that_were_tried(
    once: dict[str, Any], registry_uri: str
):
    tags = {
        name: client(registry_uri).get_model_version(once["model"], number).tags
        for name, number in once["versions"].items()
    }
    told = "1 of 1 recorded rows have the same label, 1 with scores within 0.02; the largest difference is 0.01"
    assert [tags[name].get("parity.arm64") for name in VARIANTS] == [told, told, None]


def test_the_winner_is_the_candidate_here_and_on_its_kind_of_processor(once: dict[str, Any], registry_uri: str):
    assert once["candidate"] == "int8-dynamic"
    for alias in ("candidate", "candidate-avx2"):
        found = client(registry_uri).get_model_version_by_alias(once["model"], alias)
        assert str(found.version) == once["versions"]["int8-dynamic"]


def test_the_pipeline_is_one_run_with_a_nested_run_for_each_step(once: dict[str, Any], registry_uri: str):
    place = client(registry_uri).get_experiment_by_name(once["experiment"]).experiment_id
    nested = client(registry_uri).search_runs([place], f"tags.`mlflow.parentRunId` = '{once['run_id']}'")
    assert sorted(run.info.run_name for run in nested) == [
        "augment.text",
        "data.ingest",
        "data.validate",
        "evaluate.accuracy",
        "evaluate.gate",
        "evaluate.latency",
        "evaluate.parity",
        "evaluate.platform_parity",
        "export.onnx",
        "optimize.quantize",
        "release.register",
        "release.report",
        "train.torch_text",
    ]
    assert {run.info.status for run in nested} == {"FINISHED"}
    assert all(run.info.end_time >= run.info.start_time for run in nested)
    gate = next(run for run in nested if run.info.run_name == "evaluate.gate")
    assert gate.data.params["agreement"] == "0.97"
    assert gate.data.metrics["speedup"] == pytest.approx(42.8 / 25.6)
    whole = client(registry_uri).get_run(once["run_id"])
    assert whole.data.params["evaluate.gate.min_speedup"] == "1.05"
    assert whole.data.metrics["int8-dynamic.p50_ms"] == pytest.approx(25.6)
    assert {one.path for one in client(registry_uri).list_artifacts(once["run_id"], "report")} >= {
        "report/report.html", "report/report.json",
    }  # fmt: skip


def test_recorded_predictions_are_kept_beside_the_files_of_their_version(
    once: dict[str, Any], artifacts: tuple[Any, Path], tmp_path: Path, registry_uri: str
):
    version = next(one for one in Tracker().versions(once["model"]) if one.number == once["versions"]["int8-dynamic"])
    model = open_model(Tracker().download(version.run, version.path, tmp_path))
    kept = read_expected(model.path)
    assert kept is not None
    assert kept.model == model.digest == version.tags["digest"]
    assert kept.rows[0].scores == (0.25, 0.75)


def test_registering_again_adds_nothing(artifacts: tuple[Any, Path], tmp_path: Path, registry_uri: str):
    first = registered(artifacts, tmp_path / "one", model_name="twice")
    again = registered(artifacts, tmp_path / "two", model_name="twice")
    one, two = (open_measurement(tmp_path / name, "registration").data for name in ("one", "two"))
    assert (first.added, again.added) == (3, 0)
    assert (one["versions"], one["run_id"]) == (two["versions"], two["run_id"])
    assert len(client(registry_uri).search_model_versions("name = 'twice'")) == 3
    place = client(registry_uri).get_experiment_by_name(one["experiment"]).experiment_id
    nested = client(registry_uri).search_runs([place], f"tags.`mlflow.parentRunId` = '{one['run_id']}'")
    assert len(nested) == 13


def test_another_training_adds_its_versions_and_moves_the_candidate(
    artifacts: tuple[Any, Path], reported: Reported, tmp_path: Path, registry_uri: str
):
    registered(artifacts, tmp_path / "one", model_name="retrained")
    registered(reported(seed=1), tmp_path / "two", model_name="retrained")
    found = client(registry_uri).search_model_versions("name = 'retrained'")
    assert sorted(int(one.version) for one in found) == [1, 2, 3, 4, 5, 6]
    assert str(client(registry_uri).get_model_version_by_alias("retrained", "candidate").version) == "5"


@pytest.mark.parametrize("calls", [1, 3, 4, 9])
def test_a_registration_that_was_cut_off_ends_the_same_when_run_again(
    artifacts: tuple[Any, Path], tmp_path: Path, registry_uri: str, monkeypatch: pytest.MonkeyPatch, calls: int
):
    name, uploads = f"cut-{calls}", [0]
    whole = door.Tracker.upload

    def cut(self: door.Tracker, run: str, folder: Path, path: str) -> None:
        uploads[0] += 1
        if uploads[0] == calls:
            raise KeyboardInterrupt
        whole(self, run, folder, path)

    monkeypatch.setattr(door.Tracker, "upload", cut)
    if calls <= 8:  # the report, the test rows, three variants and the answers of each: a ninth upload never comes
        with pytest.raises(KeyboardInterrupt):
            registered(artifacts, tmp_path / "registration", model_name=name)
        assert not (tmp_path / "registration").exists()
        assert registry.find(door.Tracker(), name) is None
    registered(artifacts, tmp_path / "registration", model_name=name)
    data = open_measurement(tmp_path / "registration", "registration").data
    assert data["versions"] == {"fp32": "1", "int8-dynamic": "2", "int8-openvino": "3"}


def test_the_live_run_of_training_becomes_its_nested_run(
    reported: Reported, tmp_path: Path, registry_uri: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "adopting")
    with mlflow_live.live_run("train.torch_text", {}) as live:
        live.log(1, loss=0.5)
        artifacts = reported(seed=7)
    registered(artifacts, tmp_path / "registration", model_name="adopted")
    data = open_measurement(tmp_path / "registration", "registration").data
    place = client(registry_uri).get_experiment_by_name("adopting").experiment_id
    found = client(registry_uri).search_runs([place], "tags.`toolchain.step` = 'train.torch_text'")
    assert [run.data.tags["mlflow.parentRunId"] for run in found] == [data["run_id"]]
    assert found[0].data.metrics["loss"] == 0.5
    assert found[0].data.metrics["validation_accuracy"] == 0.862


def test_a_live_run_of_another_time_is_left_alone(
    artifacts: tuple[Any, Path], tmp_path: Path, registry_uri: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "later")
    time.sleep(2.1)  # beyond what a start known to the second may hide
    with mlflow_live.live_run("train.torch_text", {}) as live:
        live.log(1, loss=0.5)
    registered(artifacts, tmp_path / "registration", model_name="later")
    place = client(registry_uri).get_experiment_by_name("later").experiment_id
    assert len(client(registry_uri).search_runs([place], "tags.`toolchain.step` = 'train.torch_text'")) == 2


def test_without_test_rows_none_are_kept(artifacts: tuple[Any, Path], tmp_path: Path, registry_uri: str):
    registered(artifacts, tmp_path / "registration", model_name="rowless", keep_test_rows=False)
    with pytest.raises(DataError, match="rowless was registered without its test rows"):
        fetch.run(tmp_path / "variants", tmp_path / "dataset", fetch.Config(model="rowless"))


def test_versions_of_a_run_that_must_be_approved_show_it(
    artifacts: tuple[Any, Path], tmp_path: Path, registry_uri: str
):
    for run in ("first-1", "second-2"):
        registered(artifacts, tmp_path / run, model_name=tmp_path.name, run=run, require_approval=True)
    versions = Tracker().versions(tmp_path.name)
    assert [one.tags[registry.TAG_APPROVAL] for one in versions] == ["first-1"] * len(VARIANTS), (
        "the same files wait once"
    )


def test_no_user_can_approve_a_run_without_a_name():
    with pytest.raises(ConfigError, match="approval is set, but run is empty"):
        register.Config(require_approval=True)


def test_rejects_a_report_on_another_verdict(
    artifacts: tuple[Any, Path], reported: Reported, tmp_path: Path, registry_uri: str
):
    other = reported(names=("fp32", "int8-dynamic", "int8-openvino", "openvino"))
    with pytest.raises(DataError, match="report again"):
        registered((artifacts[0], other[1]), tmp_path / "registration")
    assert not (tmp_path / "registration").exists()


def test_a_server_that_is_down_leaves_nothing_half_written(
    artifacts: tuple[Any, Path], tmp_path: Path, registry_uri: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(ServiceError, match=r"MLflow at http://127.0.0.1:9 does not respond; start it"):
        registered(artifacts, tmp_path / "registration")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a/b", ":1", "a'b", "-a"])
def test_rejects_a_name_that_mlflow_cannot_hold(name: str):
    with pytest.raises(ConfigError, match="model_name is"):
        register.Config(model_name=name)


@pytest.mark.parametrize("name", ["reviews", "reviews@candidate", "reviews:3"])
def test_what_was_fetched_by_alias_or_version_is_registered_under_its_name(name: str):
    assert register._model_name(register.Config(model_name=name, pipeline="measure")) == "reviews"


def test_the_lineage_of_each_registered_variant_can_be_requested(once: dict[str, Any], artifacts: tuple[Any, Path]):
    lineages = registry.registered_lineages(Tracker(), once["model"])
    models = open_variants(artifacts[0].variants).models
    assert {name: lineage[-1].digest for name, lineage in lineages.items()} == {
        name: model.digest for name, model in models.items()
    }
    assert registry.registered_lineages(Tracker(), "nobody") == {}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A real MLflow server that hands files on itself, as one in a cluster does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/server.db",
        "--artifacts-destination",
        f"{tmp_path}/files",
    ]
    with (tmp_path / "server.log").open("w") as log:
        quiet = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # five processes that nothing here needs
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path, env=quiet, start_new_session=True)
        try:
            wait_for(f"http://127.0.0.1:{port}/health", process)
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def wait_for(address: str, process: "subprocess.Popen[bytes]", seconds: float = 240) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5)
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the MLflow server did not start")


@pytest.mark.slow
def test_registers_with_a_real_server_and_fetches_back(artifacts: tuple[Any, Path], tmp_path: Path, server: str):
    registered(artifacts, tmp_path / "registration", model_name="served")
    assert registered(artifacts, tmp_path / "again", model_name="served").added == 0
    result = fetch.run(tmp_path / "variants", tmp_path / "dataset", fetch.Config(model="served@candidate"))
    assert (result.variants, result.rows) == (3, 600)
    assert open_variants(tmp_path / "variants").digest == open_variants(artifacts[0].variants).digest
    found = client(server).get_model_version_by_alias("served", "candidate")
    assert found.source.startswith("mlflow-artifacts:")
    assert json.loads((tmp_path / "variants" / "int8-dynamic" / "model.json").read_text())["variant"] == "int8-dynamic"
