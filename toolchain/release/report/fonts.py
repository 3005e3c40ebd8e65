"""Find a font that has the characters of a text, for text that is drawn into an image."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

# By file name, as Debian's package fonts-noto-cjk installs it: Chinese, Japanese and Korean, Latin, Greek, Cyrillic.
SYSTEM_FONTS = ("NotoSansCJK-Regular.ttc",)


def font_for(text: str, size: float) -> "FreeTypeFont":
    """Return the first font that has every character of ``text``, else the one that has most of them.

    Args:
        text: The text to draw.
        size: In pixels.
    """
    from PIL import ImageFont

    wanted = {ord(character) for character in text}
    best = max(_fonts(), key=lambda path: len(wanted & _characters(path)))
    return ImageFont.truetype(best, size)


@cache
def _fonts() -> tuple[str, ...]:
    """Return paths of fonts, the preferred one first: Matplotlib contains DejaVu (Latin, Greek, Cyrillic, Arabic)."""
    from matplotlib import get_data_path
    from PIL import ImageFont

    found = [str(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")]
    for name in SYSTEM_FONTS:
        try:
            found.append(str(ImageFont.truetype(name).path))
        except OSError:  # not installed
            continue
    return tuple(found)


@cache
def _characters(path: str) -> frozenset[int]:
    """Return the code points that the font at ``path`` has."""
    from fontTools.ttLib import TTFont

    with TTFont(path, fontNumber=0, lazy=True) as font:
        return frozenset(font.getBestCmap())
