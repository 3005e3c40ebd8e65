"""Pictures: what the page shows as plots, drawn by Matplotlib as SVG that takes its colours and its type from the page.

Every colour below is a stand-in for a variable of the page's style sheet, so that one picture serves light and dark.
Nothing is told by colour alone: the winner is a star, what was refused is a cross, lines differ by their dashes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Data = Mapping[str, Any]
Box = tuple[float, float, float, float]  # left, low, right, high
INK, MUTED, LINE, ACCENT, WARN, PAPER, SOFT, SECOND = (f"#0{n}0{n}0{n}" for n in range(1, 9))
VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    ACCENT: "var(--accent)",
    WARN: "var(--warn)",
    PAPER: "var(--card)",
    SOFT: "var(--soft)",
    SECOND: "var(--second)",
}
STYLE = {
    "svg.fonttype": "none",  # letters stay letters: the page's own type, sharp at any size
    "svg.hashsalt": "report",  # the same picture is the same bytes
    "text.parse_math": False,  # a class may be called "$5"
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
}
SMALL = (4.0, 3.0)  # inches; a phone's width, where 9 point type is read without zooming
MARKS = {"winner": ("*", 14.0, ACCENT), "safe": ("o", 7.0, INK), "refused": ("X", 8.0, WARN)}  # form, size, colour
POINTS_SHOWN = 6.0  # of accuracy below the reference: a variant that fails badly must not flatten all the others
LINES = ((ACCENT, "-"), (SECOND, "--"))  # of the two variants that are compared: colour and dashes


@dataclass(frozen=True)
class Point:
    """One variant in the picture of accuracy against latency."""

    name: str
    milliseconds: float
    fast: tuple[float, float]  # bounds of the milliseconds
    accuracy: float  # per cent
    right: tuple[float, float]  # bounds of the accuracy, per cent
    kind: str  # "winner", "safe" or "refused"


def tradeoff(points: Sequence[Point], least_accuracy: float, most_milliseconds: float, narrow: bool = False) -> str:
    """Draw accuracy against latency; what is outside the shaded corner costs too much or gains too little.

    Args:
        points: The variants, the reference first.
        least_accuracy: Per cent; the lowest that is safe.
        most_milliseconds: The longest that counts as faster.
        narrow: For a phone.
    """
    floor = points[0].accuracy - POINTS_SHOWN
    right = max(point.fast[1] for point in points) * 1.12
    low = max(floor, min(point.right[0] for point in points)) - 0.5
    high = max(point.right[1] for point in points) + 0.7
    with _figure((4.2, 3.9) if narrow else (8.6, 4.4)) as (figure, axes):
        axes.set(xlim=(0, right), ylim=(low, high), ylabel="accuracy, %", xlabel="median latency, ms (less is better)")
        axes.fill_between([0, most_milliseconds], least_accuracy, high, color=SOFT, linewidth=0, zorder=0)
        axes.axhline(least_accuracy, color=MUTED, linewidth=0.8, linestyle=":")
        axes.axvline(most_milliseconds, color=MUTED, linewidth=0.8, linestyle=":")
        shown = [point if point.accuracy >= floor else _at_the_floor(point, floor) for point in points]
        for point in shown:
            _mark(axes, point)
        _name(axes, shown, most_milliseconds, narrow)
        _explain_marks(figure, {point.kind for point in shown})
        return _svg(figure, f"tradeoff-{'narrow' if narrow else 'wide'}")


def confusion(matrix: Sequence[Sequence[int]], labels: Sequence[str], name: str) -> str:
    """Draw a confusion matrix: a row for each true class; the shade is the share of the row, the number its rows."""
    with _figure((SMALL[0], max(SMALL[1], 0.55 * len(labels) + 1.4))) as (figure, axes):
        axes.grid(False)
        for row, counts in enumerate(matrix):
            for column, count in enumerate(counts):
                colour, share = ACCENT if row == column else WARN, count / max(1, sum(counts))
                square = {"facecolor": colour, "alpha": 0.06 + 0.5 * share, "edgecolor": PAPER, "linewidth": 2}
                axes.add_patch(_rectangle(column - 0.5, row - 0.5, square))
                axes.text(column, row - 0.05, f"{count:,}", ha="center", va="bottom", fontsize=10)
                axes.text(column, row + 0.05, f"{100 * share:.0f} %", ha="center", va="top", fontsize=8)
        ticks, words = range(len(labels)), [_shorter(label) for label in labels]
        axes.set(xlim=(-0.5, len(labels) - 0.5), ylim=(len(labels) - 0.5, -0.5), xlabel="answered", ylabel="true")
        axes.set_xticks(ticks, words, rotation=0 if len(labels) < 4 else 90)
        axes.set_yticks(ticks, words, rotation=90 if len(labels) < 4 else 0, va="center")
        axes.tick_params(length=0)
        return _svg(figure, f"confusion-{name}")


def roc(curves: Mapping[str, Data]) -> str:
    """Draw the ROC curve of one or two variants."""
    with _figure(SMALL) as (figure, axes):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=":")
        for (name, curve), (colour, dashes) in zip(curves.items(), LINES, strict=False):
            across = [point["false_positive_rate"] for point in curve["points"]]
            up = [point["true_positive_rate"] for point in curve["points"]]
            axes.plot(across, up, color=colour, linestyle=dashes, label=f"{name} (area {curve['auc']:.3f})")
        axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1.01))
        axes.legend(loc="lower right", fontsize=8)
        return _svg(figure, "roc")


def calibration(measured: Mapping[str, Data]) -> str:
    """Draw how often answers of each confidence are right, for one or two variants; the diagonal is honest."""
    with _figure(SMALL) as (figure, axes):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=":")
        for (name, entry), (colour, dashes) in zip(measured.items(), LINES, strict=False):
            bins = [one for one in entry["bins"] if one["rows"]]
            label = f"{name} (error {entry['expected_error']:.3f})"
            sure, right = [one["confidence"] for one in bins], [one["accuracy"] for one in bins]
            axes.plot(sure, right, color=colour, linestyle=dashes, marker="o", markersize=3, label=label)
        least = min(
            (one["confidence"] for entry in measured.values() for one in entry["bins"] if one["rows"]), default=0
        )
        axes.set(xlabel="confidence of the answer", ylabel="share that is right", xlim=(least - 0.02, 1.01))
        axes.set_ylim(0, 1.03)
        axes.legend(loc="lower right", fontsize=8)
        return _svg(figure, "calibration")


def slices(measured: Mapping[str, Sequence[Data]]) -> str:
    """Draw the accuracy by length of text, for one or two variants."""
    with _figure(SMALL) as (figure, axes):
        for (name, entries), (colour, dashes) in zip(measured.items(), LINES, strict=False):
            filled = [entry for entry in entries if entry["rows"]]
            axes.plot(
                [f"{_brief(entry['name'])}\n{entry['rows']:,} rows" for entry in filled],
                [100 * entry["accuracy"] for entry in filled],
                color=colour,
                linestyle=dashes,
                marker="o",
                markersize=4,
                label=name,
            )
        axes.set(ylabel="accuracy, %")
        axes.margins(x=0.12, y=0.25)
        axes.legend(loc="best", fontsize=8)
        return _svg(figure, "slices")


def history(epochs: Sequence[Data]) -> str:
    """Draw a training's loss and its accuracy on the validation split, by epoch."""
    with _figure(SMALL) as (figure, axes):
        numbers = [entry["epoch"] for entry in epochs]
        axes.plot(numbers, [entry["loss"] for entry in epochs], color=SECOND, linestyle="--", marker="s", markersize=4)
        axes.set(xlabel="epoch", ylabel="training loss (dashes)", xticks=numbers, ylim=(0, None))
        other = axes.twinx()
        right = [100 * entry["validation_accuracy"] for entry in epochs]
        other.plot(numbers, right, color=ACCENT, marker="o", markersize=4)
        other.set(ylabel="validation accuracy, % (line)")
        other.grid(False)
        other.margins(y=0.3)
        return _svg(figure, "history")


class _figure:
    """A figure with its axes, in ``STYLE``, for a ``with`` block."""

    def __init__(self, size: tuple[float, float]) -> None:
        from matplotlib import rc_context

        self._size, self._style = size, rc_context(STYLE)

    def __enter__(self) -> "tuple[Figure, Axes]":
        from matplotlib.figure import Figure

        self._style.__enter__()
        figure = Figure(figsize=self._size, layout="constrained")
        return figure, figure.subplots()

    def __exit__(self, *error: Any) -> None:
        self._style.__exit__(*error)


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
        edge - 0.01, 0.985, "safe and faster", transform=axes.transAxes, color=MUTED, va="top", ha="right", size=8
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
        for begin in (x + 0.02, x - 0.02 - span, x + 0.06, x - 0.06 - span):
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

    words = {"winner": "the winner", "safe": "safe", "refused": "refused"}
    handles = []
    for kind in (kind for kind in words if kind in kinds):
        marker, size, colour = MARKS[kind]
        handles.append(Line2D([], [], marker=marker, markersize=size, color=colour, linestyle="", label=words[kind]))
    figure.legend(handles=handles, loc="outside upper left", fontsize=8, ncols=3, handletextpad=0.1, columnspacing=1)


def _rectangle(left: float, top: float, look: Mapping[str, Any]) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((left, top), 1, 1, **look)


def _shorter(label: str, letters: int = 16) -> str:
    return label if len(label) <= letters else label[: letters - 1] + "…"


def _brief(slice_name: str) -> str:
    return slice_name.replace("more than ", "> ").replace(" to ", "–").removesuffix(" tokens")


def _svg(figure: "Figure", name: str) -> str:
    """Return ``figure`` as an SVG element for a page, its ids made unlike those of any other picture there."""
    buffer = StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = re.sub(r"font-family: [^;\"]+", "font-family: inherit", text)
    slug = re.sub(r"\W+", "-", name)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{slug}-", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r'\1 aria-hidden="true" focusable="false"', text)
    return re.sub("#0[1-8]0[1-8]0[1-8]", lambda found: VARIABLES.get(found.group(), found.group()), text)
