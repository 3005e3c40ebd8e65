"""Schedules as files: what is refused, and that all faults are told at once."""

from pathlib import Path

import pytest

from cli.schedules.files import FOLDER, Schedule, read_schedules
from toolchain.errors import ConfigError

GOOD = "name: nightly\npipeline: prepare\ncron: 30 2 * * *\nzone: Europe/Berlin\nparameters: {source: here.csv}\n"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled")


def read(folder: Path, compiled: Path, text: str) -> list[Schedule]:
    (folder / "one.yaml").write_text(text)
    return read_schedules(folder, compiled)


def test_a_file_holds_one_schedule_or_more(tmp_path: Path, compiled: Path):
    found = read(tmp_path, compiled, GOOD + "---\n" + GOOD.replace("nightly", "daily") + "enabled: false\n")
    assert [(one.name, one.enabled, one.catch_up, one.concurrency) for one in found] == [
        ("daily", False, False, 1),
        ("nightly", True, False, 1),
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("zone:", "zon:", "did you mean 'zone'"),
        ("pipeline: prepare", "pipeline: prepar", "did you mean 'prepare'"),
        ("{source:", "{sourc:", "did you mean 'source'"),
        ("{source: here.csv}", "{source: 3}", "source takes text, got 3"),
        ("{source: here.csv}", "[1]", "one parameter per line"),
        ("30 2 * * *", "30 25 * * *", "hour is '25', expected 0 to 23"),
        ("Europe/Berlin", "Europe/Berln", "IANA"),
        ("{source: here.csv}", "{source: here.csv, source: there.csv}", "'source' twice"),
        ("{source: here.csv}", "{~: here.csv}", "no parameter 'None'"),
        ("{source: here.csv}", "[" * 100_000, "nested too deeply"),
        ("name: nightly", "name: a night", "name is 'a night'"),
        ("name: nightly\n", "", "has no name"),
        ("name: nightly\n", "name: nightly\ncatch_up: true\n", "catch_up is true"),
        ("name: nightly\n", "name: nightly\nenabled: 1\n", "enabled is 1"),
        ("name: nightly\n", "name: nightly\nconcurrency: 11\n", "1 to 10"),
        ("name: nightly\n", "name: nightly\nresources: smal\n", "did you mean 'small'"),
        ("name: nightly\n", "name: {\n", "not a readable YAML file"),
    ],
)
def test_an_invalid_value_is_named(tmp_path: Path, compiled: Path, old: str, new: str, message: str):
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, compiled, GOOD.replace(old, new))


def test_all_errors_of_all_files_are_reported_at_once(tmp_path: Path, compiled: Path):
    (tmp_path / "two.yaml").write_text(GOOD.replace("prepare", "prepar"))
    with pytest.raises(ConfigError, match=r"(?s)one\.yaml.*IANA.*two\.yaml.*prepare"):
        read(tmp_path, compiled, GOOD.replace("Europe/Berlin", "Mars"))


def test_all_errors_of_one_schedule_are_reported_at_once(tmp_path: Path, compiled: Path):
    text = "name: nightly\npipeline: prepare\ncron: 61 25 * * *\nenabeld: true\nparameters: {sourc: a.csv, epoch: 1}\n"
    with pytest.raises(ConfigError) as raised:
        read(tmp_path, compiled, text)
    lines = str(raised.value).splitlines()
    found = ["'enabled'", "has no zone", "minute is '61', expected 0 to 59, the hour is '25'", "'sourc'", "'epoch'"]
    assert [part in line for line, part in zip(lines, found, strict=True)] == [True] * 5
    assert all("one.yaml: " in line for line in lines)


def test_a_name_is_unique(tmp_path: Path, compiled: Path):
    with pytest.raises(ConfigError, match="two schedules are named 'nightly'"):
        read(tmp_path, compiled, GOOD + "---\n" + GOOD)


def test_the_schedules_of_the_project_are_valid(compiled: Path):
    assert {one.name for one in read_schedules(FOLDER, compiled)} == {
        "bert-finetune-nightly",
        "drift-hourly",
        "vision-classify-weekly",
    }
