"""Page: what was found, as one HTML file that needs no other file, no network and no script."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TEMPLATE = HERE / "page.html"
STYLE_SHEET = HERE / "page.css"
WIDTH, HEIGHT = 240, 48  # of a histogram, in the units of its drawing
WORDS = {  # of descriptors, where a name does not say all
    "characters_a_token": "characters a token",
    "punctuation": "share of punctuation",
    "digits": "share of digits",
    "capitals": "share of capitals",
    "surprise": "surprise, bits a token",
    "label": "label",
    "boxes": "boxes found",
}


def render(found: Mapping[str, Any]) -> str:
    """Return the page on ``found``, the content of drift.json."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "day": _day,
        "number": lambda value: f"{value:,.4g}",
        "chance": lambda value: "below 0.000001" if value < 1e-6 else f"{value:.2g}",
        "percent": lambda share: f"{100 * share:.1f} %",
        "words": lambda name: WORDS.get(name, name),
    }
    drawn = {column["name"]: Markup(_histogram(column)) for column in found["columns"] if "edges" in column["window"]}
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(style=Markup(STYLE_SHEET.read_text(encoding="utf-8")), drawn=drawn, **found)


def _histogram(column: Mapping[str, Any]) -> str:
    """Return both sides' histograms as one drawing: the profile as an area, the window as a line."""
    sides = [column[side]["histogram"] for side in ("reference", "window")]
    top = max(max(side) for side in sides) or 1
    area, line = (_outline(side, top) for side in sides)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true" focusable="false">'
        f'<path class="reference" d="{area} V{HEIGHT} H0 Z"/><path class="window" d="{line}"/></svg>'
    )


def _outline(shares: list[float], top: float) -> str:
    step, height = WIDTH / len(shares), HEIGHT - 2
    parts = [f"V{HEIGHT - height * share / top:.1f} H{(place + 1) * step:.1f}" for place, share in enumerate(shares)]
    return f"M0 {HEIGHT} " + " ".join(parts)


def _day(seconds: float | None) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%-d %B %Y, %H:%M} UTC" if seconds is not None else "-"
