"""Profile: descriptors of the rows that a model was evaluated on, and of its predictions.

It is stored in the model's folder, so that drift of a served model's requests can be measured. It holds no rows, only
numbers that describe them.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toolchain.artifacts.digest import sha256_of_json
from toolchain.artifacts.folder import read_json, write_json
from toolchain.errors import ArtifactError

FORMAT = "toolchain.profile"
FILE = "profile.json"
PREDICTIONS = ("confidence", "boxes")  # descriptors of predictions, as labels are; all others describe requests


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The evaluation rows and predictions of one model, in numbers."""

    model: str  # its digest
    split: str  # of the dataset: the rows that are described
    numbers: dict[str, tuple[float | None, ...]]  # by descriptor (toolchain.inference.features): one for each row
    labels: tuple[str, ...]  # predicted, one for each row
    tokens: tuple[int, ...] = ()  # count of each bucket's tokens in rows that are not described; () of images
    threshold: float = 0.5  # of a detector: the score from which its boxes count


def write_profile(folder: Path, profile: Profile) -> None:
    """Write ``profile`` into ``folder``."""
    content = asdict(profile)
    write_json(folder / FILE, {"format": FORMAT, "version": 1, "digest": sha256_of_json(content), **content})


def read_profile(folder: Path) -> Profile | None:
    """Return the profile in ``folder``, None when there is none, as in older models.

    Raises:
        ArtifactError: the file is damaged or was changed.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    found = read_json(file, FORMAT)
    try:
        profile = _profile(found)
    except (AttributeError, KeyError, TypeError) as error:
        raise ArtifactError(f"{file} is damaged: {error!r}; register the model again") from error
    if sha256_of_json(asdict(profile)) != found.get("digest"):
        raise ArtifactError(f"{file} was changed after it was written; register the model again")
    if any(len(column) != len(profile.labels) for column in profile.numbers.values()):
        raise ArtifactError(f"{file} has columns of different lengths; register the model again")
    return profile


def _profile(found: dict[str, Any]) -> Profile:
    return Profile(
        model=found["model"],
        split=found["split"],
        numbers={name: tuple(column) for name, column in found["numbers"].items()},
        labels=tuple(found["labels"]),
        tokens=tuple(found["tokens"]),
        threshold=found["threshold"],
    )
