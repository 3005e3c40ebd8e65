import hashlib
from pathlib import Path

from toolchain.artifacts.digest import CHUNK_BYTES, digest_files, digest_of_content, sha256_of_file, sha256_of_json


def test_a_files_digest_is_that_of_its_bytes_however_long_it_is(tmp_path: Path):
    content = b"x" * (2 * CHUNK_BYTES + 1)
    (tmp_path / "file").write_bytes(content)
    assert sha256_of_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_an_empty_files_digest_is_the_known_one(tmp_path: Path):
    (tmp_path / "file").touch()
    assert sha256_of_file(tmp_path / "file") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_the_order_of_keys_does_not_change_a_digest():
    assert sha256_of_json({"a": 1, "b": 2}) == sha256_of_json({"b": 2, "a": 1})
    assert sha256_of_json({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()


def test_files_are_listed_in_sorted_order(tmp_path: Path):
    for name in ("b", "a"):
        (tmp_path / name).write_text(name)
    assert list(digest_files(tmp_path, ["b", "a"])) == ["a", "b"]


def test_what_is_reported_of_the_files_is_part_of_the_digest():
    files = {"a": "1"}
    assert digest_of_content(files, "one") != digest_of_content(files, "another")
    assert digest_of_content(files, "one") == digest_of_content(dict(files), "one")
