"""Trade-off: the picture of accuracy against latency, with the name of each variant where it hides nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from toolchain.release.report.drawing import ACCENT, INK, MUTED, PAPER, SOFT, WARN, drawing, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Box = tuple[float, float, float, float]  # left, low, right, high
MARKS = {"winner": ("*", 14.0, ACCENT), "accurate": ("o", 7.0, INK), "refused": ("X", 8.0, WARN)}  # form, size, colour
GAPS = (0.02, 0.06, 0.12, 0.2, 0.3)  # between a point and its name, as shares of the width
POINTS_SHOWN = 6.0  # of accuracy below the reference: a variant that fails badly must not flatten all the others


@dataclass(frozen=True)
class Point:
    """One variant in the picture of accuracy against latency."""

    name: str
    milliseconds: float
    fast: tuple[float, float]  # bounds of the milliseconds
    accuracy: float  # per cent
    right: tuple[float, float]  # bounds of the accuracy, per cent
    kind: str  # "winner", "accurate" or "refused"


def tradeoff(
    points: Sequence[Point], least_accuracy: float, most_milliseconds: float, word: str, narrow: bool = False
) -> str:
    """Draw accuracy against latency; what is outside the shaded corner costs too much or gains too little.

    Args:
        points: The variants, the reference first.
        least_accuracy: Per cent; the lowest that is accurate.
        most_milliseconds: The longest that counts as faster.
        word: What accuracy is called.
        narrow: For a phone.
    """
    floor = points[0].accuracy - POINTS_SHOWN
    right = max(point.fast[1] for point in points) * 1.12
    low = max(floor, min(point.right[0] for point in points)) - 0.5
    high = max(point.right[1] for point in points) + 0.7
    with drawing((4.2, 3.9) if narrow else (8.6, 4.4)) as (figure, axes):
        axes.set(xlim=(0, right), ylim=(low, high), ylabel=f"{word}, %", xlabel="median latency, ms (less is better)")
        axes.fill_between([0, most_milliseconds], least_accuracy, high, color=SOFT, linewidth=0, zorder=0)
        axes.axhline(least_accuracy, color=MUTED, linewidth=0.8, linestyle=":")
        axes.axvline(most_milliseconds, color=MUTED, linewidth=0.8, linestyle=":")
        shown = [point if point.accuracy >= floor else _at_the_floor(point, floor) for point in points]
        for point in shown:
            _mark(axes, point)
        _name(axes, shown, most_milliseconds, narrow)
        _explain_marks(figure, {point.kind for point in shown})
        return svg(figure, f"tradeoff-{'narrow' if narrow else 'wide'}")


def _mark(axes: "Axes", point: Point) -> None:
    marker, size, colour = MARKS[point.kind]
    axes.errorbar(
        point.milliseconds,
        point.accuracy,
        xerr=[[point.milliseconds - point.fast[0]], [point.fast[1] - point.milliseconds]],
        yerr=[[point.accuracy - point.right[0]], [point.right[1] - point.accuracy]],
        fmt=marker,
        markersize=size,
        color=colour,
        markeredgecolor=PAPER,
        elinewidth=0.9,
        zorder=4 if point.kind == "winner" else 3,
    )


def _at_the_floor(point: Point, floor: float) -> Point:
    """Return ``point``, which lies too far below, as it is drawn: at the lower edge, with its accuracy in words."""
    return replace(point, name=f"{point.name} ({point.accuracy:.1f} %) ↓", accuracy=floor, right=(floor, floor))


def _name(axes: "Axes", points: Sequence[Point], most_milliseconds: float, narrow: bool) -> None:
    """Write each point's name beside it, as near as it hides no other name, mark or bar."""
    letter, line = (0.0215, 0.045) if narrow else (0.0105, 0.042)  # a letter's width, a line's height; of the axes
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    taken = [_box_of(point, axes, narrow) for point in points]
    edge = (most_milliseconds - left) / (right - left)
    title = (edge - letter * 16, 1 - line, edge - 0.01, 1.0)
    axes.text(
        edge - 0.01, 0.985, "accurate and faster", transform=axes.transAxes, color=MUTED, va="top", ha="right", size=8
    )
    taken.append(title)
    for point in sorted(points, key=lambda point: (point.kind != "winner", point.milliseconds)):
        x, y = (point.milliseconds - left) / (right - left), (point.accuracy - low) / (high - low)
        span = letter * len(point.name) * (1.12 if point.kind == "winner" else 1)
        place = _free_place(x, y, span, line, taken)
        taken.append(place)
        beside = place[0] >= x
        axes.annotate(
            point.name,
            (x, y),
            (place[0] if beside else place[2], (place[1] + place[3]) / 2),
            xycoords="axes fraction",
            textcoords="axes fraction",
            ha="left" if beside else "right",
            va="center",
            fontsize=8,
            fontweight="bold" if point.kind == "winner" else "normal",
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.5, "shrinkA": 1, "shrinkB": 5},
        )


def _box_of(point: Point, axes: "Axes", narrow: bool) -> Box:
    """Return what ``point`` covers with its bars, as a share of the axes."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    x, width = (point.milliseconds - left) / (right - left), 0.016 if narrow else 0.007
    return (
        x - width,
        (point.right[0] - low) / (high - low) - 0.02,
        x + width,
        (point.right[1] - low) / (high - low) + 0.02,
    )


def _free_place(x: float, y: float, span: float, line: float, taken: Sequence[Box]) -> Box:
    """Return the box nearest to the point (x, y) where a name ``span`` wide meets nothing that is ``taken``."""
    places = []
    for step in range(-14, 15):
        for begin in [begin for gap in GAPS for begin in (x + gap, x - gap - span)]:
            box = (begin, y + (step - 0.5) * line, begin + span, y + (step + 0.5) * line)
            if box[0] >= 0 and box[2] <= 1 and box[1] >= 0 and box[3] <= 1:
                away = abs(step) * line + min(abs(begin - x), abs(begin + span - x))
                hidden = sum(_meet(box, other) for other in taken)
                places.append((hidden, away, box))
    return min(places)[2] if places else (x + 0.02, y - line / 2, x + 0.02 + span, y + line / 2)


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _explain_marks(figure: "Figure", kinds: set[str]) -> None:
    from matplotlib.lines import Line2D

    words = {"winner": "the winner", "accurate": "accurate", "refused": "refused"}
    handles = []
    for kind in (kind for kind in words if kind in kinds):
        marker, size, colour = MARKS[kind]
        handles.append(Line2D([], [], marker=marker, markersize=size, color=colour, linestyle="", label=words[kind]))
    figure.legend(handles=handles, loc="outside upper left", fontsize=8, ncols=3, handletextpad=0.1, columnspacing=1)
