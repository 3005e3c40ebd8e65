"""Find the outlier bounds of numeric columns in one pass, with constant memory."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from toolchain.errors import DataError

SAMPLE_SIZE = 100_000  # values for quartiles: a uniform sample of larger columns (the error of a rank is < 0.5 %)
SEED = 0  # of the sample, so that bounds are reproducible

Values = npt.NDArray[np.float64]


@dataclass
class ColumnStatistics:
    """Exact mean and standard deviation of a column, and quartiles, exact up to ``SAMPLE_SIZE`` values."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0  # sum of squared distances from the mean
    _sample: Values = field(default_factory=lambda: np.empty(0))
    _ranks: Values = field(default_factory=lambda: np.empty(0))
    _random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(SEED))

    def add(self, values: Values) -> None:
        """Add ``values``; missing ones (NaN) are ignored."""
        values = values[np.isfinite(values)]
        if len(values):
            self._add_moments(values)
            self._add_sample(values)

    def bounds(self, method: str, limit: float) -> tuple[float, float]:
        """Return the lowest and the highest value that is not an outlier.

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
        """Merge the moments of ``values`` in a numerically stable way (Chan, Golub & LeVeque, 1979)."""
        count, mean = len(values), float(values.mean())
        distance = mean - self.mean
        total = self.count + count
        self.squares += float(((values - mean) ** 2).sum()) + distance**2 * self.count * count / total
        self.mean += distance * count / total
        self.count = total

    def _add_sample(self, values: Values) -> None:
        """Keep the values with the smallest random ranks: a uniform sample of all values."""
        sample = np.concatenate([self._sample, values])
        ranks = np.concatenate([self._ranks, self._random.random(len(values))])
        if len(sample) > SAMPLE_SIZE:
            chosen = np.argpartition(ranks, SAMPLE_SIZE)[:SAMPLE_SIZE]
            sample, ranks = sample[chosen], ranks[chosen]
        self._sample, self._ranks = sample, ranks


def numeric_values(batch: pa.RecordBatch, column: str) -> Values:
    """Return a numeric ``column`` of ``batch`` as float64, missing values as NaN.

    Raises:
        DataError: the column is not numeric.
    """
    values = batch.column(column)
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        raise DataError(f"column {column!r} holds {values.type}, outlier_columns needs numeric columns")
    found: Values = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return found
