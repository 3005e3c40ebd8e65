"""Compare the descriptors of a window with those of a profile, using evidently's statistical tests.

Each descriptor is tested at the significance level of the whole check divided by the number of descriptors (Bonferroni
correction). Whatever the correlations between descriptors, the false alarm rate of a check never exceeds that level.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from toolchain.artifacts.columns import LABEL
from toolchain.artifacts.profile import PREDICTIONS, Profile

if TYPE_CHECKING:
    import pandas as pd

NUMERIC_TEST = "ks"  # evidently's name for the two-sample Kolmogorov-Smirnov test
LABEL_TEST = "toolchain_two_sample_chi_square"
MIN_CLASS_ROWS = 10  # in both samples; rarer classes are merged: the chi-square test needs 5 expected rows in a cell
MIN_PRESENT_SHARE = 0.5  # of the rows of either sample that must have a descriptor for it to be compared
HISTOGRAM_BINS = 24
MAX_CLASSES_SHOWN = 20
QUANTILES = (0.05, 0.5, 0.95)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Column:
    """The comparison of one descriptor."""

    name: str
    type: str  # "data" (of requests) or "prediction"
    method: str  # name of the statistical test
    p_value: float  # probability that two samples of one source differ as much
    threshold: float  # drift is detected at this p-value and below
    drift_detected: bool
    distance: float  # 0..1: of numbers, the Kolmogorov-Smirnov statistic; of classes, the total variation distance
    reference: dict[str, Any]  # of numbers: quantiles and histogram; of classes: shares
    window: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare(profile: Profile, rows: Sequence[dict[str, Any]], level: float) -> tuple[list[Column], list[str]]:
    """Return the comparison of each descriptor, and the names of descriptors that too few rows have.

    Args:
        profile: Of the rows that the model was evaluated on.
        rows: The rows of the window: label and numbers.
        level: Significance level of the whole check, 0..1.
    """
    import pandas as pd

    names = list(profile.numbers)
    reference = pd.DataFrame({name: pd.Series(values, dtype=float) for name, values in profile.numbers.items()})
    window = pd.DataFrame({name: pd.Series([row["numbers"].get(name) for row in rows], dtype=float) for name in names})
    present = {name: min(sample[name].count() / len(sample) for sample in (reference, window)) for name in names}
    compared = [name for name in names if present[name] >= MIN_PRESENT_SHARE]
    skipped = [name for name in names if present[name] < MIN_PRESENT_SHARE]
    reference[LABEL], window[LABEL] = list(profile.labels), [row["label"] for row in rows]
    threshold = level / (len(compared) + 1)
    columns = [
        _column(name, reference[name].dropna(), window[name].dropna(), p_value, threshold)
        for name, p_value in _p_values(reference, window, compared, threshold).items()
    ]
    return columns, skipped


def _p_values(
    reference: "pd.DataFrame", window: "pd.DataFrame", numbers: list[str], threshold: float
) -> dict[str, float]:
    """Return evidently's p-value of each of the columns ``numbers`` and of the label."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    _register_label_test()
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=[LABEL])
    methods = {**dict.fromkeys(numbers, NUMERIC_TEST), LABEL: LABEL_TEST}
    metrics = [ValueDrift(column=name, method=method, threshold=threshold) for name, method in methods.items()]
    current, known = (Dataset.from_pandas(frame, data_definition=definition) for frame in (window, reference))
    results = Report(metrics, include_tests=False).run(current, known).dict()
    return {metric["config"]["column"]: float(metric["value"]) for metric in results["metrics"]}


def _register_label_test() -> None:
    """Register a two-sample chi-square test of classes with evidently.

    Evidently's own tests ("chisquare", "g_test") treat the reference as the true distribution. With a reference of
    1,000 rows and a window of 500 their statistic is 1.5 times too large, and false alarms are several times more
    frequent than the level.
    """
    from evidently.legacy.calculations.stattests import StatTest, register_stattest
    from evidently.legacy.core import ColumnType

    test = StatTest(
        name=LABEL_TEST,
        display_name="two-sample chi-square p_value",
        allowed_feature_types=[ColumnType.Categorical],
    )
    register_stattest(test, _chi_square)


def _chi_square(
    reference: "pd.Series", current: "pd.Series", feature_type: object, threshold: float
) -> tuple[float, bool]:
    """Return the p-value of Pearson's test that both samples have the same class shares; rare classes are merged."""
    from scipy.stats import chi2_contingency

    counts = _class_counts(reference, current)
    rare = counts.sum(axis=1) < MIN_CLASS_ROWS
    cells = np.vstack([counts[~rare], counts[rare].sum(axis=0, keepdims=True)])
    cells = cells[cells.sum(axis=1) > 0]
    p_value = float(chi2_contingency(cells)[1]) if len(cells) > 1 else 1.0
    return p_value, p_value <= threshold


def _class_counts(reference: "pd.Series", current: "pd.Series") -> NDArray[np.int64]:
    """Return the rows of each class in both samples, int64 (classes, 2)."""
    names = sorted({*reference, *current})
    return np.array([[int((sample == name).sum()) for sample in (reference, current)] for name in names], np.int64)


def _column(name: str, reference: "pd.Series", window: "pd.Series", p_value: float, threshold: float) -> Column:
    describe = _describe_classes if name == LABEL else _describe_numbers
    distance, summaries = describe(reference, window)
    return Column(
        name=name,
        type="prediction" if name in (LABEL, *PREDICTIONS) else "data",
        method="two-sample chi-square" if name == LABEL else "Kolmogorov-Smirnov",
        p_value=p_value,
        threshold=threshold,
        drift_detected=p_value <= threshold,
        distance=round(distance, 4),
        reference=summaries[0],
        window=summaries[1],
    )


def _describe_classes(reference: "pd.Series", window: "pd.Series") -> tuple[float, list[dict[str, Any]]]:
    """Return the total variation distance of two samples of classes, and the class shares of each."""
    counts = _class_counts(reference, window)
    shares = counts / counts.sum(axis=0)
    distance = float(np.abs(shares[:, 0] - shares[:, 1]).sum() / 2)
    return distance, [_class_shares(sample, reference, window) for sample in (reference, window)]


def _describe_numbers(reference: "pd.Series", window: "pd.Series") -> tuple[float, list[dict[str, Any]]]:
    """Return the Kolmogorov-Smirnov statistic of two samples of numbers, and a summary of each."""
    samples = [sample.to_numpy(np.float64) for sample in (reference, window)]
    edges = _bin_edges(np.concatenate(samples))
    return _ks_statistic(*samples), [_number_summary(sample, edges) for sample in samples]


def _ks_statistic(first: Floats, second: Floats) -> float:
    """Return the largest difference between the two empirical distribution functions."""
    values = np.concatenate([first, second])
    shares = [np.searchsorted(np.sort(sample), values, side="right") / len(sample) for sample in (first, second)]
    return float(np.abs(shares[0] - shares[1]).max())


def _bin_edges(values: Floats) -> Floats:
    """Return histogram edges from the 0.5th to the 99.5th percentile; values outside count in the outer bins."""
    low, high = np.quantile(values, [0.005, 0.995])
    return np.linspace(low, high if high > low else low + 1, HISTOGRAM_BINS + 1)


def _number_summary(values: Floats, edges: Floats) -> dict[str, Any]:
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    return {
        "rows": len(values),
        "mean": round(float(values.mean()), 5),
        "quantiles": [round(float(value), 5) for value in np.quantile(values, QUANTILES)],
        "edges": [round(float(edge), 5) for edge in (edges[0], edges[-1])],
        "histogram": [round(float(share), 5) for share in counts / len(values)],
    }


def _class_shares(sample: "pd.Series", reference: "pd.Series", window: "pd.Series") -> dict[str, Any]:
    most_common = list(reference.value_counts().index)
    names = [*most_common, *sorted({*window} - {*most_common})][:MAX_CLASSES_SHOWN]
    return {"rows": len(sample), "shares": {str(name): round(float((sample == name).mean()), 5) for name in names}}
