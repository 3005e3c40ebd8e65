"""Pictures: what the page shows as plots, drawn by Matplotlib as SVG that takes its colours and its type from the page.

Every colour below is a stand-in for a variable of the page's style sheet, so that one picture serves light and dark.
Nothing is told by colour alone: the winner is a star, what was refused is a cross, lines differ by their dashes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Data = Mapping[str, Any]
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
    """Draw accuracy against latency; what is right of and below the shaded corner costs too much or gains too little.

    Args:
        points: The variants, the reference first.
        least_accuracy: Per cent; the lowest that is safe.
        most_milliseconds: The longest that counts as faster.
        narrow: For a phone.
    """
    with _figure((4.2, 3.9) if narrow else (8.6, 4.4)) as (figure, axes):
        right = max(point.fast[1] for point in points) * 1.12
        low, high = min(point.right[0] for point in points) - 0.4, max(point.right[1] for point in points) + 0.6
        axes.set(xlim=(0, right), ylim=(low, high), ylabel="accuracy, %", xlabel="median latency, ms (less is better)")
        axes.fill_between([0, most_milliseconds], least_accuracy, high, color=SOFT, linewidth=0, zorder=0)
        axes.axhline(least_accuracy, color=MUTED, linewidth=0.8, linestyle=":")
        axes.axvline(most_milliseconds, color=MUTED, linewidth=0.8, linestyle=":")
        axes.text(right * 0.01, high, "safe and faster", color=MUTED, va="top", fontsize=8)
        for point in points:
            _mark(axes, point)
        _name(axes, points, right, high - low, narrow)
        _explain_marks(axes, points)
        return _svg(figure, f"tradeoff-{'narrow' if narrow else 'wide'}")


def confusion(matrix: Sequence[Sequence[int]], labels: Sequence[str], name: str) -> str:
    """Draw a confusion matrix: a row for each true class; the shade is the share of the row, the number its rows."""
    size = max(2.6, 0.55 * len(labels) + 1.4)
    with _figure((size + 0.6, size)) as (figure, axes):
        axes.grid(False)
        for row, counts in enumerate(matrix):
            for column, count in enumerate(counts):
                colour, share = ACCENT if row == column else WARN, count / max(1, sum(counts))
                square = {"facecolor": colour, "alpha": 0.06 + 0.5 * share, "edgecolor": PAPER, "linewidth": 2}
                axes.add_patch(_rectangle(column - 0.5, row - 0.5, square))
                axes.text(column, row - 0.05, f"{count:,}", ha="center", va="bottom", fontsize=10)
                axes.text(column, row + 0.05, f"{100 * share:.0f} %", ha="center", va="top", fontsize=8, color=MUTED)
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
    marks = {"winner": ("*", 15.0, ACCENT), "safe": ("o", 7.0, INK), "refused": ("X", 8.0, WARN)}
    marker, size, colour = marks[point.kind]
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


def _name(axes: "Axes", points: Sequence[Point], width: float, height: float, narrow: bool) -> None:
    """Write each point's name beside it, moved up or down where names would meet."""
    letters, gap = (0.024, 0.05) if narrow else (0.0115, 0.045)  # of the axes: a letter's width, a line's height
    taken: list[tuple[float, float, float]] = []
    for point in sorted(points, key=lambda point: (point.kind != "winner", point.milliseconds)):
        span, start = letters * len(point.name), point.milliseconds / width + 0.02
        left = start + span > 1
        begin = start - 0.04 - span if left else start
        free = _free_height(begin, begin + span, (point.accuracy) / height, taken, gap)
        taken.append((begin, begin + span, free))
        axes.annotate(
            point.name,
            (point.milliseconds, point.accuracy),
            ((begin + span if left else begin) * width, free * height),
            ha="right" if left else "left",
            va="center",
            fontsize=8,
            fontweight="bold" if point.kind == "winner" else "normal",
            color=INK,
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 4},
        )


def _free_height(
    begin: float, end: float, wanted: float, taken: Sequence[tuple[float, float, float]], gap: float
) -> float:
    tries = [wanted + sign * step * gap for step in range(len(taken) + 1) for sign in (1, -1)]
    return next(
        height
        for height in tries
        if not any(begin < right and left < end and abs(height - other) < gap * 0.99 for left, right, other in taken)
    )


def _explain_marks(axes: "Axes", points: Sequence[Point]) -> None:
    from matplotlib.lines import Line2D

    shown = {"winner": ("*", 12.0, ACCENT), "safe": ("o", 6.0, INK), "refused": ("X", 7.0, WARN)}
    words = {"winner": "the winner", "safe": "safe", "refused": "refused"}
    kinds = {point.kind for point in points}
    handles = [
        Line2D([], [], marker=marker, markersize=size, color=colour, linestyle="", label=words[kind])
        for kind, (marker, size, colour) in shown.items()
        if kind in kinds
    ]
    axes.legend(handles=handles, loc="lower right", fontsize=8, ncols=len(handles), handletextpad=0.2, columnspacing=1)


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
