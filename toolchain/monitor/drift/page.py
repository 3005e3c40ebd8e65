"""Render drift.json as one HTML file without external files, network access or scripts."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
TEMPLATE = FOLDER / "page.html"
STYLE_SHEET = FOLDER / "page.css"
WIDTH, HEIGHT = 240, 48  # of a histogram, in SVG units
DISPLAY_NAMES = {  # of descriptors whose name needs a unit or more words
    "characters_per_token": "characters per token",
    "punctuation": "share of punctuation",
    "digits": "share of digits",
    "capitals": "share of capitals",
    "surprise": "surprise, bits per token",
    "boxes": "detected boxes",
}


def render(report: Mapping[str, Any]) -> str:
    """Return the HTML page for ``report``, the content of drift.json."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "timestamp": _timestamp,
        "number": lambda value: f"{value:,.4g}",
        "p_value": lambda value: "< 0.000001" if value < 1e-6 else f"{value:.2g}",
        "percent": lambda share: f"{100 * share:.1f} %",
        "display": lambda name: DISPLAY_NAMES.get(name, name),
    }
    charts = {column["name"]: Markup(_histogram(column)) for column in report["columns"] if "edges" in column["window"]}
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(style=Markup(STYLE_SHEET.read_text(encoding="utf-8")), charts=charts, **report)


def _histogram(column: Mapping[str, Any]) -> str:
    """Return an SVG with the histograms of both samples: the profile as an area, the window as a line."""
    samples = [column[sample]["histogram"] for sample in ("reference", "window")]
    top = max(max(shares) for shares in samples) or 1
    area, line = (_step_path(shares, top) for shares in samples)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true" focusable="false">'
        f'<path class="reference" d="{area} V{HEIGHT} H0 Z"/><path class="window" d="{line}"/></svg>'
    )


def _step_path(shares: list[float], top: float) -> str:
    step, height = WIDTH / len(shares), HEIGHT - 2
    parts = [f"V{HEIGHT - height * share / top:.1f} H{(index + 1) * step:.1f}" for index, share in enumerate(shares)]
    return f"M0 {HEIGHT} " + " ".join(parts)


def _timestamp(seconds: float | None) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%-d %B %Y, %H:%M} UTC" if seconds is not None else "-"
