import io
import json
import logging

import pytest

from cli.run import local_worker
from toolchain.errors import ConfigError


def test_settings_are_checked_under_the_names_of_the_pipelines_parameters():
    local_worker.check_config("data.split", {"test_fraction": 0.2, "dataset": "an input"}, {})
    with pytest.raises(ConfigError, match="test_share"):
        local_worker.check_config("data.split", {"test_fraction": 2.0}, {"test_fraction": "test_share"})


@pytest.mark.parametrize(
    ("message", "event"),
    [
        ("Executing task \x1b[96m'ingest'\x1b[0m", ["started", "ingest"]),
        ("Task \x1b[96m'ingest'\x1b[0m finished with status \x1b[92mSUCCESS\x1b[0m", ["ended", "ingest", "SUCCESS"]),
        ("Task ingest cache hit", ["cached", "ingest"]),
    ],
)
def test_log_records_of_kfp_become_events(message: str, event: list[str], capsys: pytest.CaptureFixture[str]):
    record = logging.LogRecord("kfp", logging.INFO, "", 0, message, (), None)
    assert not local_worker._emit_task_events(record), "the record is suppressed"
    shown = capsys.readouterr().out
    assert shown.startswith("\x1e")
    assert json.loads(shown[1:]) == event


def test_a_job_with_a_setting_that_is_not_valid_runs_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(local_worker, "_end_with_parent", lambda: None)
    monkeypatch.setattr(local_worker, "_run", lambda job: pytest.fail("the job ran"))
    job = json.dumps({"configs": [["data.split", {"test_fraction": 2.0}, {}]]})
    monkeypatch.setattr("sys.stdin", io.StringIO(job + "\n"))
    assert local_worker.main() == 2
    assert json.loads(capsys.readouterr().out[1:])[0] == "config_error"
