"""Settings of metrics that all tasks share."""

from collections.abc import Sequence
from dataclasses import dataclass

from toolchain.metrics.bootstrap import Bootstrap


@dataclass(frozen=True)
class MetricSettings:
    """How metrics are computed."""

    bootstrap: Bootstrap  # of the intervals
    bins: int = 15  # of the calibration error, as in Guo et al. 2017 (arXiv 1706.04599)
    slices: Sequence[int] = (16, 32, 64)  # longest text of each slice but the last, in tokens
