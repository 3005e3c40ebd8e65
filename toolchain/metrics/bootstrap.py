"""Intervals: the uncertainty of a metric, by bootstrap (Efron and Tibshirani 1993, chapter 13, percentile method)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import ConfigError

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
CELLS_AT_ONCE = 4_000_000  # resampled counts held at a time: 32 MB


@dataclass(frozen=True)
class Interval:
    """A metric and its confidence interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """The bootstrap of intervals; equal settings draw equal resamples."""

    resamples: int = 1000  # enough for the second digit of a 95 % bound (Efron and Tibshirani 1993, section 14.3)
    confidence: float = 0.95  # share of intervals that contain the true value, 0..1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.resamples < 100:
            raise ConfigError(f"resamples is {self.resamples}: an interval needs at least 100, 1000 is usual")
        if not 0.5 <= self.confidence < 1:
            raise ConfigError(f"confidence is {self.confidence}: give a share from 0.5 to below 1, such as 0.95")
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}: give 0 or more")

    def of_counts(self, counts: Counts, statistic: Callable[[Counts], Floats]) -> Interval:
        """Return ``statistic`` of rows that fall into cells, and its interval.

        Drawing rows with replacement and counting them by cell is drawing the counts from a multinomial distribution,
        so the cost depends on the cells and not on the rows.

        Args:
            counts: int64 of shape (cells,): how many rows fell into each.
            statistic: maps int64 counts of shape (draws, cells) to float64 of shape (draws,); NaN where a draw lacks
                the rows that the metric needs (such draws are skipped).
        """
        total, shares = int(counts.sum()), counts / counts.sum()
        generator = np.random.default_rng(self.seed)
        step = max(1, CELLS_AT_ONCE // counts.size)
        sizes = [min(step, self.resamples - start) for start in range(0, self.resamples, step)]
        drawn = np.concatenate([statistic(generator.multinomial(total, shares, size)) for size in sizes])
        return self._interval(float(statistic(counts[None, :])[0]), drawn)

    def of_median(self, samples: Floats) -> Interval:
        """Return the median of ``samples``, float64 of shape (rounds, samples in a round), and its interval.

        Whole rounds are drawn, because what disturbs one sample of a round disturbs its neighbours too.
        """
        rounds = len(samples)
        drawn = np.random.default_rng(self.seed).integers(0, rounds, (self.resamples, rounds))
        return self._interval(float(np.median(samples)), np.median(samples[drawn].reshape(self.resamples, -1), axis=1))

    def _interval(self, value: float, drawn: Floats) -> Interval:
        tail = (1 - self.confidence) / 2
        low, high = np.nanquantile(drawn, [tail, 1 - tail])
        return Interval(value, float(low), float(high))
