"""The door to NVIDIA's driver: what it says where there is one, and every reason why there is none."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from toolchain.errors import ServiceError
from toolchain.hardware import gpu

# A driver of C that answers as libcuda does: one GPU of 80 GiB and CUDA 13.2, or the code that it was compiled with.
DRIVER = """
#include <stddef.h>
#include <string.h>
int cuInit(unsigned flags) { return CODE; }
int cuDeviceGetCount(int *count) { *count = CODE ? 0 : 1; return 0; }
int cuDriverGetVersion(int *version) { *version = 13020; return 0; }
int cuDeviceGet(int *device, int number) { *device = number; return 0; }
int cuDeviceGetName(char *name, int length, int device) { strncpy(name, "NVIDIA H100", length); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = 80UL << 30; return 0; }
"""
KERNEL = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27 07:16:48 UTC 2025\nGCC version: 12.2\n"
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.172.08  Release Build  (root@host)\n"


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return what compiles a driver that starts with a code, and puts it where libcuda.so.1 is looked for."""

    if shutil.which("cc") is None:
        pytest.skip("no C compiler")

    def compile_(code: int) -> None:
        target = tmp_path / f"libcuda-{code}.so"
        command = ["cc", "-shared", "-fPIC", f"-DCODE={code}", "-x", "c", "-", "-o", str(target)]
        subprocess.run(command, input=DRIVER, text=True, check=True)
        real = ctypes.CDLL
        monkeypatch.setattr(ctypes, "CDLL", lambda name, *_: real(str(target)) if "libcuda" in name else real(name))

    return compile_


def test_the_driver_shows_its_gpus_its_version_and_the_newest_cuda(library, tmp_path, monkeypatch):
    (tmp_path / "version").write_text(KERNEL)
    monkeypatch.setattr(gpu, "KERNEL_MODULE", tmp_path / "version")
    library(0)
    assert gpu.find_driver() == gpu.Driver("580.65.06", (13, 2), (gpu.Gpu("NVIDIA H100", 80 * 2**30),))


@pytest.mark.parametrize(
    ("code", "visible", "said"),
    [
        (100, "7", "CUDA_VISIBLE_DEVICES is '7', which names no GPU here"),
        (100, None, "the pod must request nvidia.com/gpu"),
        (35, None, "update the node's driver"),
        (803, None, "restart the pod"),
        (712, None, "CUresult 712"),
    ],
)
def test_a_driver_that_does_not_start_is_reported_by_its_reason(library, tmp_path, monkeypatch, code, visible, said):
    monkeypatch.setattr(gpu, "DEVICES", tmp_path)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    library(code)
    with pytest.raises(ServiceError, match=said):
        gpu.find_driver()


@pytest.mark.parametrize(
    ("version", "visible", "said"),
    [
        ("", "all", "no NVIDIA driver on this machine"),
        ("580.65.06", None, "580.65.06, but this container got nothing of it: NVIDIA_VISIBLE_DEVICES is not set"),
        ("580.65.06", "void", "'void'; the pod must request nvidia.com/gpu"),
        ("580.65.06", "all", "its runtime is not NVIDIA's"),
    ],
)
def test_a_container_without_the_drivers_library_has_it_named(version, visible, said):
    assert said in gpu.why_no_library(version, visible)


@pytest.mark.parametrize(("text", "version"), [(KERNEL, "580.65.06"), (OPEN, "570.172.08"), ("GCC version: 12.2", "")])
def test_the_drivers_version_is_read_from_the_kernel(text: str, version: str):
    assert gpu.parse_version(text) == version


def test_cudas_versions_are_read_as_the_driver_counts():
    assert [gpu.cuda_version(number) for number in (12040, 13000, 13020)] == [(12, 4), (13, 0), (13, 2)]
