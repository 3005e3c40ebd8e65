"""Files of the engine that were cut off, emptied or overwritten, and disks that are full or read-only."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli import state_files
from cli.compiled import plan, spec
from cli.compiled.catalog import find
from cli.records import runs
from cli.records.runs import StepRecord, all_runs, new_run
from cli.schedules.local_scheduler import Memory, State
from cli.serving.serve import CHOSEN, Chosen, _chosen_before, _remember, repository_path
from cli.settings import Settings
from cli.state_files import read_record
from tests.support.command_line import ROOT, environment, submit
from tests.support.pipeline_specs import task

DAMAGED = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"text"',
    b"\xff\xfe",
    b'{"format": "toolchain.run"}',
    b'{"schedules": [1]}',
    b"[" * 100_000,
]


@pytest.fixture(autouse=True)
def _say_again() -> None:
    state_files.warn_damaged.cache_clear()


@pytest.fixture(params=DAMAGED, ids=lambda content: repr(content[:30]))
def damaged(request: pytest.FixtureRequest) -> bytes:
    return request.param


def settings_of(folder: Path) -> Settings:
    return Settings(folder, "", "", "", f"sqlite:///{folder}/mlflow.db")


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_run_whose_record_is_damaged_is_left_out_and_reported_once(tmp_path: Path, damaged: bytes, capsys):
    good, bad = (new_run("tidy", tmp_path, {}, [StepRecord("one", "data.one", "k")]) for _ in range(2))
    (bad.folder / runs.RECORD).write_bytes(damaged)
    for _ in range(2):
        assert [run.id for run in all_runs(tmp_path)] == [good.id]
    assert len(said := lines(capsys)) == 1
    assert f"{bad.folder / runs.RECORD} is damaged: that run is not listed" in said[0]


def test_a_damaged_entry_of_the_cache_is_removed_and_its_step_runs_again(tmp_path: Path, capsys):
    one = task("one")
    for content in [*DAMAGED[:6], b'{"out": {"uri": "/tmp/x"}}']:
        state_files.warn_damaged.cache_clear()
        entry = plan.entry_file(one, "k", tmp_path)
        entry.write_bytes(content)
        assert plan.cached_outputs(one, "k", tmp_path) is None
        assert not entry.exists()
        assert "is damaged: its step runs again" in lines(capsys)[0]


def test_what_is_remembered_of_schedules_may_be_damaged(tmp_path: Path, damaged: bytes, capsys):
    memory = Memory.of(settings_of(tmp_path))
    memory.path.write_bytes(damaged)
    assert memory.of_schedule("nightly") == State()
    memory.change("nightly", paused=True)
    assert Memory.of(settings_of(tmp_path)).of_schedule("nightly").paused


def test_what_was_chosen_to_serve_may_be_damaged(tmp_path: Path, damaged: bytes):
    known = settings_of(tmp_path)
    chosen = Chosen("m", "1", "champion", "abc")
    file = repository_path("m", known) / CHOSEN
    file.parent.mkdir(parents=True)
    file.write_bytes(damaged)
    _remember(chosen, "", known)
    assert _chosen_before(file) == {"": {"name": "m", "number": "1", "alias": "champion", "digest": "abc"}}


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_a_record_is_read_whole_or_not_at_all(tmp_path: Path, data: st.DataObject):
    content = data.draw(st.dictionaries(st.text(), st.recursive(st.none() | st.text(), st.lists)))
    written = json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass")
    file = tmp_path / "a.json"
    file.write_bytes(written[: data.draw(st.integers(0, len(written)))])
    assert read_record(file, "x") in (None, content)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compiled")
    spec.load(find("prepare"), folder)
    return next(folder.iterdir())


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9], ids=str)
def test_a_compiled_pipeline_that_was_cut_off_at_a_line_is_compiled_again(
    compiled: Path, tmp_path: Path, share: float, monkeypatch: pytest.MonkeyPatch, capsys
):
    whole = compiled.read_bytes()
    rows = whole.splitlines(keepends=True)
    file = tmp_path / compiled.name
    file.write_bytes(b"".join(rows[: int(len(rows) * share)]))
    monkeypatch.setattr(spec, "compile_pipeline", lambda entry: whole.partition(b"\n")[2].decode())
    assert next(task.step for task in spec.load(find("prepare"), tmp_path).tasks) == "data.ingest"
    assert "is damaged: the pipeline is compiled again" in lines(capsys)[0]
    assert file.read_bytes() == whole


def test_a_compiled_pipeline_that_cannot_be_kept_is_used_all_the_same(compiled: Path, monkeypatch: pytest.MonkeyPatch):
    text = compiled.read_bytes().partition(b"\n")[2].decode()
    monkeypatch.setattr(spec, "compile_pipeline", lambda entry: text)
    assert spec.load(find("prepare"), Path("/proc/nothing")).tasks


# --- disks ---


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Return a function that mounts a new disk with options, or mounts it again with others."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")

    def mounted(options: str) -> Path:
        again = ["-o", f"remount,{options}"] if folder.is_mount() else ["-t", "tmpfs", "-o", options, "tmpfs"]
        if mount is None or subprocess.run([mount, *again, folder], capture_output=True, check=False).returncode:
            pytest.skip("a disk can be mounted here by root only")
        return folder

    yield mounted
    if folder.is_mount():
        subprocess.run(["umount", folder], check=True)


def rows_in(folder: Path) -> None:
    texts = "".join(f"{mood} film number {n},{mood}\n" for n in range(120) for mood in ("good", "bad"))
    (folder / "rows.csv").write_text(f"text,label\n{texts}")


@pytest.mark.slow
def test_a_run_that_filled_the_disk_goes_on_once_there_is_room(disk: Callable[[str], Path]):
    place = disk("size=24k")
    rows_in(place)
    failed = submit(place)
    assert failed.returncode == 1
    assert "no space is left" in failed.stdout + failed.stderr
    assert "Traceback" not in failed.stdout + failed.stderr
    disk("size=100m")
    again = submit(place)
    assert again.returncode == 0, again.stdout + again.stderr


@pytest.mark.slow
def test_a_read_only_folder_of_runs_is_one_clear_line(disk: Callable[[str], Path]):
    place = disk("size=1m")
    rows_in(place)
    (place / "runs").mkdir()
    disk("ro")
    refused = submit(place)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert f"{place / 'runs'} cannot be written (read-only file system)" in refused.stderr
    shown = subprocess.run(
        [sys.executable, "-m", "cli", "runs"], cwd=ROOT, env=environment(place), capture_output=True, check=False
    )
    assert shown.returncode == 0, "what only reads works"


@pytest.mark.parametrize("inner", ["", "runs"])
def test_a_folder_of_runs_that_cannot_be_is_one_clear_line(tmp_path: Path, inner: str, monkeypatch, capsys):
    from cli.__main__ import main

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TOOLCHAIN_RUNS", os.path.join(tmp_path / "file", inner))
    for name in ("KFP_ENDPOINT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    assert main(["submit", "prepare"]) == 2
    assert len(said := lines(capsys)) == 1
    assert f"error: {tmp_path / 'file'}" in said[0]
