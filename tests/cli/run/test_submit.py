"""Real runs of the smallest shipped pipeline, as a person starts, breaks and stops them."""

import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cli.records import runs
from cli.records.runs import all_runs
from tests.support.command_line import start, submit
from toolchain.artifacts.dataset import open_dataset

SECONDS_TO_START = 120  # a step must have begun by then, even on a busy machine
pytestmark = pytest.mark.slow


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a small table of two classes."""
    rows = [f"{mood} film number {n}, seen in {1900 + n},{mood}" for n in range(120) for mood in ("good", "bad")]
    texts = "\n".join(f'"{row.rpartition(",")[0]}",{row.rpartition(",")[2]}' for row in rows)
    (tmp_path / "rows.csv").write_text(f"text,label\n{texts}\n")
    return tmp_path


def wait_for_step(place: Path, step: str) -> None:
    """Wait until ``step`` is at work in the newest run."""
    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end:
        known = all_runs(place / "runs") if (place / "runs").is_dir() else []
        if known and any(record.step == step and record.state == runs.RUNNING for record in known[0].steps):
            return
        time.sleep(0.05)
    raise AssertionError(f"{step} did not start within {SECONDS_TO_START} s")


def splits(place: Path) -> Path:
    return Path(all_runs(place / "runs")[0].step("split").outputs["splits"])


def steps(place: Path) -> dict[str, tuple[str, bool]]:
    return {record.step: (record.state, record.cached) for record in all_runs(place / "runs")[0].steps}


def test_a_rerun_is_cached_and_a_parameter_reruns_only_what_depends_on_it(place: Path):
    assert submit(place).returncode == 0
    again = submit(place)
    assert again.returncode == 0
    assert [line.split() for line in again.stdout.splitlines()[:5]] == [
        ["data.ingest", "cached"],
        ["data.clean", "cached"],
        ["data.split", "cached"],
        ["data.validate", "cached"],
        ["data.report", "cached"],
    ]
    assert submit(place, "-p", "seed=7").returncode == 0
    assert {step: cached for step, (_, cached) in steps(place).items()} == {
        "data.ingest": True,
        "data.clean": True,
        "data.split": False,
        "data.validate": False,
        "data.report": False,
    }


def test_prepared_data_are_validated_and_the_summary_shows_what_was_dropped(place: Path):
    with (place / "rows.csv").open("a") as file:
        file.write("a film without a label,\n")
    printed = submit(place).stdout
    assert ["1", "label", "is", "missing", "data.clean"] in [line.split() for line in printed.splitlines()]
    assert ["all", "192", "24", "24"] in [line.split() for line in printed.splitlines()]
    assert "warning: the test split has 24 rows; the gate needs 100" in printed
    report = Path(next(line for line in printed.splitlines() if line.startswith("Report:")).split()[1])
    assert "label is missing" in report.read_text()


def test_a_changed_source_reruns_everything(place: Path):
    submit(place)
    with (place / "rows.csv").open("a") as file:
        file.write("one more good film of the year,good\n")
    assert submit(place).returncode == 0
    assert not any(cached for _, cached in steps(place).values())


def test_no_cache_runs_all_and_leaves_the_earlier_result(place: Path):
    submit(place)
    first = splits(place)
    assert submit(place, "--no-cache").returncode == 0
    second = splits(place)
    assert not any(cached for _, cached in steps(place).values())
    assert first != second
    assert open_dataset(first).digest == open_dataset(second).digest


class PrivateFiles(SimpleHTTPRequestHandler):
    """Serves a folder to ann, whose password is hunter2, whatever parameters the address has."""

    def do_HEAD(self) -> None:
        if self._allowed():
            super().do_HEAD()

    def do_GET(self) -> None:
        if self._allowed():
            super().do_GET()

    def _allowed(self) -> bool:
        allowed = self.headers.get("Authorization") == "Basic YW5uOmh1bnRlcjI="  # RFC 7617 of ann:hunter2
        if not allowed:
            self.send_error(401)
        return allowed


@pytest.fixture
def private(place: Path) -> Iterator[str]:
    """The address of ``place`` on a server that requires a password, with a signature among its parameters."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(PrivateFiles, directory=str(place))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://ann:hunter2@127.0.0.1:{server.server_port}/rows.csv?X-Amz-Signature=5ec7e7"
        server.shutdown()


def test_no_file_of_a_run_holds_the_secrets_of_its_sources_address(place: Path, private: str):
    succeeded = submit(place, "-p", f"source={private}")
    assert succeeded.returncode == 0, succeeded.stdout + succeeded.stderr
    failed = submit(place, "-p", f"source={private}", "-p", "text_column=body")
    assert failed.returncode == 1
    kept = [path for path in (place / "runs").rglob("*") if path.is_file()]
    assert len(kept) > 20
    for secret in ("hunter2", "5ec7e7"):
        assert secret not in succeeded.stdout + failed.stdout + failed.stderr
        assert not [path for path in kept if secret.encode() in path.read_bytes()]


def test_a_failing_step_gives_its_name_its_own_words_and_its_log(place: Path):
    failed = submit(place, "-p", "text_column=body")
    assert failed.returncode == 1
    assert "data.ingest failed: " in failed.stdout
    assert "no column 'body'" in failed.stdout
    assert "Traceback" not in failed.stdout + failed.stderr
    log = Path(failed.stdout.partition("full log: ")[2].strip())
    assert log.read_text().count("Traceback") == 1, "it was tried more than once"


def test_a_setting_out_of_range_is_rejected_before_anything_runs(place: Path):
    refused = submit(place, "-p", "test=2")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "test" in refused.stderr
    assert not all_runs(place / "runs")


def test_two_submits_at_once_are_one_run_and_one_clear_line(place: Path):
    first = start(place)
    wait_for_step(place, "data.ingest")
    second = submit(place)
    assert second.returncode == 1
    assert "a run is in progress in" in second.stderr
    assert second.stderr.count("\n") == 1
    assert first.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_was_stopped_goes_on_with_the_same_result(place: Path, number: signal.Signals):
    stopped = start(place)
    wait_for_step(place, "data.clean")
    stopped.send_signal(number)
    assert stopped.wait() != 0
    while all_runs(place / "runs")[0].state == runs.RUNNING:  # a killed run's processes end within moments of it
        time.sleep(0.05)
    assert all_runs(place / "runs")[0].state == runs.INTERRUPTED
    resumed = submit(place)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert steps(place)["data.ingest"] == (runs.SUCCEEDED, True)
    digest = open_dataset(splits(place)).digest
    assert submit(place, "--no-cache").returncode == 0
    assert open_dataset(splits(place)).digest == digest
