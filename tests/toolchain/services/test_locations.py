import os
from pathlib import Path

import pytest

from toolchain.services.locations import files_in, local_path


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("rows.csv", "rows.csv"),
        ("/data/rows.csv", "/data/rows.csv"),
        ("file:///data/my%20rows.csv", "/data/my rows.csv"),
        ("file:/data/rows.csv", "/data/rows.csv"),
        ("file://localhost/data/rows.csv", "/data/rows.csv"),
        ("s3://bucket/rows.csv", None),
        ("https://example.org/rows.csv", None),
    ],
)
def test_a_uri_is_a_local_path_or_none(uri: str, path: str | None):
    assert local_path(uri) == (None if path is None else Path(path))


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/ann")
    assert local_path("~/rows.csv") == Path("/home/ann/rows.csv")
    assert local_path("~no-such-user/rows.csv") == Path("~no-such-user/rows.csv")


def test_files_are_found_behind_links_and_a_loop_ends(tmp_path: Path):
    (tmp_path / "set" / "inner").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "b").write_text("")
    (tmp_path / "set" / "inner" / "a").write_text("")
    os.symlink(tmp_path / "other", tmp_path / "set" / "link")
    os.symlink(tmp_path / "set", tmp_path / "set" / "inner" / "up")
    found = [path.relative_to(tmp_path / "set").as_posix() for path in files_in(tmp_path / "set")]
    assert found == ["inner/a", "link/b"]
