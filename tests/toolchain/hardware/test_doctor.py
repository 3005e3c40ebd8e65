"""What a pod says of its processor, its memory and its GPU."""

import subprocess
import sys
from pathlib import Path

import pytest

from toolchain.errors import ServiceError
from toolchain.hardware import doctor, gpu

pytestmark = pytest.mark.machine
H100 = gpu.Driver("580.65.06", (13, 2), (gpu.Gpu("NVIDIA H100", 80 * 2**30),))


def findings(driver: gpu.Driver | str, monkeypatch: pytest.MonkeyPatch) -> dict[str, doctor.Finding]:
    """Return what is found where the driver is ``driver``, or missing for that reason."""

    def ask() -> gpu.Driver:
        if isinstance(driver, str):
            raise ServiceError(driver)
        return driver

    monkeypatch.setattr(gpu, "find_driver", ask)
    return {finding.name: finding for finding in doctor.graphics()}


def test_it_runs_automatically_and_requests_nothing_of_kubeflow():
    command = [sys.executable, "-X", "importtime", "-m", "toolchain.hardware.doctor"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "cores; verdicts here hold for" in answer.stdout
    assert "GiB" in answer.stdout
    assert " kfp" not in answer.stderr


def test_without_a_gpu_the_reason_is_reported_and_asking_for_one_fails(monkeypatch, capsys):
    found = findings("no NVIDIA driver on this machine: use another", monkeypatch)
    assert not found["GPU"].there
    assert found["GPU"].detail == "no NVIDIA driver on this machine: use another"
    assert "driver" not in found
    assert doctor.main(["--gpu"]) == 1
    assert doctor.main([]) == 0
    assert "no NVIDIA driver on this machine" in capsys.readouterr().out


def test_a_gpu_is_reported_with_its_driver(monkeypatch):
    found = findings(H100, monkeypatch)
    assert str(found["GPU"]) == "✓ GPU            NVIDIA H100, 80 GiB"
    assert found["driver"].detail == "580.65.06, runs CUDA up to 13.2"


def test_the_package_without_cuda_is_reported_even_where_there_is_a_gpu(monkeypatch):
    found = findings(H100, monkeypatch)["ONNX Runtime"]
    assert not found.there
    assert "the package without CUDA" in found.detail


@pytest.mark.parametrize(
    ("driver", "said"),
    [
        (H100, "driver and GPU work"),
        (gpu.Driver("550.54", (12, 4), H100.gpus), "the driver runs CUDA up to 12.4, update it"),
        (None, "since there is no GPU"),
    ],
)
def test_a_framework_that_does_not_use_the_gpu_gives_the_reason(driver: gpu.Driver | None, said: str):
    assert said in doctor._use(False, "13.2", driver)


def test_a_library_that_is_missing_is_named(tmp_path: Path):
    assert "libonnxruntime_providers_shared.so: cannot open shared object file" in doctor._library_missing(tmp_path)


def test_pytorchs_libraries_are_reported_as_their_makers_count():
    assert (doctor._dotted(92600), doctor._dotted(91002), doctor._dotted(None)) == ("9.26.0", "9.10.2", "missing")


@pytest.mark.parametrize(("written", "bytes_"), [("536870912\n", 2**29), ("max\n", None)])
def test_the_memory_of_a_container_is_its_limit(tmp_path, monkeypatch, written: str, bytes_: int | None):
    (tmp_path / "memory.max").write_text(written)
    monkeypatch.setattr(doctor, "MEMORY_LIMITS", (tmp_path / "memory.max",))
    assert doctor.limit_of_container() == bytes_
    assert doctor.memory().detail.startswith("0.5 GiB, this container's limit") == (bytes_ is not None)
