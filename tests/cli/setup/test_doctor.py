"""Findings about services, the cluster's nodes and the disk."""

from pathlib import Path

import pytest

from cli.settings import Settings
from cli.setup import doctor
from toolchain.hardware.doctor import Finding
from toolchain.services import kubernetes

UNREACHABLE = "http://127.0.0.1:9"


def findings(tmp_path: Path, endpoint: str = "", tracking_uri: str = "sqlite:///mlflow.db") -> dict[str, Finding]:
    settings = Settings(tmp_path / "runs", endpoint, "", "", tracking_uri)
    return {finding.name: finding for finding in doctor.examine(settings)}


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes, "is_configured", lambda: False)


def test_without_settings_everything_is_local(tmp_path: Path):
    found = findings(tmp_path)
    assert found["engine"].there
    assert found["engine"].detail.startswith("local")
    assert str(tmp_path / "runs") in found["MLflow"].detail
    assert not found["cluster"].there
    assert "KUBECONFIG" in found["cluster"].detail


def test_services_that_do_not_respond(tmp_path: Path):
    found = findings(tmp_path, UNREACHABLE, UNREACHABLE)
    assert not found["engine"].there
    assert "KFP_ENDPOINT" in found["engine"].detail
    assert not found["MLflow"].there
    assert "MLFLOW_TRACKING_URI" in found["MLflow"].detail


def test_nodes_with_gpus_and_vnni():
    plain = kubernetes.Node("b", {}, 4.0, 2**33, {})
    gpu = kubernetes.Node("a", {"nvidia.com/gpu.product": "L4", doctor.VNNI: "true"}, 8.0, 2**33, {"nvidia.com/gpu": 2})
    gpus, vnni = doctor._nodes([gpu, plain])
    assert (gpus.there, gpus.detail) == (True, "a (2 nvidia.com/gpu, L4)")
    assert (vnni.there, vnni.detail) == (True, "a")
    gpus, vnni = doctor._nodes([plain])
    assert (gpus.there, vnni.there) == (False, False)
    assert f"{doctor.VNNI}=true" in vnni.detail


def test_a_disk_without_space_for_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert findings(tmp_path)["disk"].there
    monkeypatch.setattr(doctor, "RUN_SIZE_GB", 10**9)
    assert not findings(tmp_path)["disk"].there
