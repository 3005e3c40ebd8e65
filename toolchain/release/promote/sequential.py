"""Test sequentially whether a share is small or large, deciding as soon as the counts suffice. Pure arithmetic.

Wald's sequential probability ratio test (A. Wald, Sequential Tests of Statistical Hypotheses, Annals of Mathematical
Statistics 16, 1945, pages 117-186; for shares section 5.2): after n trials with k events the ratio of the likelihoods
of "the share is ``bad``" and "it is ``good``" is

    L = (bad / good)^k * ((1 - bad) / (1 - good))^(n - k)

Wald stops at L >= A and L <= B. His bounds A = (1 - beta) / alpha and B = beta / (1 - alpha) limit the errors only
approximately. Here A = 1 / alpha and B = beta, which limit them exactly, however often and after whichever numbers of
trials the test is evaluated: under "good" L is a martingale of mean 1, so the probability that it ever reaches
1 / alpha is at most alpha (Ville's inequality, of which Wald's (3.11) is a case); the same holds for 1 / L under "bad".
A share below ``good`` is called bad even more rarely, and one above ``bad`` is called good even more rarely.
"""

from dataclasses import dataclass, replace
from math import log, log1p
from typing import Literal

from toolchain.errors import ConfigError

Decision = Literal["", "good", "bad"]
UNDECIDED: Decision = ""
GOOD: Decision = "good"
BAD: Decision = "bad"


@dataclass(frozen=True, kw_only=True)
class Hypotheses:
    """The two hypotheses and their error rates: shares between 0 and 1, both excluded."""

    good: float  # a share of events that is acceptable
    bad: float  # one that is not; a share between them may be called either
    alpha: float  # the highest rate of false alarms: a good share called bad
    beta: float  # the highest rate of misses: a bad share called good

    def __post_init__(self) -> None:
        for name in ("good", "bad", "alpha", "beta"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: give a share between 0 and 1, both excluded")
        if self.good >= self.bad:
            raise ConfigError(f"good is {self.good} and bad is {self.bad}: a good share must be below a bad one")
        if self.alpha + self.beta >= 1:
            raise ConfigError(
                f"alpha {self.alpha} and beta {self.beta}: their sum must be below 1, such as 0.01 and 0.05"
            )

    def log_ratio(self, events: int, trials: int) -> float:
        """Return log L of ``events`` in ``trials``."""
        return events * log(self.bad / self.good) + (trials - events) * (log1p(-self.bad) - log1p(-self.good))

    def decide(self, events: int, trials: int) -> Decision:
        """Return the decision on ``events`` in ``trials``, counted since the test began."""
        ratio = self.log_ratio(events, trials)
        if ratio >= -log(self.alpha):
            return BAD
        return GOOD if ratio <= log(self.beta) else UNDECIDED

    @property
    def min_trials(self) -> int:
        """The number of trials without any event after which a share is called good."""
        trials = int(log(self.beta) / (log1p(-self.bad) - log1p(-self.good)))
        return next(count for count in range(trials, trials + 3) if self.decide(0, count) == GOOD)


@dataclass(frozen=True)
class SequentialTest:
    """A running test. A decision is final."""

    hypotheses: Hypotheses
    events: int = 0
    trials: int = 0
    decision: Decision = UNDECIDED

    def update(self, events: int, trials: int) -> "SequentialTest":
        """Return the test after ``events`` in ``trials``, counted from its beginning.

        Raises:
            ValueError: there are more events than trials, or fewer of either than before.
        """
        if not 0 <= events <= trials or events < self.events or trials < self.trials:
            raise ValueError(f"{events} events in {trials} trials after {self.events} in {self.trials}")
        decision = self.decision or self.hypotheses.decide(events, trials)
        return replace(self, events=events, trials=trials, decision=decision)
