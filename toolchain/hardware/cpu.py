"""Describe this machine's processor and its INT8 instructions, on which the gate's verdict depends."""

import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # cgroup v2: "200000 100000" (microseconds in each period) or "max 100000"

# Instruction sets that decide how fast a network runs: the kernel's (or macOS's) name, then the common one.
INSTRUCTION_SETS = {
    "avx2": "AVX2",
    "fma": "FMA",
    "avx_vnni": "AVX-VNNI",
    "avx512f": "AVX512",
    "avx512_vnni": "AVX512-VNNI",
    "avx512_bf16": "AVX512-BF16",
    "amx_int8": "AMX-INT8",
    "amx_bf16": "AMX-BF16",
    "asimd": "NEON",
    "asimddp": "DOTPROD",
    "i8mm": "I8MM",
    "sve": "SVE",
}

# The kind is the best INT8 path: the first whose instruction set is there.
KINDS = {
    "AMX-INT8": "amx",
    "AVX512-VNNI": "avx512-vnni",
    "AVX-VNNI": "avx-vnni",
    "AVX512": "avx512",
    "AVX2": "avx2",
    "DOTPROD": "neon-dotprod",
    "NEON": "neon",
}
BASELINE = "baseline"  # none of them: plain SSE, or a processor that is not known here
INT8_DOT_PRODUCTS = {"amx", "avx512-vnni", "avx-vnni", "neon-dotprod"}  # one instruction multiplies and sums INT8

# ARM names no model in /proc/cpuinfo, only numbers (Linux, arch/arm64/include/asm/cputype.h).
ARM_PARTS = {
    ("0x41", "0xd08"): "ARM Cortex-A72",
    ("0x41", "0xd0c"): "ARM Neoverse-N1",
    ("0x41", "0xd40"): "ARM Neoverse-V1",
    ("0x41", "0xd49"): "ARM Neoverse-N2",
    ("0x41", "0xd4f"): "ARM Neoverse-V2",
}


@dataclass(frozen=True)
class Processor:
    """The processor that this process may use."""

    name: str  # as its maker calls it
    kind: str  # short name of its best INT8 path, one of KINDS, or BASELINE
    instruction_sets: tuple[str, ...]  # those of INSTRUCTION_SETS that it has, in that order
    cores: int  # that this process may use: affinity and the container's CPU quota count

    @property
    def has_int8_dot_products(self) -> bool:
        """Whether one instruction multiplies and sums INT8; without it INT8 arithmetic gains little over FP32."""
        return self.kind in INT8_DOT_PRODUCTS


def describe() -> Processor:
    """Return the processor that this process runs on."""
    name, flags = _read()
    return from_flags(name, flags, usable_cores())


def from_flags(name: str, flags: Iterable[str], cores: int) -> Processor:
    """Return the processor ``name`` whose feature flags (as Linux names them) are ``flags``."""
    present = set(flags)
    sets = tuple(flag_name for flag, flag_name in INSTRUCTION_SETS.items() if flag in present)
    kind = next((kind for flag_name, kind in KINDS.items() if flag_name in sets), BASELINE)
    return Processor(name=name, kind=kind, instruction_sets=sets, cores=cores)


def parse_cpuinfo(text: str) -> tuple[str, list[str]]:
    """Return the name and the feature flags of the first processor of /proc/cpuinfo's ``text``."""
    first = text.strip().split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    values = {key.strip(): value.strip() for key, _, value in pairs}
    flags = values.get("flags") or values.get("Features") or ""
    part = values.get("CPU implementer", ""), values.get("CPU part", "")
    name = values.get("model name") or ARM_PARTS.get(part) or f"{platform.machine()} {' '.join(part)}".strip()
    return name, flags.split()


def parse_sysctl(text: str) -> tuple[str, list[str]]:
    """Return the name and the feature flags (as Linux names them) in the lines of macOS's ``sysctl``."""
    pairs = (line.partition(":") for line in text.splitlines())
    values = {key.strip(): value.strip() for key, _, value in pairs}
    flags = [
        flag_name.lower()
        for key in ("machdep.cpu.features", "machdep.cpu.leaf7_features")
        for flag_name in values.get(key, "").split()
    ]
    arm = {"AdvSIMD": "asimd", "arm.FEAT_DotProd": "asimddp", "arm.FEAT_I8MM": "i8mm"}
    flags += [flag for key, flag in arm.items() if values.get(f"hw.optional.{key}") == "1"]
    return values.get("machdep.cpu.brand_string", platform.machine()), flags


def usable_cores() -> int:
    """Return the cores that this process may use: those it may run on, at most its container's quota, rounded up."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, _quota(CPU_QUOTA.read_text() if CPU_QUOTA.is_file() else "max 100000")))


def _quota(text: str) -> int:
    granted, _, period = text.partition(" ")
    return sys.maxsize if granted == "max" else math.ceil(int(granted) / int(period))


def _read() -> tuple[str, list[str]]:
    if CPUINFO.is_file():
        return parse_cpuinfo(CPUINFO.read_text(encoding="utf-8", errors="replace"))
    if sys.platform == "darwin":
        command = ["sysctl", "machdep.cpu", "hw.optional"]
        return parse_sysctl(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    return platform.processor() or platform.machine(), []
