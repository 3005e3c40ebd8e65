"""Run an arm64 Python: this machine's own on an arm64 processor, otherwise one under QEMU.

QEMU's folder is created by ``make arm64``: ``qemu`` holds the emulator, ``root`` Debian's Python for
arm64, ``site`` the packages that inference needs, and environment.json lists their versions.
"""

import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import toolchain
from toolchain.artifacts.folder import read_json
from toolchain.errors import ArtifactError, ServiceError

ARM64 = {"aarch64", "arm64"}  # what Linux and macOS call it
FORMAT = "toolchain.arm64"
DESCRIPTION = "environment.json"
ROOT, SITE = "root", "site"
EMULATORS = ("qemu/usr/bin/qemu-aarch64-static", "qemu/usr/bin/qemu-aarch64")  # up to Debian 12, and from 13 on
PROCESSOR = "neoverse-n1"  # what QEMU acts as: what arm64 servers have at least, INT8 dot products included
SOURCES = Path(toolchain.__file__).absolute().parents[1]  # where Python finds this very toolchain

# Without it programs read that of this machine's own processor, which is of another kind, and ONNX Runtime crashes.
CPUINFO = """\
processor\t: 0
BogoMIPS\t: 50.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1
"""


@dataclass(frozen=True)
class Python:
    """An arm64 Python with the packages that inference needs."""

    by: str  # readable name of the emulator
    command: tuple[str, ...]
    environment: dict[str, str] | None = None  # variables; None for those of this process

    def run(self, argv: Sequence[str], seconds: float) -> str:
        """Run it with ``argv`` for at most ``seconds`` and return its output.

        Raises:
            ServiceError: it fails, crashes or takes longer; the message is its last line.
        """
        try:
            done = subprocess.run(
                [*self.command, *argv],
                cwd=SOURCES,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ServiceError(f"it did not end within {seconds:g} s") from error
        except OSError as error:
            raise ServiceError(
                f"{self.command[0]} does not start: {error.strerror}; make arm64 makes it again"
            ) from error
        if done.returncode:
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            raise ServiceError(lines[-1] if lines else f"it exited with status {done.returncode} and no message")
        return done.stdout


def find(description: Path) -> Python:
    """Return the arm64 Python of this machine: its own, or the one whose environment.json is ``description``.

    Raises:
        ServiceError: there is none; the message names the command that creates one.
    """
    if platform.machine() in ARM64:
        return Python("this machine's own processor", (sys.executable,))
    folder = description.absolute().parent
    if not description.is_file():
        raise ServiceError(f"there is no arm64 Python at {description.parent}: make arm64 makes one")
    try:
        environment = read_json(description, FORMAT)
        return emulated(folder, str(environment["python"]), str(environment["qemu"]))
    except (ArtifactError, KeyError) as error:
        raise ServiceError(f"{description} is damaged: remove {description.parent} and run make arm64") from error


def emulated(folder: Path, python: str, version: str) -> Python:
    """Return the Python at ``python`` in the root of ``folder``, which QEMU of ``version`` runs."""
    emulator = next((folder / name for name in EMULATORS if (folder / name).is_file()), folder / EMULATORS[0])
    variables = {
        "PYTHONPATH": f"{folder / SITE}:{SOURCES}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C.UTF-8",
        "HOME": "/tmp",
        "OMP_NUM_THREADS": "1",  # each thread is emulated: more of them gain nothing
        "TOKENIZERS_PARALLELISM": "false",
    }
    command = (str(emulator), "-cpu", PROCESSOR, "-L", str(folder / ROOT), str(folder / ROOT / python))
    return Python(f"QEMU {version} as a {PROCESSOR}", command, variables)
