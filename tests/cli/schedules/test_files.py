"""Schedules as files: what is refused, and that all faults are told at once."""

from pathlib import Path

import pytest

from cli.schedules.files import FOLDER, Schedule, read_schedules
from toolchain.errors import ConfigError

GOOD = "name: nightly\npipeline: prepare\ncron: 30 2 * * *\nzone: Europe/Berlin\nparameters: {source: here.csv}\n"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled")


def read(folder: Path, kept: Path, text: str) -> list[Schedule]:
    (folder / "one.yaml").write_text(text)
    return read_schedules(folder, kept)


def test_a_file_holds_one_schedule_or_more(tmp_path: Path, kept: Path):
    found = read(tmp_path, kept, GOOD + "---\n" + GOOD.replace("nightly", "daily") + "enabled: false\n")
    assert [(one.name, one.enabled, one.catch_up, one.concurrency) for one in found] == [
        ("daily", False, False, 1),
        ("nightly", True, False, 1),
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("zone:", "zon:", "did you mean 'zone'"),
        ("pipeline: prepare", "pipeline: prepar", "did you mean 'prepare'"),
        ("{source:", "{sourc:", "did you mean 'source'"),
        ("{source: here.csv}", "{source: 3}", "source takes text, got 3"),
        ("{source: here.csv}", "[1]", "parameters takes one parameter a line"),
        ("30 2 * * *", "30 25 * * *", "hour"),
        ("Europe/Berlin", "Europe/Berln", "IANA"),
        ("name: nightly", "name: a night", "name takes letters"),
        ("name: nightly\n", "", "has no name"),
        ("name: nightly\n", "name: nightly\ncatch_up: true\n", "catch_up takes false only"),
        ("name: nightly\n", "name: nightly\nenabled: 1\n", "enabled takes true or false"),
        ("name: nightly\n", "name: nightly\nconcurrency: 11\n", "1 to 10"),
        ("name: nightly\n", "name: nightly\nresources: smal\n", "did you mean 'small'"),
        ("name: nightly\n", "name: {\n", "not a readable YAML file"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, kept: Path, old: str, new: str, said: str):
    with pytest.raises(ConfigError, match=said):
        read(tmp_path, kept, GOOD.replace(old, new))


def test_all_faults_of_all_files_are_told_at_once(tmp_path: Path, kept: Path):
    (tmp_path / "two.yaml").write_text(GOOD.replace("prepare", "prepar"))
    with pytest.raises(ConfigError, match=r"(?s)one\.yaml.*IANA.*two\.yaml.*prepare"):
        read(tmp_path, kept, GOOD.replace("Europe/Berlin", "Mars"))


def test_a_name_is_given_once(tmp_path: Path, kept: Path):
    with pytest.raises(ConfigError, match="two schedules named 'nightly'"):
        read(tmp_path, kept, GOOD + "---\n" + GOOD)


def test_the_schedules_of_the_project_are_right(kept: Path):
    assert {one.name for one in read_schedules(FOLDER, kept)} == {
        "bert-finetune-nightly",
        "drift-hourly",
        "vision-classify-weekly",
    }
