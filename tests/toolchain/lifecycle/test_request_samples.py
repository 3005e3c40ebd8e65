from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.errors import ConfigError, DataError, ServiceError
from toolchain.lifecycle.request_samples import (
    File,
    SampledVersion,
    SampleStore,
    files_to_delete,
    header,
    new_file_name,
    open_store,
    parse,
    written_at,
)

SUBJECT = SampledVersion(model="reviews", model_version="3", variant="int8", digest="ab" * 32)
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
Opened = Callable[[], SampleStore]


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> SampleStore:
    if request.param == "folder":
        return open_store(str(tmp_path / "samples"))
    return open_store(f"s3://{request.getfixturevalue('s3_bucket')}/samples/")


def test_files_are_read_as_they_were_written_wherever_they_are(place: SampleStore):
    assert place.files("reviews") == []
    assert place.get("reviews/x/a.jsonl") is None
    place.put("reviews/x/b.jsonl", b"two")
    place.put("reviews/x/a.jsonl", b"one")
    place.put("reviewsothers/x/a.jsonl", b"of another model")
    assert place.files("reviews") == [File("reviews/x/a.jsonl", 3), File("reviews/x/b.jsonl", 3)]
    assert place.get("reviews/x/b.jsonl") == b"two"
    place.delete(["reviews/x/a.jsonl", "reviews/x/not-there.jsonl"])
    assert place.files("reviews") == [File("reviews/x/b.jsonl", 3)]


def test_a_file_that_is_being_written_is_not_seen(tmp_path: Path):
    (tmp_path / "reviews").mkdir()
    (tmp_path / "reviews" / ".a.jsonl.0123abcd").write_bytes(b"half")
    assert open_store(str(tmp_path)).files("reviews") == []


def test_a_location_that_cannot_be_used_logs_it(tmp_path: Path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(ServiceError, match="cannot be used"):
        open_store(str(tmp_path / "taken")).put("reviews/a.jsonl", b"")


def test_a_bucket_that_is_not_there_is_named(s3_bucket: str):
    with pytest.raises(ServiceError, match="there is no bucket 'nowhere'"):
        open_store("s3://nowhere/samples").put("a.jsonl", b"")


@pytest.mark.parametrize("uri", ["", "s3://", "https://example.org/samples", "gs://bucket"])
def test_what_names_no_location_is_rejected(uri: str):
    with pytest.raises(ConfigError, match="samples is"):
        open_store(uri)


def test_a_name_shows_when_it_was_written_and_is_never_used_twice():
    names = {new_file_name(SUBJECT, NOON) for _ in range(50)}
    assert len(names) == 50
    assert all(name.startswith("reviews/abababababab/20261125T120000000000-") for name in names)
    assert {written_at(name) for name in names} == {NOON}
    assert new_file_name(SUBJECT, NOON) < new_file_name(SUBJECT, NOON + timedelta(seconds=1))
    assert written_at("reviews/abababababab/drift.json") is None
    assert written_at("reviews/abababababab/notes.jsonl") is None


def test_rows_are_parsed_with_whose_they_are():
    content = header(SUBJECT) + b'{"label": "good"}\n{"label": "bad"}\n'
    assert parse(content, "a file") == (SUBJECT, [{"label": "good"}, {"label": "bad"}])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]\n",
        b'{"format": "toolchain.model"}\n',
        header(SUBJECT) + b'{"label": "go',
        header(SUBJECT) + b"[1]\n",
        header(SUBJECT).replace(b'"digest"', b'"other"'),
    ],
)
def test_a_damaged_file_is_rejected(content: bytes):
    with pytest.raises(DataError, match="a file is not a file of samples"):
        parse(content, "a file")


def dated(hours: list[int], size: int = 10) -> list[File]:
    return [File(new_file_name(SUBJECT, NOON + timedelta(hours=hour)), size) for hour in hours]


def test_what_is_too_old_goes():
    files = dated([0, 23, 25, 48])
    assert files_to_delete(files, max_days=1, max_bytes=1000) == [files[0].name, files[1].name]


def test_of_what_is_too_much_the_oldest_goes():
    files = dated([3, 1, 2])
    assert files_to_delete(files, max_days=30, max_bytes=25) == [files[1].name]


def test_what_is_no_sample_stays():
    others = [File("reviews/abababababab/drift.json", 10**9), File("reviews/readme.jsonl", 10**9)]
    assert files_to_delete([*others, *dated([0])], max_days=1, max_bytes=1) == []


@given(st.lists(st.tuples(st.integers(-500, 500), st.integers(1, 1000)), max_size=20), st.integers(1, 5000))
def test_what_is_left_is_in_bounds_and_the_newest_of_all(ages: list[tuple[int, int]], max_bytes: int):
    files = [file for hour, size in ages for file in dated([hour], size)]
    gone = set(files_to_delete(files, max_days=2, max_bytes=max_bytes))
    left = sorted((file for file in files if file.name not in gone), key=lambda file: file.name)
    assert bool(left) == bool(files)
    assert len(left) <= 1 or sum(file.size_bytes for file in left) <= max_bytes
    assert all(name < left[0].name for name in gone)
    times = [written_at(file.name) for file in left]
    assert not times or times[-1] - times[0] <= timedelta(days=2)  # type: ignore[operator]
