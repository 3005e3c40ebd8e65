"""Draw a dashboard from Prometheus, for those without Grafana: the panels and their queries are those of its JSON.

Usage: python monitoring/draw.py [DASHBOARD] [-o FILE.png] [--minutes 30] [--prometheus ADDRESS]
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import numpy as np
from cycler import cycler
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

DASHBOARDS = Path(__file__).parent / "grafana" / "dashboards"
COLUMNS = 24  # of Grafana's grid
INCHES_A_COLUMN, INCHES_A_ROW = 0.58, 0.3
POINTS = 120  # of a line
LEAST_WINDOW = 20.0  # seconds: four looks of Prometheus, as Grafana's $__rate_interval has them
SECONDS_TO_ANSWER = 30
MOST_SHOWN = 8  # lines that a legend names
COLORS = ("#3274d9", "#e0752d", "#37872d", "#c4162a", "#8f3bb8", "#b59a00", "#1f9e9e", "#705da0")
NAMED = {"blue": COLORS[0], "green": COLORS[2], "orange": COLORS[1], "red": COLORS[3]}  # as dashboards call them
INK, MUTED, PAPER, LINE = "#1f2430", "#6b7280", "#ffffff", "#e3e6eb"
STYLE = {
    "font.size": 8.0,
    "text.parse_math": False,  # a label may be called "$5"
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.facecolor": PAPER,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=COLORS),
    "grid.color": LINE,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "legend.labelcolor": MUTED,
}
Series = tuple[str, np.ndarray, np.ndarray]  # its name, seconds since 1970, values


@dataclass(frozen=True)
class Span:
    """The time that is drawn, in seconds since 1970, and what stands for the dashboard's variables."""

    start: float
    end: float
    variables: Mapping[str, str]

    @property
    def step(self) -> float:
        return max(1.0, (self.end - self.start) / POINTS)


def main(words: Sequence[str] | None = None) -> int:
    """Draw by the command line's words; return the exit status."""
    parser = argparse.ArgumentParser(description="Draw a dashboard from what Prometheus holds.")
    parser.add_argument("dashboard", nargs="?", default="service", choices=[p.stem for p in DASHBOARDS.glob("*.json")])
    parser.add_argument("-o", dest="output", type=Path, metavar="FILE", help="default: the dashboard's name, .png")
    parser.add_argument("--minutes", type=float, default=30.0, metavar="N", help="up to now; default: %(default)g")
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", metavar="ADDRESS", help="default: %(default)s")
    parser.add_argument("--model", default=".*", help="default: all")
    parser.add_argument("--version", default=".*", help="default: all")
    parser.add_argument("--pipeline", default=".*", help="default: all")
    given = parser.parse_args(words)
    now = time.time()
    span = Span(
        now - 60 * given.minutes, now, {"model": given.model, "version": given.version, "pipeline": given.pipeline}
    )
    board = json.loads((DASHBOARDS / f"{given.dashboard}.json").read_text(encoding="utf-8"))
    try:
        figure = draw(board, given.prometheus, span)
    except URLError as error:
        print(f"error: Prometheus at {given.prometheus} does not answer: {error.reason}", file=sys.stderr)
        return 1
    output = given.output or Path(f"{given.dashboard}.png")
    figure.savefig(output, dpi=110)
    print(output)
    return 0


def expand(query: str, window: float, span: float, variables: Mapping[str, str]) -> str:
    """Return ``query`` with what Grafana puts in place of its variables; times are in seconds."""
    known = {"__rate_interval": f"{window:.0f}s", "__range": f"{span:.0f}s", "__range_s": f"{span:.0f}", **variables}
    return re.sub(r"\$(\w+)", lambda found: known[found.group(1)], query)


def ask(prometheus: str, path: str, **parameters: Any) -> Any:
    """Return the data that Prometheus' API answers.

    Raises:
        URLError: it is not there.
        ValueError: it refuses the query.
    """
    try:
        with urlopen(f"{prometheus}/api/v1/{path}?{urlencode(parameters)}", timeout=SECONDS_TO_ANSWER) as answer:
            return json.loads(answer.read())["data"]
    except HTTPError as error:
        raise ValueError(f"{path} {parameters}: {json.loads(error.read()).get('error')}") from error


def draw(board: dict[str, Any], prometheus: str, span: Span) -> Figure:
    """Return a picture of all panels of ``board``, laid out as Grafana lays them out."""
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"]) + 1
    with rc_context(STYLE):
        figure = Figure(figsize=(COLUMNS * INCHES_A_COLUMN, rows * INCHES_A_ROW), facecolor="#f4f5f7")
        figure.text(0.3 / COLUMNS, 1 - 0.5 / rows, board["title"], fontsize=12, weight="bold", va="center")
        for panel in board["panels"]:
            found = series_of(panel, prometheus, span)
            DRAWN[panel["type"]](frame(figure, panel, rows), panel, found, span)
    return figure


def series_of(panel: dict[str, Any], prometheus: str, span: Span) -> list[Series]:
    """Return what each query of ``panel`` found."""
    window = max(LEAST_WINDOW, 4 * span.step)
    found = []
    for target in panel["targets"]:
        query = expand(target["expr"], window, span.end - span.start, span.variables)
        times = {"start": span.end if target.get("instant") else span.start, "end": span.end, "step": span.step}
        for one in ask(prometheus, "query_range", query=query, **times)["result"]:
            labels = {"__name__": "", **one["metric"]}
            name = re.sub(
                r"\{\{(\w+)\}\}", lambda word, labels=labels: labels.get(word.group(1), ""), target["legendFormat"]
            )
            when, values = np.array(one["values"], dtype=float).T
            found.append((name, when, values))
    return found


def frame(figure: Figure, panel: dict[str, Any], rows: int) -> Axes:
    """Return the axes of ``panel``, on a card with its title."""
    place = panel["gridPos"]
    gap = 0.12  # of a column, and of a row
    left, width = (place["x"] + gap) / COLUMNS, (place["w"] - 2 * gap) / COLUMNS
    top, height = 1 - (place["y"] + 1 + gap) / rows, (place["h"] - 2 * gap) / rows
    card = Rectangle((left, top - height), width, height, transform=figure.transFigure, fc=PAPER, ec=LINE, zorder=-1)
    figure.add_artist(card)
    figure.text(left + 0.2 / COLUMNS, top - 0.55 / rows, panel["title"], weight="bold", fontsize=8.5, va="center")
    many = panel["type"] == "timeseries"  # it has a legend below
    indent = {"bargauge": place["w"] / 3.5, "stat": 0.35}.get(panel["type"], 1.6)
    below = 1.9 if many else 1.0
    inner = (left + indent / COLUMNS, top - height + below / rows, width - (indent + 0.4) / COLUMNS)
    return figure.add_axes((*inner, height - (below + 1.2) / rows))


def timeseries(axes: Axes, panel: dict[str, Any], found: list[Series], span: Span) -> None:
    unit = unit_of(panel)
    custom = panel["fieldConfig"]["defaults"].get("custom", {})
    stacking = custom.get("stacking", {}).get("mode", "none")
    found = [one for one in found if np.nansum(np.abs(one[2])) > 0] or found[:1]
    chosen = chosen_colors(panel)
    colors = [chosen.get(name, COLORS[place % len(COLORS)]) for place, (name, _, _) in enumerate(found)]
    if stacking == "none":
        for (name, when, values), color in zip(found, colors, strict=True):
            axes.plot(dates(when), values, lw=1.1, label=name, color=color)
    elif found:
        when, heights = aligned(found)
        if stacking == "percent":
            heights = heights / np.maximum(heights.sum(axis=0), 1e-12)
        axes.stackplot(dates(when), heights, labels=[name for name, _, _ in found], colors=colors, alpha=0.75, lw=0)
    fixed = 1 if stacking == "percent" else panel["fieldConfig"]["defaults"].get("max")
    highest = axes.dataLim.ymax if found else 0
    axes.set_ylim(0, fixed or 1.15 * highest or 1)
    time_axis(axes, span)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: told(value, unit)))
    if found:
        handles, names = axes.get_legend_handles_labels()
        many = min(len(names), MOST_SHOWN)
        axes.legend(
            handles[:many],
            names[:many],
            loc="upper left",
            bbox_to_anchor=(-0.02, -0.16),
            ncols=4,
            fontsize=7,
            handlelength=1.0,
            columnspacing=1.2,
            borderaxespad=0,
        )


def heatmap(axes: Axes, panel: dict[str, Any], found: list[Series], span: Span) -> None:
    """Cumulative buckets in, a column of shades for each moment out."""
    unit = unit_of(panel)
    ordered = sorted((one for one in found), key=lambda one: float(one[0].replace("+Inf", "inf")))
    time_axis(axes, span)
    axes.grid(False)
    when, heights = aligned(ordered) if ordered else (np.zeros(0), np.zeros((0, 0)))
    inside = np.diff(heights, axis=0, prepend=0).clip(min=0)
    if not inside[:, 1:].any():  # nothing was counted, or there is one moment only
        return
    shades = np.ma.masked_equal(inside, 0)
    used = np.flatnonzero(inside.sum(axis=1) > 0)
    low, high = max(0, used[0] - 1), min(used[-1] + 2, len(ordered))
    axes.pcolormesh(
        dates(when), np.arange(len(ordered) + 1)[low : high + 1], shades[low:high, 1:], cmap="Blues", vmin=0
    )
    bounds = [name for name, _, _ in ordered]
    places = np.arange(low, high)[:: max(1, (high - low) // 6)]
    axes.set_yticks(places + 1, ["more" if bounds[p] == "+Inf" else told(float(bounds[p]), unit) for p in places])


def stat(axes: Axes, panel: dict[str, Any], found: list[Series], span: Span) -> None:
    axes.set_axis_off()
    if panel["options"]["textMode"] == "name":
        names = [name.replace(", ", "\n") if len(found) == 1 else name for name, _, _ in found]
        axes.text(0, 0.5, "\n".join(names) or "no data", fontsize=12 if len(names) < 2 else 8, va="center")
        return
    text = told(found[0][2][-1], unit_of(panel)) if found and np.isfinite(found[0][2][-1]) else "no data"
    axes.text(0, 0.5, text, fontsize=18, va="center", color=color_of(panel, found))
    if panel["options"]["graphMode"] == "area" and found:
        _, when, values = found[0]
        spark = axes.inset_axes((0.6, 0.1, 0.4, 0.8))
        spark.set_axis_off()
        spark.fill_between(dates(when), np.nan_to_num(values), color=COLORS[0], alpha=0.2, lw=0)
        spark.set_ylim(0, max(1e-9, float(np.nanmax(values)) * 1.1) if np.isfinite(values).any() else 1)
        spark.set_xlim(dates(np.array([span.start, span.end])))


def bargauge(axes: Axes, panel: dict[str, Any], found: list[Series], span: Span) -> None:
    last = [(name, values[-1]) for name, _, values in found]  # a range has them by name, whatever the query sorts by
    shown = sorted(last, key=lambda one: -one[1])[:MOST_SHOWN]
    axes.barh([name for name, _ in shown], [value for _, value in shown], color=COLORS[: len(shown)], height=0.5)
    for place, (_, value) in enumerate(shown):
        axes.text(value, place, f" {told(value, unit_of(panel))}", va="center", fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.xaxis.set_visible(False)
    axes.grid(False)
    axes.tick_params(axis="y", labelsize=8, labelcolor=INK, length=0)
    axes.spines["bottom"].set_visible(False)


DRAWN = {"timeseries": timeseries, "heatmap": heatmap, "stat": stat, "bargauge": bargauge}


def time_axis(axes: Axes, span: Span) -> None:
    axes.set_xlim(dates(np.array([span.start, span.end])))
    locator = AutoDateLocator(minticks=4, maxticks=7)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))


def aligned(found: Sequence[Series]) -> tuple[np.ndarray, np.ndarray]:
    """Return all moments of ``found`` and the values (series, moments) at them, 0 where a series has none."""
    when = np.unique(np.concatenate([one[1] for one in found]))
    heights = np.zeros((len(found), len(when)))
    for row, (_, moments, values) in zip(heights, found, strict=True):
        row[np.searchsorted(when, moments)] = np.nan_to_num(values)
    return when, heights


def dates(when: np.ndarray) -> list[datetime]:
    return [datetime.fromtimestamp(second, UTC) for second in when]


def unit_of(panel: dict[str, Any]) -> str:
    return str(panel["fieldConfig"]["defaults"]["unit"])


def chosen_colors(panel: dict[str, Any]) -> dict[str, str]:
    """Return the colours that ``panel`` has chosen, by the series' names."""
    chosen = panel["fieldConfig"]["overrides"]
    return {one["matcher"]["options"]: NAMED[one["properties"][0]["value"]["fixedColor"]] for one in chosen}


def color_of(panel: dict[str, Any], found: list[Series]) -> str:
    """Return the colour of the highest threshold that the last value reaches."""
    steps = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])
    last = found[0][2][-1] if found else float("nan")
    reached = [step["color"] for step in steps if step["value"] is None or last >= step["value"]]
    return NAMED[reached[-1]] if reached and found else INK


def told(value: float, unit: str) -> str:
    """Return ``value`` as Grafana would write it with ``unit``."""
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    if unit == "s":
        return f"{value:.3g} s" if value >= 1 or not value else f"{1e3 * value:.3g} ms"
    scale, ends = (1024, ("B", "KiB", "MiB", "GiB")) if unit == "bytes" else (1000, ("", "k", "M", "G"))
    power = 0
    while abs(value) >= scale and power < len(ends) - 1:
        value, power = value / scale, power + 1
    number = f"{value:.3g}" if value < 1000 else f"{value:.0f}"
    return f"{number} {ends[power]}{ {'reqps': '/s', 'cps': '/s'}.get(unit, '') }".strip().replace(" /s", "/s")


if __name__ == "__main__":
    sys.exit(main())
