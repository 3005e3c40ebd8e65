"""Images to annotate."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

Draw = Callable[..., Path]


@pytest.fixture
def draw() -> Draw:
    """A function that writes an image of the size given, of a kind, perhaps with an EXIF orientation."""
    return drawn


def drawn(path: Path, width: int, height: int, kind: str = "PNG", orientation: int = 1) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.effect_noise((width, height), 50).convert("RGB").save(
        file, kind, **({"exif": exif} if orientation != 1 else {})
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.getvalue())
    return path
