"""Plot accuracy against latency, with the name of each variant where it covers nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from toolchain.release.report.drawing import ACCENT, INK, MUTED, PAPER, SOFT, WARN, drawing, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Box = tuple[float, float, float, float]  # left, low, right, high, as shares of the axes
MARKERS = {
    "winner": ("*", 14.0, ACCENT),
    "accurate": ("o", 7.0, INK),
    "rejected": ("X", 8.0, WARN),
}  # with size, colour
GAPS = (0.02, 0.06, 0.12, 0.2, 0.3)  # between a point and its name, as shares of the width
MAX_POINTS_BELOW = 6.0  # percentage points below the reference: a bad variant must not flatten all the others
WIDE, NARROW = (0.0105, 0.042, 0.007), (0.0215, 0.045, 0.016)  # shares of the axes: a letter's width, a line, a marker


@dataclass(frozen=True)
class Point:
    """One variant."""

    name: str
    milliseconds: float
    milliseconds_bounds: tuple[float, float]
    accuracy: float  # percent
    accuracy_bounds: tuple[float, float]  # percent
    status: str  # "winner", "accurate" or "rejected"


def tradeoff(
    points: Sequence[Point], min_accuracy: float, max_milliseconds: float, metric: str, narrow: bool = False
) -> str:
    """Plot accuracy against latency; the shaded corner holds what is accurate and faster.

    Args:
        points: The variants, the reference first.
        min_accuracy: Percent; the lowest that passes.
        max_milliseconds: The longest latency that counts as faster.
        metric: The name of the accuracy.
        narrow: Whether it is for a phone.
    """
    floor = points[0].accuracy - MAX_POINTS_BELOW
    right = max(point.milliseconds_bounds[1] for point in points) * 1.12
    low = max(floor, min(point.accuracy_bounds[0] for point in points)) - 0.5
    high = max(point.accuracy_bounds[1] for point in points) + 0.7
    with drawing((4.2, 3.9) if narrow else (8.6, 4.4)) as (figure, axes):
        axes.set(xlim=(0, right), ylim=(low, high), ylabel=f"{metric}, %", xlabel="median latency, ms (less is better)")
        axes.fill_between([0, max_milliseconds], min_accuracy, high, color=SOFT, linewidth=0, zorder=0)
        axes.axhline(min_accuracy, color=MUTED, linewidth=0.8, linestyle=":")
        axes.axvline(max_milliseconds, color=MUTED, linewidth=0.8, linestyle=":")
        shown = [point if point.accuracy >= floor else _at_floor(point, floor) for point in points]
        for point in shown:
            _mark(axes, point)
        _label(axes, shown, max_milliseconds, narrow)
        _add_legend(figure, {point.status for point in shown})
        return svg(figure, f"tradeoff-{'narrow' if narrow else 'wide'}")


def _mark(axes: "Axes", point: Point) -> None:
    marker, size, colour = MARKERS[point.status]
    (fastest, slowest), (low, high) = point.milliseconds_bounds, point.accuracy_bounds
    axes.errorbar(
        point.milliseconds,
        point.accuracy,
        xerr=[[point.milliseconds - fastest], [slowest - point.milliseconds]],
        yerr=[[point.accuracy - low], [high - point.accuracy]],
        fmt=marker,
        markersize=size,
        color=colour,
        markeredgecolor=PAPER,
        elinewidth=0.9,
        zorder=4 if point.status == "winner" else 3,
    )


def _at_floor(point: Point, floor: float) -> Point:
    """Return ``point``, which is below ``floor``, at the lower edge, with its accuracy in its name."""
    name = f"{point.name} ({point.accuracy:.1f} %) ↓"
    return replace(point, name=name, accuracy=floor, accuracy_bounds=(floor, floor))


def _label(axes: "Axes", points: Sequence[Point], max_milliseconds: float, narrow: bool) -> None:
    """Write each point's name as near to it as it covers no other name, marker or bar."""
    letter, line, _ = NARROW if narrow else WIDE
    edge = _position(axes, max_milliseconds, 0)[0]
    style: dict[str, Any] = {"transform": axes.transAxes, "color": MUTED, "va": "top", "ha": "right", "size": 8}
    axes.text(edge - 0.01, 0.985, "accurate and faster", **style)
    taken = [*(_box_of(point, axes, narrow) for point in points), (edge - letter * 20, 1 - line, edge - 0.01, 1.0)]
    for point in sorted(points, key=lambda point: (point.status != "winner", point.milliseconds)):
        x, y = _position(axes, point.milliseconds, point.accuracy)
        width = letter * len(point.name) * (1.12 if point.status == "winner" else 1)
        box = _free_box(x, y, width, line, taken)
        taken.append(box)
        _annotate(axes, point, (x, y), box)


def _annotate(axes: "Axes", point: Point, at: tuple[float, float], box: Box) -> None:
    to_the_right = box[0] >= at[0]
    axes.annotate(
        point.name,
        at,
        (box[0] if to_the_right else box[2], (box[1] + box[3]) / 2),
        xycoords="axes fraction",
        textcoords="axes fraction",
        ha="left" if to_the_right else "right",
        va="center",
        fontsize=8,
        fontweight="bold" if point.status == "winner" else "normal",
        arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.5, "shrinkA": 1, "shrinkB": 5},
    )


def _position(axes: "Axes", milliseconds: float, accuracy: float) -> tuple[float, float]:
    """Return a point of the plot as shares of the axes."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    return (milliseconds - left) / (right - left), (accuracy - low) / (high - low)


def _box_of(point: Point, axes: "Axes", narrow: bool) -> Box:
    """Return what ``point`` covers with its error bars."""
    width = (NARROW if narrow else WIDE)[2]
    x, low = _position(axes, point.milliseconds, point.accuracy_bounds[0])
    _, high = _position(axes, point.milliseconds, point.accuracy_bounds[1])
    return x - width, low - 0.02, x + width, high + 0.02


def _free_box(x: float, y: float, width: float, line: float, taken: Sequence[Box]) -> Box:
    """Return the box nearest to the point (x, y) where a name of this ``width`` overlaps as little as possible."""
    candidates = []
    for step in range(-14, 15):
        for begin in [begin for gap in GAPS for begin in (x + gap, x - gap - width)]:
            box = (begin, y + (step - 0.5) * line, begin + width, y + (step + 0.5) * line)
            if box[0] >= 0 and box[2] <= 1 and box[1] >= 0 and box[3] <= 1:
                distance = abs(step) * line + min(abs(begin - x), abs(begin + width - x))
                overlaps = sum(_overlap(box, other) for other in taken)
                candidates.append((overlaps, distance, box))
    return min(candidates)[2] if candidates else (x + 0.02, y - line / 2, x + 0.02 + width, y + line / 2)


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _add_legend(figure: "Figure", statuses: set[str]) -> None:
    from matplotlib.lines import Line2D

    handles = []
    for status in (status for status in MARKERS if status in statuses):
        marker, size, colour = MARKERS[status]
        handles.append(Line2D([], [], marker=marker, markersize=size, color=colour, linestyle="", label=status))
    figure.legend(handles=handles, loc="outside upper left", fontsize=8, ncols=3, handletextpad=0.1, columnspacing=1)
