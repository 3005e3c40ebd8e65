"""Render the report on a dataset as one HTML file without external files, network access or scripts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
MAX_TEXT_CHARACTERS = 320
WIDTH, HEIGHT = 480, 90  # of the histogram, in SVG units


def render(content: Mapping[str, Any]) -> str:
    """Return the HTML page for ``content``, the content of report.json."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "number": lambda value: f"{value:,.0f}",
        "percent": lambda share: f"{100 * share:.1f} %",
        "short": lambda text: text if len(text) <= MAX_TEXT_CHARACTERS else text[: MAX_TEXT_CHARACTERS - 1] + "…",
        "plain": _as_text,
    }
    lengths = content.get("lengths")
    return environment.from_string((FOLDER / "page.html").read_text(encoding="utf-8")).render(
        style=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        histogram=Markup(_histogram(lengths["counts"])) if lengths else "",
        **{"lengths": {}, "samples": {}, **content},
    )


def _histogram(counts: list[int]) -> str:
    step, top = WIDTH / len(counts), max(counts) or 1
    bars = "".join(
        f'<rect x="{index * step:.1f}" y="{HEIGHT * (1 - count / top):.1f}" width="{step - 1:.1f}" '
        f'height="{HEIGHT * count / top:.1f}"/>'
        for index, count in enumerate(counts)
    )
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" aria-hidden="true">{bars}</svg>'


def _as_text(value: object) -> str:
    """Return a value of a step's note as text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{str(key).replace('_', ' ')} {_as_text(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_as_text(part) for part in value)
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)
