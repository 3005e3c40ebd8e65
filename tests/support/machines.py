"""Other machines, for tests that must hold on each: ``pytest --processor KIND``; the time zone is that of TZ."""

import platform
from pathlib import Path

from toolchain.hardware import cpu

AVX2 = "fpu sse sse2 avx avx2 fma"
VNNI = f"{AVX2} avx512f avx512_vnni"
AMX = f"{VNNI} avx_vnni avx512_bf16 amx_bf16 amx_int8"
PROCESSORS = {  # by the word of --processor: its architecture, and what Linux says of it in /proc/cpuinfo
    "avx2": ("x86_64", f"model name: AMD EPYC 7B12\nflags: {AVX2}\n"),
    "vnni": ("x86_64", f"model name: Intel(R) Xeon(R) Gold 6248\nflags: {VNNI}\n"),
    "amx": ("x86_64", f"model name: Intel(R) Xeon(R) Platinum 8481C\nflags: {AMX}\n"),
    "arm64": ("aarch64", "Features: fp asimd asimddp i8mm sve\nCPU implementer: 0x41\nCPU part: 0xd40\n"),
}


def pretend(kind: str, folder: Path) -> None:
    """Let this process find itself on a processor of ``kind``, by a file in ``folder``; what it starts does not."""
    architecture, told = PROCESSORS[kind]
    cpu.CPUINFO = folder / "cpuinfo"
    cpu.CPUINFO.write_text(told, encoding="utf-8")
    platform.machine = lambda: architecture
