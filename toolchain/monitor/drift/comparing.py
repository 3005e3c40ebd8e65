"""Comparing: whether a window's descriptors are distributed as the profile's, by evidently.

Each descriptor is tested at the level of the whole look divided by the number of descriptors (Bonferroni): so whatever
depends on what, a look at rows from the same source is a false alarm no more often than that level says.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from toolchain.artifacts.columns import LABEL
from toolchain.artifacts.profile import ANSWERS, Profile

if TYPE_CHECKING:
    import pandas as pd

NUMBERS_TEST = "ks"  # evidently's name: Kolmogorov and Smirnov's test of two samples
LABELS_TEST = "toolchain_two_sample_chi_square"
RARE = 10  # rows of both sides: rarer classes count as one, since the chi-square test wants 5 expected in a cell
LEAST_SHARE = 0.5  # of either side's rows that must have a descriptor for it to be compared
BINS = 24  # of a histogram that is shown
SHOWN_CLASSES = 20
SHOWN_QUANTILES = (0.05, 0.5, 0.95)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Column:
    """What was found of one descriptor."""

    name: str
    kind: str  # "data" or "prediction"
    method: str  # the test, as evidently names it
    p_value: float  # the chance that two samples of the same source differ so much
    threshold: float  # below which that is drift
    drifted: bool
    distance: float  # 0..1: the largest gap between the distribution functions; of classes, the total variation
    reference: dict[str, Any]  # of numbers: quantiles and histogram; of classes: shares
    window: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare(profile: Profile, rows: Sequence[dict[str, Any]], level: float) -> tuple[list[Column], list[str]]:
    """Return what was found of each descriptor, and the names of those that too few rows have.

    Args:
        profile: What the model was evaluated on.
        rows: The window's: label and numbers.
        level: The chance of a false alarm in the whole look, 0..1.
    """
    import pandas as pd

    given = profile.numbers
    reference = pd.DataFrame({name: pd.Series(values, dtype=float) for name, values in given.items()})
    window = pd.DataFrame({name: pd.Series([row["numbers"].get(name) for row in rows], dtype=float) for name in given})
    shares = {name: min(side[name].count() / len(side) for side in (reference, window)) for name in given}
    compared = [name for name in given if shares[name] >= LEAST_SHARE]
    left_out = [name for name in given if shares[name] < LEAST_SHARE]
    reference[LABEL], window[LABEL] = list(profile.labels), [row["label"] for row in rows]
    threshold = level / (len(compared) + 1)
    found = _p_values(reference, window, compared, threshold)
    columns = [_column(name, reference[name].dropna(), window[name].dropna(), found[name], threshold) for name in found]
    return columns, left_out


def _p_values(
    reference: "pd.DataFrame", window: "pd.DataFrame", numbers: list[str], threshold: float
) -> dict[str, float]:
    """Return evidently's p-value of each of the columns ``numbers`` and of the label."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    _register_labels_test()
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=[LABEL])
    methods = {**dict.fromkeys(numbers, NUMBERS_TEST), LABEL: LABELS_TEST}
    metrics = [ValueDrift(column=name, method=method, threshold=threshold) for name, method in methods.items()]
    current, known = (Dataset.from_pandas(frame, data_definition=definition) for frame in (window, reference))
    told = Report(metrics, include_tests=False).run(current, known).dict()
    return {metric["config"]["column"]: float(metric["value"]) for metric in told["metrics"]}


def _register_labels_test() -> None:
    """Give evidently a test of classes that takes both sides for samples.

    Its own ("chisquare", "g_test") take the reference for the truth: with a reference of 1,000 rows and a window of 500
    their statistic is half as large again as it should be, and false alarms come several times as often as said.
    """
    from evidently.legacy.calculations.stattests import StatTest, register_stattest
    from evidently.legacy.core import ColumnType

    test = StatTest(
        name=LABELS_TEST,
        display_name="chi-square of two samples p_value",
        allowed_feature_types=[ColumnType.Categorical],
    )
    register_stattest(test, _chi_square)


def _chi_square(reference: "pd.Series", current: "pd.Series", kind: object, threshold: float) -> tuple[float, bool]:
    """Return the p-value of Pearson's test that both sides have the same shares of classes; rare ones count as one."""
    from scipy.stats import chi2_contingency

    counts = _counts(reference, current)
    rare = counts.sum(axis=1) < RARE
    cells = np.vstack([counts[~rare], counts[rare].sum(axis=0, keepdims=True)])
    cells = cells[cells.sum(axis=1) > 0]
    p_value = float(chi2_contingency(cells)[1]) if len(cells) > 1 else 1.0
    return p_value, p_value <= threshold


def _counts(reference: "pd.Series", current: "pd.Series") -> NDArray[np.int64]:
    """Return how often each class is on either side, int64 (classes, 2)."""
    names = sorted({*reference, *current})
    return np.array([[int((side == name).sum()) for side in (reference, current)] for name in names], np.int64)


def _column(name: str, reference: "pd.Series", window: "pd.Series", p_value: float, threshold: float) -> Column:
    if name == LABEL:
        counts = _counts(reference, window)
        shares = counts / counts.sum(axis=0)
        distance = float(np.abs(shares[:, 0] - shares[:, 1]).sum() / 2)
        told = [_classes(side, reference, window) for side in (reference, window)]
    else:
        sides = [side.to_numpy(np.float64) for side in (reference, window)]
        distance = _largest_gap(*sides)
        edges = _edges(np.concatenate(sides))
        told = [_numbers(side, edges) for side in sides]
    return Column(
        name=name,
        kind="prediction" if name in (LABEL, *ANSWERS) else "data",
        method="chi-square of two samples" if name == LABEL else "Kolmogorov-Smirnov",
        p_value=p_value,
        threshold=threshold,
        drifted=p_value <= threshold,
        distance=round(distance, 4),
        reference=told[0],
        window=told[1],
    )


def _largest_gap(first: Floats, second: Floats) -> float:
    """Return Kolmogorov and Smirnov's statistic: the largest gap between the two distribution functions."""
    places = np.concatenate([first, second])
    shares = [np.searchsorted(np.sort(side), places, side="right") / len(side) for side in (first, second)]
    return float(np.abs(shares[0] - shares[1]).max())


def _edges(values: Floats) -> Floats:
    """Return the edges of a histogram's bins; what lies beyond the first and the last counts there."""
    low, high = np.quantile(values, [0.005, 0.995])
    return np.linspace(low, high if high > low else low + 1, BINS + 1)


def _numbers(values: Floats, edges: Floats) -> dict[str, Any]:
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    return {
        "rows": len(values),
        "mean": round(float(values.mean()), 5),
        "quantiles": [round(float(value), 5) for value in np.quantile(values, SHOWN_QUANTILES)],
        "edges": [round(float(edge), 5) for edge in (edges[0], edges[-1])],
        "histogram": [round(float(share), 5) for share in counts / len(values)],
    }


def _classes(side: "pd.Series", reference: "pd.Series", window: "pd.Series") -> dict[str, Any]:
    commonest = list(reference.value_counts().index)
    names = [*commonest, *sorted({*window} - {*commonest})][:SHOWN_CLASSES]
    return {"rows": len(side), "shares": {str(name): round(float((side == name).mean()), 5) for name in names}}
