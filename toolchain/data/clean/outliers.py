"""Outliers: the bounds of what is usual in a numeric column, found in one pass with flat memory."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from toolchain.errors import DataError

SAMPLE = (
    100_000  # values that quartiles are taken from: of more, a uniform sample (a quartile's rank is off by < 0.5 %)
)
SEED = 0  # of that sample: the same table has the same bounds

Values = npt.NDArray[np.float64]


@dataclass
class Usual:
    """What is usual in one column: exact mean and deviation, quartiles exact up to ``SAMPLE`` values."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0  # sum of squared distances from the mean
    _sample: Values = field(default_factory=lambda: np.empty(0))
    _ranks: Values = field(default_factory=lambda: np.empty(0))
    _random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(SEED))

    def see(self, values: Values) -> None:
        """Take ``values`` into account; missing ones (NaN) are passed over."""
        values = values[np.isfinite(values)]
        if len(values):
            self._add_moments(values)
            self._add_sample(values)

    def bounds(self, method: str, limit: float) -> tuple[float, float]:
        """Return the lowest and the highest usual value.

        Args:
            method: "zscore": ``limit`` standard deviations from the mean; "iqr": ``limit`` interquartile ranges beyond
                the quartiles (Tukey, Exploratory Data Analysis, 1977: 1.5 is outside, 3.0 far out).
            limit: Above 0.
        """
        if self.count < 2:
            return -np.inf, np.inf
        if method == "zscore":
            deviation = float(np.sqrt(self.squares / (self.count - 1)))
            return self.mean - limit * deviation, self.mean + limit * deviation
        low, high = np.quantile(self._sample, [0.25, 0.75])
        return float(low - limit * (high - low)), float(high + limit * (high - low))

    def _add_moments(self, values: Values) -> None:
        """Merge the moments of ``values`` (Chan, Golub & LeVeque, 1979): exact in one pass, and stable."""
        count, mean = len(values), float(values.mean())
        distance = mean - self.mean
        total = self.count + count
        self.squares += float(((values - mean) ** 2).sum()) + distance**2 * self.count * count / total
        self.mean += distance * count / total
        self.count = total

    def _add_sample(self, values: Values) -> None:
        """Keep the values with the smallest random ranks: a uniform sample of all that were seen."""
        sample = np.concatenate([self._sample, values])
        ranks = np.concatenate([self._ranks, self._random.random(len(values))])
        if len(sample) > SAMPLE:
            chosen = np.argpartition(ranks, SAMPLE)[:SAMPLE]
            sample, ranks = sample[chosen], ranks[chosen]
        self._sample, self._ranks = sample, ranks


def numbers(batch: pa.RecordBatch, column: str) -> Values:
    """Return a numeric ``column`` of ``batch`` as float64, missing values as NaN.

    Raises:
        DataError: the column holds no numbers.
    """
    values = batch.column(column)
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        raise DataError(f"column {column!r} holds {values.type}, outlier_columns needs numbers")
    found: Values = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return found
