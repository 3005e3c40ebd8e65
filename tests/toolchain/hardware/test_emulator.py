import json
import sys
from pathlib import Path

import pytest

from toolchain.errors import ServiceError
from toolchain.hardware import emulator
from toolchain.hardware.cpu import from_flags, parse_cpuinfo

pytestmark = pytest.mark.machine


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as `make arm64` leaves it, on a machine that is no arm64."""
    monkeypatch.setattr(emulator.platform, "machine", lambda: "x86_64")
    program = tmp_path / emulator.EMULATORS[1]
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    describe(tmp_path, format=emulator.FORMAT, python="usr/bin/python3.13", qemu="10.0.2")
    return tmp_path


def describe(folder: Path, **told: object) -> None:
    (folder / emulator.DESCRIPTION).write_text(json.dumps(told))


def test_the_processor_that_programs_read_of_is_the_one_that_is_emulated():
    name, flags = parse_cpuinfo(emulator.CPUINFO)
    found = from_flags(name, flags, 1)
    assert (found.name, found.kind) == ("ARM Neoverse-N1", "neon-dotprod")


def test_an_arm64_machine_needs_no_emulator(monkeypatch: pytest.MonkeyPatch):
    for machine in ("aarch64", "arm64"):
        monkeypatch.setattr(emulator.platform, "machine", lambda machine=machine: machine)
        assert emulator.find(Path("nowhere")).command == (sys.executable,)


def test_elsewhere_qemu_runs_the_python_of_the_folder(folder: Path):
    found = emulator.find(folder / emulator.DESCRIPTION)
    assert found.by == "QEMU 10.0.2 as a neoverse-n1"
    assert found.command[0] == str(folder / "qemu/usr/bin/qemu-aarch64")
    assert found.command[-1] == str(folder / "root/usr/bin/python3.13")
    assert found.environment is not None
    assert found.environment["PYTHONPATH"].startswith(str(folder / "site"))


@pytest.mark.parametrize("told", [{}, {"format": "other"}, {"format": emulator.FORMAT, "qemu": "7.2"}])
def test_a_damaged_description_names_the_fix(told: dict[str, str], folder: Path):
    describe(folder, **told)
    with pytest.raises(ServiceError, match=r"is damaged: remove .* and run make arm64"):
        emulator.find(folder / emulator.DESCRIPTION)


def test_a_program_that_is_gone_names_the_fix(folder: Path):
    found = emulator.emulated(folder / "gone", "usr/bin/python3.11", "7.2")
    with pytest.raises(ServiceError, match="does not start: No such file or directory; make arm64 makes it again"):
        found.run(["-c", "pass"], 5)


def test_what_a_program_printed_comes_back_and_its_last_complaint_is_raised():
    here = emulator.Python("this", (sys.executable,))
    assert here.run(["-c", "print(6 * 7)"], 60) == "42\n"
    with pytest.raises(ServiceError, match=r"^ValueError: no$"):
        here.run(["-c", "raise ValueError('no')"], 60)
