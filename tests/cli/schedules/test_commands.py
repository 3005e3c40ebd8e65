"""Schedules applied to a cluster: KFP's real client against the stand-in of conftest.py."""

from pathlib import Path

import pytest

from cli.__main__ import main
from cli.schedules.commands import DIFFERENT

NIGHTLY = """
name: nightly
pipeline: prepare
cron: 30 2 * * *
zone: Asia/Kolkata
parameters: {source: s3://there/is.csv}
"""
OTHERS = {"display_name": "theirs", "mode": "ENABLE", "trigger": {"cron_schedule": {"cron": "0 0 * * * *"}}}


@pytest.fixture
def folder(tmp_path: Path, server, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KFP_ENDPOINT", server.endpoint)
    monkeypatch.setenv("KFP_NAMESPACE", "")
    monkeypatch.setenv("TOOLCHAIN_RUNS", str(tmp_path / "runs"))
    made = tmp_path / "schedules"
    made.mkdir()
    (made / "nightly.yaml").write_text(NIGHTLY)
    return made


def schedule(folder: Path, *words: str) -> int:
    return main(["schedule", words[0], "--folder", str(folder), *words[1:]])


def test_a_new_schedule_is_shown_then_made(folder: Path, server, capsys):
    assert schedule(folder, "diff") == DIFFERENT
    assert server.asked == []
    assert "+ nightly: add" in capsys.readouterr().out
    assert schedule(folder, "apply") == 0
    one = server.kept[0]
    assert one["trigger"]["cron_schedule"]["cron"] == "0 0 21 * * *"  # 02:30 in India is 21:00 in UTC
    assert one["no_catchup"] is True
    assert int(one["max_concurrency"]) == 1
    assert one["runtime_config"]["parameters"]["source"] == "s3://there/is.csv"
    executors = one["pipeline_spec"]["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert {executor["podMetadata"]["labels"]["toolchain/schedule"] for executor in executors.values()} == {"nightly"}


def test_a_schedule_reads_its_source_anew_each_time(folder: Path, server):
    schedule(folder, "apply")
    tasks = server.kept[0]["pipeline_spec"]["pipeline_spec"]["root"]["dag"]["tasks"]
    assert not any(task.get("cachingOptions", {}).get("enableCache") for task in tasks.values())


def test_a_second_apply_changes_nothing(folder: Path, server, capsys):
    schedule(folder, "apply")
    before = list(server.asked)
    assert schedule(folder, "apply") == 0
    assert schedule(folder, "diff") == 0
    assert server.asked == before
    assert "nothing to change" in capsys.readouterr().out


def test_a_changed_schedule_is_replaced_and_the_old_one_stays_disabled(folder: Path, server, capsys):
    schedule(folder, "apply")
    (folder / "nightly.yaml").write_text(NIGHTLY.replace("is.csv", "was.csv") + "concurrency: 2\n")
    assert schedule(folder, "diff") == DIFFERENT
    shown = capsys.readouterr().out
    assert "source: 's3://there/is.csv' -> 's3://there/was.csv'" in shown
    assert "concurrency: 1 -> 2" in shown
    assert schedule(folder, "apply") == 0
    assert server.states() == [("nightly", "DISABLED"), ("nightly", "ENABLED")]
    assert schedule(folder, "diff") == 0


def test_a_pipeline_with_new_images_replaces_the_schedule(folder: Path, server, capsys):
    schedule(folder, "apply")
    executors = server.kept[0]["pipeline_spec"]["pipeline_spec"]["deploymentSpec"]["executors"]
    for executor in executors.values():
        executor["container"]["image"] = "old/base:1"
    server.kept[0]["description"] = "toolchain schedule nightly, content 000000000000: long ago"
    assert schedule(folder, "diff") == DIFFERENT
    assert "image: -old/base:1" in capsys.readouterr().out


def test_a_schedule_without_its_file_is_disabled(folder: Path, server, capsys):
    schedule(folder, "apply")
    (folder / "nightly.yaml").unlink()
    assert schedule(folder, "apply") == 0
    assert server.states() == [("nightly", "DISABLED")]
    assert "- nightly: remove" in capsys.readouterr().out
    assert schedule(folder, "diff") == 0


def test_what_others_made_is_shown_and_left_alone(folder: Path, server, capsys):
    server.add(dict(OTHERS))
    schedule(folder, "apply")
    assert server.states()[0] == ("theirs", "ENABLED")
    assert "? theirs: orphan" in capsys.readouterr().out
    assert schedule(folder, "diff") == 0


def test_enabling_and_disabling_makes_no_new_one(folder: Path, server):
    schedule(folder, "apply")
    (folder / "nightly.yaml").write_text(NIGHTLY + "enabled: false\n")
    assert schedule(folder, "apply") == 0
    assert server.states() == [("nightly", "DISABLED")]
    (folder / "nightly.yaml").write_text(NIGHTLY)
    assert schedule(folder, "apply") == 0
    assert server.states() == [("nightly", "ENABLED")]


def test_a_pause_by_hand_is_a_difference_that_the_next_apply_ends(folder: Path, server, capsys):
    schedule(folder, "apply")
    assert schedule(folder, "pause", "nightly") == 0
    assert server.states() == [("nightly", "DISABLED")]
    assert schedule(folder, "diff") == DIFFERENT
    assert "~ nightly: resume" in capsys.readouterr().out
    assert schedule(folder, "resume", "nightly") == 0
    assert schedule(folder, "diff") == 0


def test_nothing_is_touched_when_one_file_is_wrong(folder: Path, server, capsys):
    (folder / "other.yaml").write_text(NIGHTLY.replace("nightly", "other").replace("30 2", "99 2"))
    assert schedule(folder, "apply") == 2
    assert server.kept == []
    assert "minute" in capsys.readouterr().err


def test_an_unknown_schedule_is_named_with_the_nearest(folder: Path, capsys):
    assert schedule(folder, "pause", "nightl") == 2
    assert "did you mean 'nightly'" in capsys.readouterr().err


def test_on_one_machine_a_pause_is_listed(folder: Path, capsys):
    assert schedule(folder, "pause", "--engine", "local", "nightly") == 0
    assert schedule(folder, "list", "--engine", "local") == 0
    assert "paused" in capsys.readouterr().out
    assert schedule(folder, "resume", "--engine", "local", "nightly") == 0
    assert schedule(folder, "list", "--engine", "local") == 0
    assert " 21:00" in capsys.readouterr().out
