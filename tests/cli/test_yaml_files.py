from pathlib import Path

import pytest

from cli.yaml_files import read_documents
from toolchain.errors import ConfigError


def read(folder: Path, text: str) -> list[object]:
    file = folder / "a.yaml"
    file.write_text(text)
    return read_documents(file)


def test_documents_are_read_with_anchors_and_merges(tmp_path: Path):
    text = "base: &base {a: 1}\nmore: {<<: *base, a: 2}\n---\n- {a: 1}\n- {a: 2}\n"
    assert read(tmp_path, text) == [{"base": {"a": 1}, "more": {"a": 2}}, [{"a": 1}, {"a": 2}]]


@pytest.mark.parametrize("text", ["a: 1\nb: 2\na: 3\n", "b: [{a: 1, 'a': 2}]", "b: 1\n---\nb: &b {a: 1, a: 2}\n"])
def test_a_key_that_appears_twice_is_named(tmp_path: Path, text: str):
    with pytest.raises(ConfigError, match="'a' twice"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    ["a: [", "a: " + "[" * 100_000, "a: 2026-13-45", "a: " + "1" * 5000, "- {[a]: 1}"],
    ids=lambda text: text[:9],
)
def test_a_file_that_is_not_readable_is_one_line(tmp_path: Path, text: str):
    with pytest.raises(ConfigError, match=r"a\.yaml is not a readable YAML file") as error:
        read(tmp_path, text)
    assert "\n" not in str(error.value)


def test_a_file_that_does_not_exist_or_is_not_text_is_named(tmp_path: Path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff")
    for name in ("none.yaml", "binary.yaml"):
        with pytest.raises(ConfigError, match=name):
            read_documents(tmp_path / name)
