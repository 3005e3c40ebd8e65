"""One name, one file: what the cache's key and an upload see is what the step reads."""

import os
import time
from datetime import date
from pathlib import Path

import pytest

from cli.cluster import bucket
from cli.compiled import cache_keys
from cli.compiled.catalog import find
from cli.compiled.sources import path_of
from cli.compiled.spec import Specification, load
from cli.settings import Settings
from tests.support.pipeline_specs import spec, task
from toolchain.errors import ServiceError
from toolchain.services import storage
from toolchain.services.folders import fetch_folder, is_folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working directory that is the home folder too, with a file and a folder in it."""
    (tmp_path / "a b.csv").write_text("text,label\n")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/1.txt").write_text("1")
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def key(value: str, argument: str = "source") -> str:
    tasks = (task("one", "data.ingest", parameters={argument: "p"}),)
    return cache_keys.local_keys(spec(*tasks), {"p": value}, Settings(Path("runs"), "", "", "", ""), "")["one"]


NAMES = ["a b.csv", "./a b.csv", "~/a b.csv", "{here}/a b.csv", "file://{here}/a b.csv", "file://{here}/a%20b.csv"]
NAMES += ["file:{here}/a%20b.csv", "file://localhost{here}/a%20b.csv", "photos/../a b.csv"]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_under_any_of_its_names_is_read_again_when_it_changes(here: Path, name: str):
    uri, before = name.format(here=here), key(name.format(here=here))
    assert storage.fetch(uri, here).files[0].samefile(here / "a b.csv"), "the step reads this file"
    (here / "a b.csv").write_text("text,label\ngood,1\n")
    assert key(uri) != before


@pytest.mark.parametrize(
    "name", ["photos", "photos/", "~/photos", "file://{here}/photos", "{here}/photos", "link", "~/link/"]
)
def test_a_folder_under_any_of_its_names_is_read_again_when_it_changes(here: Path, name: str):
    uri, before = name.format(here=here), key(name.format(here=here))
    assert is_folder(uri)
    assert fetch_folder(uri, here / "scratch").path.samefile(here / "photos"), "the step reads this folder"
    (here / "photos/2.txt").write_text("2")
    assert key(uri) != before


def test_a_file_behind_a_link_in_a_folder_counts(here: Path):
    (here / "elsewhere").mkdir()
    (here / "elsewhere/3.txt").write_text("3")
    (here / "photos/more").symlink_to(here / "elsewhere")
    (here / "photos/again").symlink_to(here / "photos")
    before = key("photos")
    (here / "elsewhere/3.txt").write_text("three")
    assert key("photos") != before


def test_a_change_that_keeps_size_and_time_is_seen(here: Path):
    file, before = here / "photos/1.txt", key("photos")
    stamp = file.stat()
    time.sleep(0.01)  # a clock tick of the file system
    file.write_text("2")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert key("photos") != before


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("label_column", "photos"),
        ("weights", "backbone"),
        ("policy", "light"),
        ("base_model", "cnn"),
        ("delimiter", "."),
    ],
)
def test_a_word_that_is_no_path_to_its_step_names_no_folder(here: Path, argument: str, value: str):
    (here / value).mkdir(exist_ok=True)
    assert path_of(argument, value) is None


@pytest.mark.parametrize("value", ["x" * 300, "~nobody-of-this-name/x", "a\x00b/c", "", "  ", "s3://b/p", 7, None])
def test_what_names_no_file_is_left_as_it_is(value: object):
    assert path_of("source", value) is None


@pytest.fixture(scope="module")
def classify(tmp_path_factory: pytest.TempPathFactory) -> Specification:
    return load(find("vision_classify"), tmp_path_factory.mktemp("compiled"))


def test_a_cluster_gets_the_folder_that_this_machine_would_read(here: Path, classify: Specification):
    found = bucket.local_files(
        classify, {"source": "photos", "base_model": "cnn", "weights": "", "label_column": "photos"}
    )
    assert found == {"source": Path("photos")}


# --- S3 ---


@pytest.mark.parametrize("end", ["", "/"])
def test_a_prefix_in_s3_is_read_again_when_a_file_in_it_changes(s3_bucket: str, tmp_path: Path, end: str):
    uri = f"s3://{s3_bucket}/photos{end}"
    storage.write(b"1", f"s3://{s3_bucket}/photos/1.txt")
    storage.write(b"x", f"s3://{s3_bucket}/photos-of-others/1.txt")
    before = key(uri)
    assert is_folder(uri)
    assert [path.name for path in fetch_folder(uri, tmp_path).path.iterdir()] == ["1.txt"]
    assert key(uri) == before
    storage.write(b"2", f"s3://{s3_bucket}/photos/1.txt")
    assert key(uri) != before


def test_a_file_in_s3_without_an_ending_is_a_file(s3_bucket: str):
    storage.write(b"1", f"s3://{s3_bucket}/rows")
    assert not is_folder(f"s3://{s3_bucket}/rows")


def test_a_prefix_that_s3_lacks_is_rejected_before_a_run(s3_bucket: str):
    with pytest.raises(ServiceError, match="nothing does not exist; check the bucket's and the file's name"):
        key(f"s3://{s3_bucket}/nothing")


def test_on_a_cluster_a_prefix_is_read_again():
    tasks = spec(task("one", parameters={"source": "p"}))
    first, second = (cache_keys.cluster_keys(tasks, {"p": "s3://b/photos"}, salt, date(2026, 1, 1)) for salt in "ab")
    assert first != second
