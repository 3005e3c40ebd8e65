"""What this machine computes with: ``python -m toolchain.hardware.doctor``; ``--gpu`` exits with 1 without a GPU."""

import argparse
import ctypes
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from toolchain.errors import ServiceError
from toolchain.hardware import gpu as nvidia
from toolchain.hardware.cpu import describe

# A container's limit, under control groups 2 and 1: bytes, or "max". 1 writes "no limit" as a number above any memory.
MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
FASTER_WITH = {  # instruction sets that oneDNN and OpenVINO use for INT8, and what their absence means
    "AVX512-VNNI": "INT8 gains less here: trust the measured verdict, or use a node that has it",
    "AMX-INT8": "needed only for the largest gains, at large batches",
}


@dataclass(frozen=True)
class Finding:
    there: bool
    name: str
    detail: str  # what it is, or what to do to get it

    def __str__(self) -> str:
        return f"{'✓' if self.there else '·'} {self.name:<14} {self.detail}"


def main(argv: list[str] | None = None) -> int:
    """Print the findings; return 1 when a GPU is required and PyTorch or ONNX Runtime cannot use one, else 0."""
    command = argparse.ArgumentParser(
        prog="python -m toolchain.hardware.doctor", description="What this pod computes with."
    )
    command.add_argument("--gpu", action="store_true", help="exit with 1 when no GPU can be used")
    given = command.parse_args(argv)
    usable = [*graphics()]
    print(*processor(), memory(), *usable, sep="\n")
    return 0 if not given.gpu or any(finding.there for finding in usable if finding.name in FRAMEWORKS) else 1


def processor() -> Iterator[Finding]:
    """Yield the processor, and which of the instruction sets that INT8 gains from are there."""
    found = describe()
    yield Finding(True, "processor", f"{found.name}, {found.cores} cores; verdicts here hold for {found.kind}")
    for name, advice in FASTER_WITH.items():
        there = name in found.instruction_sets
        yield Finding(there, name, "there" if there else f"not there: {advice}")


def memory() -> Finding:
    """Return how much memory this process may use."""
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = limit_of_container()
    if limit is None or limit >= whole:
        return Finding(True, "memory", f"{whole / 2**30:.1f} GiB, no limit of a container below that")
    return Finding(True, "memory", f"{limit / 2**30:.1f} GiB, this container's limit ({whole / 2**30:.1f} GiB in all)")


def limit_of_container() -> int | None:
    """Return the bytes that this container may use; None without a limit."""
    found = next((path.read_text().strip() for path in MEMORY_LIMITS if path.is_file()), "max")
    return int(found) if found.isdigit() else None


def graphics() -> Iterator[Finding]:
    """Yield the GPUs and their driver, then whether each installed framework can use them."""
    driver: nvidia.Driver | None = None
    try:
        driver = nvidia.find_driver()
    except ServiceError as error:
        yield Finding(False, "GPU", str(error))
    else:
        for gpu in driver.gpus:
            yield Finding(True, "GPU", f"{gpu.name}, {gpu.memory / 2**30:.0f} GiB")
        yield Finding(True, "driver", f"{driver.version}, runs CUDA up to {driver.cuda[0]}.{driver.cuda[1]}")
    for finding in FRAMEWORKS.values():
        yield from finding(driver)


def torch(driver: nvidia.Driver | None) -> Iterator[Finding]:
    """Yield whether PyTorch, where it is installed, can use a GPU, with its CUDA and cuDNN."""
    if find_spec("torch") is None:
        return
    import torch

    built = torch.version.cuda
    if built is None:
        yield Finding(False, "PyTorch", f"{torch.__version__}, built without CUDA: it computes on the CPU")
        return
    libraries = f"{torch.__version__}, CUDA {built}, cuDNN {_dotted(torch.backends.cudnn.version())}"  # type: ignore[no-untyped-call]  # PyTorch left it untyped
    usable = driver is not None and torch.cuda.is_available()
    yield Finding(usable, "PyTorch", f"{libraries}; {_use(usable, built, driver)}")


def onnxruntime(driver: nvidia.Driver | None) -> Iterator[Finding]:
    """Yield whether ONNX Runtime, where it is installed, can use a GPU, or which library it lacks."""
    if find_spec("onnxruntime") is None:
        return
    import onnxruntime

    version, providers = onnxruntime.__version__, onnxruntime.get_available_providers()
    if "CUDAExecutionProvider" not in providers:
        yield Finding(False, "ONNX Runtime", f"{version}, the package without CUDA: it computes on the CPU")
        return
    from onnxruntime.capi import build_and_package_info

    built = str(build_and_package_info.cuda_version)
    missing = _library_missing(Path(onnxruntime.__file__).parent / "capi")
    usable = driver is not None and not missing
    status = f"its CUDA part does not load: {missing}" if missing else _use(usable, built, driver)
    yield Finding(usable, "ONNX Runtime", f"{version}, CUDA {built}; {status}")


FRAMEWORKS = {"PyTorch": torch, "ONNX Runtime": onnxruntime}


def _use(usable: bool, built: str, driver: nvidia.Driver | None) -> str:
    if usable:
        return "uses the GPU"
    if driver is None:
        return "computes on the CPU, since there is no GPU"
    if int(built.split(".")[0]) > driver.cuda[0]:
        return f"computes on the CPU: the driver runs CUDA up to {driver.cuda[0]}.{driver.cuda[1]}, update it"
    return "computes on the CPU, though driver and GPU work: see its warnings"


def _library_missing(folder: Path) -> str:
    """Return the loader's message about what ONNX Runtime's CUDA part in ``folder`` lacks; "" when it loads."""
    try:
        for part in ("shared", "cuda"):
            ctypes.CDLL(str(folder / f"libonnxruntime_providers_{part}.so"), mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        return str(error)
    return ""


def _dotted(cudnn: int | None) -> str:
    """Return "9.26.0" for 92600, as cuDNN 9 counts."""
    return f"{cudnn // 10000}.{cudnn // 100 % 100}.{cudnn % 100}" if cudnn else "missing"


if __name__ == "__main__":
    sys.exit(main())
