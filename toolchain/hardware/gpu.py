"""Query NVIDIA's driver for the GPUs that this process may use, or for the reason that there is none."""

import ctypes
import os
import re
from dataclasses import dataclass
from pathlib import Path

from toolchain.errors import ServiceError

KERNEL_MODULE = Path("/proc/driver/nvidia/version")  # seen inside containers too, whether they got the GPU or not
DEVICES = Path("/dev")
HIDDEN = {"", "none", "void"}  # values of NVIDIA_VISIBLE_DEVICES with which NVIDIA's container runtime gives no GPU

# Results of cuInit (CUDA Driver API, CUresult), each with what to do.
CODES = {
    3: "CUDA is shutting down: start the process again",
    34: "the driver's library is a stub for building: take its folder out of LD_LIBRARY_PATH",
    35: "the driver is older than its library here: update the node's driver",
    46: "the GPU is not available, another process holds it alone: free it",
    100: "the driver finds no GPU",
    101: "the driver rejects the requested GPU: check CUDA_VISIBLE_DEVICES",
    803: "the driver and its library here are of different versions: restart the pod, the node was updated under it",
    804: "this GPU does not run CUDA's forward compatibility: update the node's driver",
    999: "the driver fails without a reason: see the node's kernel log (dmesg)",
}


@dataclass(frozen=True)
class Gpu:
    name: str
    memory: int  # bytes


@dataclass(frozen=True)
class Driver:
    """NVIDIA's working driver."""

    version: str  # "580.65.06"; "" when the kernel does not report it
    cuda: tuple[int, int]  # the newest CUDA that it runs; older ones of the same major version run too
    gpus: tuple[Gpu, ...]  # at least one


def find_driver() -> Driver:
    """Return the driver and the GPUs that it lets this process use.

    Raises:
        ServiceError: this process has no GPU; the message names the missing part, and what to do.
    """
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise ServiceError(why_no_library(_version(), os.environ.get("NVIDIA_VISIBLE_DEVICES"))) from error
    code = library.cuInit(0)
    count = ctypes.c_int(0)
    if code == 0:
        library.cuDeviceGetCount(ctypes.byref(count))
    if code or not count.value:
        raise ServiceError(why_no_device(code or 100, os.environ.get("CUDA_VISIBLE_DEVICES")))
    cuda = ctypes.c_int(0)
    library.cuDriverGetVersion(ctypes.byref(cuda))
    return Driver(_version(), cuda_version(cuda.value), tuple(_gpu(library, number) for number in range(count.value)))


def why_no_library(version: str, visible: str | None) -> str:
    """Return why libcuda.so.1 is not here, given the kernel module's ``version`` ("" for none) and the value of
    NVIDIA_VISIBLE_DEVICES (None when it is not set)."""
    if not version:
        return "no NVIDIA driver on this machine: use a node with a GPU, or install the driver"
    here = f"the machine has NVIDIA's driver {version}, but this container got nothing of it"
    if visible is None:
        return f"{here}: NVIDIA_VISIBLE_DEVICES is not set; use an image that sets it (train, serve-gpu)"
    if visible in HIDDEN:
        return f"{here}: NVIDIA_VISIBLE_DEVICES is {visible!r}; the pod must request nvidia.com/gpu"
    return f"{here}: its runtime is not NVIDIA's; install the GPU operator (or the container toolkit) on the node"


def why_no_device(code: int, visible: str | None) -> str:
    """Return why CUDA does not start with ``code``, given the value of CUDA_VISIBLE_DEVICES (None when not set)."""
    if code == 100 and visible is not None:
        return f"CUDA_VISIBLE_DEVICES is {visible!r}, which names no GPU here: unset it"
    if code == 100 and not list(DEVICES.glob("nvidia[0-9]*")):
        return "the driver's library is here but no /dev/nvidia0: the pod must request nvidia.com/gpu"
    return CODES.get(code, f"CUDA does not start (CUresult {code}): see NVIDIA's list of CUresult")


def cuda_version(number: int) -> tuple[int, int]:
    """Return CUDA's version (13, 2) for the ``number`` 13020 that the driver gives."""
    return number // 1000, number % 1000 // 10


def parse_version(text: str) -> str:
    """Return the driver's version in the kernel module's ``text``; "" when it holds none."""
    found = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)", text)
    return found[1] if found else ""


def _version() -> str:
    return parse_version(KERNEL_MODULE.read_text(errors="replace")) if KERNEL_MODULE.is_file() else ""


def _gpu(library: ctypes.CDLL, number: int) -> Gpu:
    device, memory, name = ctypes.c_int(0), ctypes.c_size_t(0), ctypes.create_string_buffer(128)
    library.cuDeviceGet(ctypes.byref(device), number)
    library.cuDeviceGetName(name, len(name), device)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    return Gpu(name.value.decode(errors="replace"), memory.value)
