"""Sequential test: whether a share is small or large, decided as soon as what was seen says so. Pure arithmetic.

Wald's sequential probability ratio test (A. Wald, Sequential Tests of Statistical Hypotheses, Annals of Mathematical
Statistics 16, 1945, pages 117-186; for shares section 5.2): after n trials with k events the ratio of the likelihoods
of "the share is ``bad``" and "it is ``good``" is

    L = (bad / good)^k * ((1 - bad) / (1 - good))^(n - k)

Wald stops at L >= A and L <= B. His bounds A = (1 - beta) / alpha and B = beta / (1 - alpha) hold the errors but
approximately; taken here are A = 1 / alpha and B = beta, which hold them surely, however often and after whatever
numbers of trials one looks: under "good" L is a martingale of mean 1, so that it ever reaches 1 / alpha has a
probability of alpha at most (Ville's inequality, of which Wald's (3.11) is a case); under "bad" so is 1 / L. A share
below ``good`` is called bad even more rarely, one above ``bad`` good even more rarely.
"""

from dataclasses import dataclass, replace
from math import log
from typing import Literal

from toolchain.errors import ConfigError

Decision = Literal["", "good", "bad"]
UNDECIDED: Decision = ""
GOOD: Decision = "good"
BAD: Decision = "bad"


@dataclass(frozen=True, kw_only=True)
class Hypotheses:
    """What is held against what, and how often either may be wrong. All are shares between 0 and 1, both excluded."""

    good: float  # a share of events that is fine
    bad: float  # one that is not; whichever is between may be called either
    alpha: float  # at most so often a good share is called bad: a false alarm
    beta: float  # at most so often a bad one is called good

    def __post_init__(self) -> None:
        for name in ("good", "bad", "alpha", "beta"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: give a share between 0 and 1, both excluded")
        if self.good >= self.bad:
            raise ConfigError(f"good is {self.good} and bad is {self.bad}: a good share must be below a bad one")
        if self.alpha + self.beta >= 1:
            raise ConfigError(
                f"alpha {self.alpha} and beta {self.beta}: together they must be below 1, say 0.01 and 0.05"
            )

    def log_ratio(self, events: int, trials: int) -> float:
        """Return log L of ``events`` in ``trials``."""
        return events * log(self.bad / self.good) + (trials - events) * log((1 - self.bad) / (1 - self.good))

    def decide(self, events: int, trials: int) -> Decision:
        """Return what ``events`` in ``trials``, all since the test began, say by themselves."""
        ratio = self.log_ratio(events, trials)
        if ratio >= -log(self.alpha):
            return BAD
        return GOOD if ratio <= log(self.beta) else UNDECIDED

    @property
    def fewest(self) -> int:
        """The trials without any event after which a share is called good."""
        trials = int(log(self.beta) / log((1 - self.bad) / (1 - self.good)))
        return next(count for count in range(trials, trials + 3) if self.decide(0, count) == GOOD)


@dataclass(frozen=True)
class SequentialTest:
    """A test under way. What was decided once stands, whatever comes after it."""

    hypotheses: Hypotheses
    events: int = 0
    trials: int = 0
    decision: Decision = UNDECIDED

    def look(self, events: int, trials: int) -> "SequentialTest":
        """Return the test after ``events`` in ``trials``, counted from its beginning.

        Raises:
            ValueError: there are more events than trials, or fewer of either than before.
        """
        if not 0 <= events <= trials or events < self.events or trials < self.trials:
            raise ValueError(f"{events} events in {trials} trials after {self.events} in {self.trials}")
        decision = self.decision or self.hypotheses.decide(events, trials)
        return replace(self, events=events, trials=trials, decision=decision)
