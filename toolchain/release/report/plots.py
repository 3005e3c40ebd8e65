"""Plot the predictions of variants and their training; lines differ by colour and by dashes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from toolchain.release.report.drawing import ACCENT, MUTED, PAPER, SECOND, WARN, drawing, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Data = Mapping[str, Any]
SIZE = (4.0, 3.0)  # inches: a phone's width, where a font of 9 points is readable
MAX_DETAILED_CLASSES = 5  # of a confusion matrix whose cells have room for a share beside the count
MAX_AXIS_CHARACTERS = 36  # of level labels below a matrix, which would overlap otherwise
LINES = ((ACCENT, "-"), (SECOND, "--"))  # colour and dashes of the two variants


def confusion(matrix: Sequence[Sequence[int]], labels: Sequence[str], name: str) -> str:
    """Plot a confusion matrix, a row for each true class: numbers are counts, shades are shares of the class."""
    detailed = len(labels) <= MAX_DETAILED_CLASSES
    height = 0.55 * len(labels) + 1.4 if detailed else 0.32 * len(labels) + 0.6
    with drawing((SIZE[0], max(SIZE[1], height))) as (figure, axes):
        axes.grid(False)
        for row, counts in enumerate(matrix):
            for column, count in enumerate(counts):
                _draw_cell(axes, row, column, count, count / max(1, sum(counts)), detailed)
        ticks, names = range(len(labels)), [_shorten(label) for label in labels]
        axes.set(xlim=(-0.5, len(labels) - 0.5), ylim=(len(labels) - 0.5, -0.5), xlabel="predicted", ylabel="true")
        level = len(labels) < 4 and max(map(len, names)) * len(names) <= MAX_AXIS_CHARACTERS
        axes.set_xticks(ticks, names, rotation=0 if level else 90)
        axes.set_yticks(ticks, names, rotation=90 if level else 0, va="center")
        axes.tick_params(length=0)
        return svg(figure, f"confusion-{name}")


def _draw_cell(axes: "Axes", row: int, column: int, count: int, share: float, detailed: bool) -> None:
    colour = ACCENT if row == column else WARN
    style = {"facecolor": colour, "alpha": 0.06 + 0.5 * share, "edgecolor": PAPER, "linewidth": 2}
    axes.add_patch(_rectangle(column - 0.5, row - 0.5, style))
    if detailed:
        axes.text(column, row - 0.05, f"{count:,}", ha="center", va="bottom", fontsize=10)
        axes.text(column, row + 0.05, f"{100 * share:.0f} %", ha="center", va="top", fontsize=8)
    elif count:
        axes.text(column, row, f"{count:,}", ha="center", va="center", fontsize=8)


def roc(curves: Mapping[str, Data]) -> str:
    """Plot the ROC curve of one or two variants."""
    with drawing(SIZE) as (figure, axes):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=":")
        for (name, curve), (colour, dashes) in zip(curves.items(), LINES, strict=False):
            across = [point["false_positive_rate"] for point in curve["points"]]
            up = [point["true_positive_rate"] for point in curve["points"]]
            axes.plot(across, up, color=colour, linestyle=dashes, label=f"{name} (area {curve['auc']:.3f})")
        axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1.01))
        axes.legend(loc="lower right", fontsize=8)
        return svg(figure, "roc")


def calibration(measured: Mapping[str, Data]) -> str:
    """Plot the accuracy by confidence, for one or two variants; the diagonal is perfect calibration."""
    with drawing(SIZE) as (figure, axes):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=":")
        for (name, entry), (colour, dashes) in zip(measured.items(), LINES, strict=False):
            bins = [one for one in entry["bins"] if one["rows"]]
            label = f"{name} (error {entry['expected_error']:.3f})"
            confidence, accuracy = [one["confidence"] for one in bins], [one["accuracy"] for one in bins]
            axes.plot(confidence, accuracy, color=colour, linestyle=dashes, marker="o", markersize=3, label=label)
        lowest = min(
            (one["confidence"] for entry in measured.values() for one in entry["bins"] if one["rows"]), default=0
        )
        axes.set(xlabel="confidence", ylabel="accuracy", xlim=(lowest - 0.02, 1.01))
        axes.set_ylim(0, 1.03)
        axes.legend(loc="lower right", fontsize=8)
        return svg(figure, "calibration")


def slices(measured: Mapping[str, Sequence[Data]], metric: str = "accuracy") -> str:
    """Plot the accuracy by length of text or size of objects, for one or two variants."""
    with drawing(SIZE) as (figure, axes):
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
        axes.set(ylabel=f"{metric}, %")
        axes.margins(x=0.12, y=0.25)
        axes.legend(loc="best", fontsize=8)
        return svg(figure, "slices")


def balance(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Plot the number of objects of each class in all splits, the most common on top."""
    names = {name for split in counts.values() for name in split}
    totals = {name: sum(split.get(name, 0) for split in counts.values()) for name in names}
    shown = sorted(totals.items(), key=lambda item: (-item[1], item[0]))[:20]
    with drawing((SIZE[0], max(1.2, 0.3 * len(shown) + 0.7))) as (figure, axes):
        axes.barh([_shorten(name) for name, _ in shown], [count for _, count in shown], color=ACCENT, height=0.6)
        for row, (_, count) in enumerate(shown):
            axes.text(count, row, f" {count:,}", va="center", fontsize=8)
        axes.invert_yaxis()
        axes.margins(x=0.18)
        axes.set(xlabel="objects")
        axes.grid(False, axis="y")
        return svg(figure, "balance")


def positions(statistics: Data) -> str:
    """Plot the positions of object centres in their images, on a grid: darker for more."""
    with drawing(SIZE) as (figure, axes):
        grid = statistics["positions"]
        highest = max(1, *(count for row in grid for count in row))
        axes.grid(False)
        for down, row in enumerate(grid):
            for across, count in enumerate(row):
                style = {"facecolor": ACCENT, "alpha": 0.04 + 0.8 * count / highest, "edgecolor": PAPER, "linewidth": 1}
                axes.add_patch(_rectangle(across, down, style))
        axes.set(xlim=(0, len(grid[0])), ylim=(len(grid), 0), xticks=[], yticks=[], aspect="equal")
        axes.set_xlabel(f"centres of {statistics['objects']:,} objects; at most {highest:,} in one cell")
        return svg(figure, "positions")


def history(epochs: Sequence[Data]) -> str:
    """Plot training loss and validation accuracy by epoch."""
    with drawing(SIZE) as (figure, axes):
        numbers = [entry["epoch"] for entry in epochs]
        axes.plot(numbers, [entry["loss"] for entry in epochs], color=SECOND, linestyle="--", marker="s", markersize=4)
        axes.set(xlabel="epoch", ylabel="training loss (dashes)", xticks=numbers, ylim=(0, None))
        other = axes.twinx()
        accuracy = [100 * entry["validation_accuracy"] for entry in epochs]
        other.plot(numbers, accuracy, color=ACCENT, marker="o", markersize=4)
        other.set(ylabel="validation accuracy, % (line)")
        other.grid(False)
        other.margins(y=0.3)
        return svg(figure, "history")


def _rectangle(left: float, top: float, style: Mapping[str, Any]) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((left, top), 1, 1, **style)


def _shorten(label: str, characters: int = 16) -> str:
    """Return ``label``, without its middle when it is long: names often differ only at their ends."""
    half = characters // 2
    return label if len(label) <= characters else f"{label[:half]}…{label[1 - half :]}"


def _brief(slice_name: str) -> str:
    return slice_name.partition(" (")[0].replace("more than ", "> ").replace(" to ", "–").removesuffix(" tokens")
