"""What a run cost, against sums done by hand."""

from pathlib import Path
from typing import Any

import pytest

from cli.records import runs
from cli.records.cost import Cost, Prices, cost_of, log_cost, read_prices, step_cost, with_prices
from cli.records.runs import Run, StepRecord
from cli.settings import Settings
from toolchain.artifacts.measurement import new_measurement
from toolchain.artifacts.provenance import Work
from toolchain.errors import ConfigError

pytestmark = pytest.mark.machine
PRICES = Prices("EUR", 0.04, 0.005, {"nvidia.com/gpu": 2.5})


def pod(started: str, finished: str, gpus: int = 0) -> dict:
    return {
        "name": "p",
        "cpu": 2.0,
        "memory_bytes": 4 << 30,
        "gpus": gpus,
        "started": started and f"2026-11-25T{started}+00:00",
        "finished": finished and f"2026-11-25T{finished}+00:00",
    }


def cluster_run(*pods: dict, state: str = runs.SUCCEEDED) -> Run:
    step = StepRecord("train", "train.torch_text", "", pods=list(pods))
    began = "2026-11-25T10:00:00+00:00"
    return Run("r", "p", Path("/"), {}, [step], state, began, seconds=7200, engine=runs.CLUSTER)


def registering(folder: Path, run_id: str, **state: Any) -> StepRecord:
    """Return a step, under any name, whose output is a registration in the MLflow run ``run_id``."""
    with new_measurement(folder / "registered", "registration", Work("publish", None)) as writer:
        writer.data = {"run_id": run_id}
    outputs = {"published": str(folder / "registered")}
    return StepRecord("publish", "release.publish", "", state=runs.SUCCEEDED, outputs=outputs, **state)


def test_a_pod_costs_what_it_requested_as_long_as_it_was_at_work():
    cost = cost_of(cluster_run(pod("10:00:00", "10:30:00", gpus=1)))
    assert cost == Cost(1.0, 2.0, {"nvidia.com/gpu": 0.5})
    assert cost.money(PRICES) == pytest.approx(0.04 + 0.01 + 1.25)
    assert cost.text(PRICES) == "1.0000 core-hours, 2.0000 GiB-hours, 0.5000 hours of nvidia.com/gpu: 1.3000 EUR"


def test_every_attempt_costs_and_one_that_never_started_does_not():
    cost = cost_of(cluster_run(pod("10:00:00", "10:15:00"), pod("", ""), pod("10:20:00", "10:35:00")))
    assert cost.cpu_hours == pytest.approx(1.0)


def test_a_pod_whose_end_was_not_seen_costs_until_the_end_of_its_run():
    assert cost_of(cluster_run(pod("11:00:00", ""))).cpu_hours == pytest.approx(2.0)


def test_on_one_machine_all_cores_cost_for_as_long_as_a_step_was_at_work(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    steps = [
        StepRecord("a", "data.clean", "", seconds=900.0),
        StepRecord("b", "data.split", "", seconds=9, cached=True),
    ]
    run = Run("r", "p", Path("/"), {}, steps, runs.SUCCEEDED, "2026-11-25T10:00:00+00:00")
    assert step_cost(steps[1], run) == Cost()
    assert cost_of(run) == Cost(2.0)


def test_no_money_is_named_where_a_price_is_missing():
    cost = Cost(1.0, 1.0, {"amd.com/gpu": 1.0})
    assert cost.money(PRICES) is None
    assert Cost(1.0).money(Prices()) is None
    assert "manifests/prices.yaml" in cost.text(PRICES)


def test_the_projects_own_table_knows_no_price():
    assert not read_prices().known


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cpu_hours: 1", "did you mean 'cpu_hour'"),
        ("cpu_hour: -1", "cpu_hour is -1"),
        ("cpu_hour: .nan", "0 or more"),
        ("gpu_hour: {nvidia.com/gpu: x}", "nvidia.com/gpu is 'x'"),
        ("gpu_hour: 2", "by name"),
        ("currency: 3", "currency"),
        ("- 1", "one price per line"),
        ("a: [", "not a readable"),
    ],
)
def test_a_table_that_cannot_be_is_rejected(tmp_path: Path, text: str, said: str):
    (tmp_path / "prices.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_prices(tmp_path / "prices.yaml")


def test_a_table_is_read_as_it_is_written(tmp_path: Path):
    (tmp_path / "prices.yaml").write_text(
        "currency: EUR\ncpu_hour: 0.04\nmemory_gib_hour: 0.005\ngpu_hour: {nvidia.com/gpu: 2.5}\n"
    )
    assert read_prices(tmp_path / "prices.yaml") == PRICES
    assert read_prices(tmp_path / "missing.yaml") == Prices()


def test_the_report_takes_the_tables_prices_unless_a_person_gave_some():
    values = {"price_per_cpu_hour": 0.0, "price_per_gpu_hour": 0.0, "currency": "USD", "rows": 3}
    assert with_prices(values, PRICES) == {
        "price_per_cpu_hour": 0.04,
        "price_per_gpu_hour": 2.5,
        "currency": "EUR",
        "rows": 3,
    }
    given = values | {"price_per_cpu_hour": 1.0}
    assert with_prices(given, PRICES) == given
    assert with_prices({"rows": 3}, PRICES) == {"rows": 3}


def test_the_cost_is_logged_to_the_runs_own_run_in_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri)
    own = client.create_run(client.create_experiment("toolchain"), tags={"toolchain.run": "r"}).info.run_id
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    run = cluster_run(pod("10:00:00", "10:30:00", gpus=1))
    run.engine = runs.LOCAL
    run.steps = [registering(tmp_path, own, seconds=3600.0)]
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    log_cost(run, PRICES, Settings(tmp_path, "", "", "", uri))
    data = client.get_run(own).data
    assert data.metrics["cost.core_hours"] == pytest.approx(2.0)
    assert data.metrics["cost.money"] == pytest.approx(0.08)
    assert data.tags["toolchain.currency"] == "EUR"


def test_a_run_whose_registration_was_cached_leaves_the_other_runs_cost_alone(tmp_path: Path):
    run = cluster_run()
    run.engine = runs.LOCAL
    run.steps = [registering(tmp_path, "other", cached=True)]
    log_cost(run, PRICES, Settings(tmp_path, "", "", "", f"sqlite:///{tmp_path / 'mlflow.db'}"))
    assert not (tmp_path / "mlflow.db").exists()
