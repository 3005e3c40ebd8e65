"""Render the report on a dataset as one HTML file without external files, network access or scripts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
MAX_TEXT_CHARACTERS = 320
MAX_ITEMS = 30  # of a list or a mapping in a step's note
# Fields of notes whose keys are data at every depth, such as class names.
DATA_FIELDS = {"boxes_by_transform", "classes", "metadata", "objects_by_label", "other_labels", "transforms"}
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
        "label": _label,
    }
    lengths = content.get("lengths")
    return environment.from_string((FOLDER / "page.html").read_text(encoding="utf-8")).render(
        style=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        max_items=MAX_ITEMS,
        data_fields=DATA_FIELDS,
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


def _label(key: object, field: str) -> str:
    """Return ``key`` of a note's ``field`` for readers: "in_other_splits" becomes "In other splits"."""
    if field in DATA_FIELDS:
        return str(key)
    words = str(key).replace("_", " ")
    return words[:1].upper() + words[1:]


def _as_text(value: object) -> str:
    """Return a value of a step's note as text."""
    if value is None or value in ("", [], {}, ()):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_as_text(part) for part in value)
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
