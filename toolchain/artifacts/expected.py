"""Expected predictions: a few rows with the model's predictions for each at evaluation, in a batch of one.

They are stored in the model's folder, so that a server can verify that its predictions have not changed.
"""

import base64
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toolchain.artifacts.digest import sha256_of_json
from toolchain.artifacts.folder import read_json, write_json
from toolchain.errors import ArtifactError

FORMAT = "toolchain.expected"
FILE = "expected.json"

# Accepted difference of a score (0..1): float32 on another processor differs by less than 0.0001; INT8 with other
# instructions by a few thousandths; another tokenizer, resize or file by far more on at least one of the rows.
TOLERANCE = 0.02


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row and its prediction."""

    text: str = ""  # or an image:
    image: str = ""  # the file in base64
    scores: tuple[float, ...]  # 0..1: of a classifier by class; of a detector by box, the best first
    boxes: tuple[tuple[float, ...], ...] = ()  # left, top, right, bottom in pixels
    labels: tuple[int, ...] = ()  # positions in the class names, by box

    @property
    def json_value(self) -> str:
        """The value of the row in a request."""
        return self.text or self.image

    @property
    def value(self) -> Any:
        """The row as a dataset's column holds it."""
        return self.text or {"bytes": base64.b64decode(self.image), "path": "a recorded image"}


@dataclass(frozen=True)
class Expected:
    """The predictions of one model."""

    model: str  # its digest
    processor: str  # the type it was evaluated on, as toolchain.hardware.cpu names it
    rows: tuple[Row, ...]
    threshold: float = 0.5  # of a detector: the score at which its F1 was highest


def write_expected(folder: Path, expected: Expected) -> None:
    """Write ``expected`` into ``folder``."""
    content = _plain(expected)
    write_json(folder / FILE, {"format": FORMAT, "version": 1, "digest": sha256_of_json(content), **content})


def read_expected(folder: Path) -> Expected | None:
    """Return the expected predictions in ``folder``, None when there are none.

    Raises:
        ArtifactError: the file is damaged or was changed.
    """
    if not (folder / FILE).is_file():
        return None
    found = read_json(folder / FILE, FORMAT)
    try:
        rows = tuple(_row(row) for row in found["rows"])
        expected = Expected(found["model"], found["processor"], rows, found["threshold"])
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{folder / FILE} is damaged: {error}; register the model again") from error
    if sha256_of_json(_plain(expected)) != found.get("digest"):
        raise ArtifactError(f"{folder / FILE} was changed after it was written; register the model again")
    return expected


def encode_image(file: bytes) -> str:
    """Return an image's file in base64, for ``Row.image``."""
    return base64.b64encode(file).decode("ascii")


def _plain(expected: Expected) -> dict[str, Any]:
    rows: Sequence[Row] = expected.rows
    return {
        "model": expected.model,
        "processor": expected.processor,
        "threshold": expected.threshold,
        "rows": [asdict(row) for row in rows],
    }


def _row(found: dict[str, Any]) -> Row:
    boxes = tuple(tuple(box) for box in found["boxes"])
    return Row(**{**found, "scores": tuple(found["scores"]), "boxes": boxes, "labels": tuple(found["labels"])})
