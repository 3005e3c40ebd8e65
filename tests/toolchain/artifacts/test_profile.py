import json
from pathlib import Path

import pytest

from toolchain.artifacts.profile import FILE, Profile, read_profile, write_profile
from toolchain.errors import ArtifactError

PROFILE = Profile(
    model="ab" * 32,
    split="test",
    numbers={"tokens": (3.0, 5.0), "surprise": (7.25, None)},
    labels=("negative", "positive"),
    tokens=(0, 4, 1),
    threshold=0.35,
)


def test_a_profile_is_read_as_it_was_written(tmp_path: Path):
    write_profile(tmp_path, PROFILE)
    assert read_profile(tmp_path) == PROFILE


def test_a_model_made_before_there_were_profiles_has_none(tmp_path: Path):
    assert read_profile(tmp_path) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: content["numbers"].update(tokens=[3.0, 6.0]), "was changed"),
        (lambda content: content["labels"].pop(), "was changed"),
        (lambda content: content.pop("labels"), "is damaged"),
        (lambda content: content.update(numbers=7), "is damaged"),
        (lambda content: content.update(format="toolchain.model"), "not a toolchain.profile"),
    ],
)
def test_a_changed_file_is_rejected(change: object, reason: str, tmp_path: Path):
    write_profile(tmp_path, PROFILE)
    content = json.loads((tmp_path / FILE).read_text())
    change(content)  # type: ignore[operator]
    (tmp_path / FILE).write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match=reason):
        read_profile(tmp_path)


def test_columns_of_different_lengths_are_rejected(tmp_path: Path):
    write_profile(tmp_path, Profile(model="", split="test", numbers={"tokens": (1.0,)}, labels=("a", "b")))
    with pytest.raises(ArtifactError, match="different lengths"):
        read_profile(tmp_path)
