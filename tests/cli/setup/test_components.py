from pathlib import Path

import pytest

from cli.setup import components
from cli.setup.components import generate, path_of, settings_of, steps


@pytest.mark.parametrize("step", steps())
def test_a_component_is_current(step: str):
    assert path_of(step).read_text(encoding="utf-8") == generate(step), "run: make components"


def test_a_description_is_the_comment_of_the_field():
    described = {setting.name: setting.description for setting in settings_of("train.torch_text")}
    assert described["learning_rate"].startswith("Peak learning rate")


def test_a_literal_default_is_copied_and_another_evaluated():
    defaults = {setting.name: setting.default for setting in settings_of("train.torch_image")}
    assert defaults["learning_rate"] == "3e-3"
    assert settings_of("data.images")[-1].default == "100_000_000"


def test_a_new_setting_reaches_the_signature_the_description_and_the_call(monkeypatch: pytest.MonkeyPatch):
    known = settings_of("data.split")
    added = components.Setting("folds", "int", "5", "Number of folds.")
    monkeypatch.setattr(components, "settings_of", lambda step: [*known, added])
    text = generate("data.split")
    assert "    folds: int = 5,\n" in text
    assert "        folds: Number of folds.\n" in text
    assert "folds=folds" in text
    assert "dataset: dsl.Input[dsl.Dataset]" in text


def test_a_setting_that_is_gone_leaves_the_component(monkeypatch: pytest.MonkeyPatch):
    known = settings_of("data.split")
    monkeypatch.setattr(components, "settings_of", lambda step: known[1:])
    assert known[0].name not in generate("data.split")


def test_a_field_without_a_comment_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    folder = tmp_path / "toolchain" / "data"
    folder.mkdir(parents=True)
    (folder / "split.py").write_text("class Config:\n    seed: int = 0\n")
    monkeypatch.setattr(components, "ROOT", tmp_path)
    with pytest.raises(LookupError, match="seed has no comment"):
        settings_of("data.split")
