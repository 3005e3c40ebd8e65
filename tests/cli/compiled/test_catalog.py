from pathlib import Path

import pytest

from cli.compiled.catalog import entries, find
from toolchain.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bert_finetune.py").write_text('"""Fine-tune BERT.\n\nMore."""\n')
    (tmp_path / "__init__.py").touch()
    return tmp_path


def test_a_pipelines_name_is_its_files_name(folder: Path):
    assert [(entry.name, entry.summary) for entry in entries(folder)] == [("bert_finetune", "Fine-tune BERT.")]


def test_an_unknown_name_brings_the_nearest(folder: Path):
    with pytest.raises(ConfigError, match="no pipeline 'bert_finetun', did you mean 'bert_finetune'"):
        find("bert_finetun", folder)


def test_every_shipped_pipeline_shows_what_it_does():
    assert all(entry.summary for entry in entries())
