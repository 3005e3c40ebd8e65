"""Settings of promotion: what is promoted, by whom, where servers look for it, and how a canary is judged."""

from dataclasses import dataclass, field

from toolchain.errors import ConfigError
from toolchain.release.promote.canary import Plan, shares
from toolchain.release.promote.sequential import Hypotheses
from toolchain.services import ledger, registry

REASON_CHARACTERS = 500  # a sentence or two; MLflow shows them in the description of the ledger's entry
TESTS = 3  # at each share


@dataclass(frozen=True, kw_only=True)
class Config:
    model: str = ""  # "name" (its candidate), "name@alias" or "name:version"; must be given
    force: bool = False  # whether to override the gate and the order of versions; never a server that does not answer
    reason: str = ""  # recorded; must be given with force
    who: str = ""  # promotes, recorded
    shelf: str = ""  # where servers look for what serves, a folder or s3://BUCKET/PREFIX; "": servers are not told
    canary: float = 0.0  # percent of requests that it answers at first, on trial; 0 promotes it at once
    shadow: bool = False  # whether to compare it with what serves instead, its answers seen by nobody
    steps: list[float] = field(default_factory=lambda: [25.0, 50.0, 100.0])  # percents after that; 100 promotes it
    servers: list[str] = field(default_factory=list)  # addresses of those that serve; []: the pods of namespace
    namespace: str = ""  # on a cluster: of the pods that serve
    minutes: float = 30.0  # that a trial may take at each percent; by then it must have been decided
    alpha: float = 0.01  # at most so often a canary that is as it should be is rolled back, 0..1
    beta: float = 0.05  # at most so often, in each test, one that is not goes on to the next percent, 0..1
    failures: list[float] = field(default_factory=lambda: [0.001, 0.02])  # shares of requests: fine, and too much
    slow: list[float] = field(default_factory=lambda: [0.05, 0.15])  # beyond what 95 % of the stable version's take
    disagreement: list[float] = field(default_factory=lambda: [0.1, 0.25])  # of rows; a retrained model has some

    def __post_init__(self) -> None:
        registry.check_name(self.model)
        if self.name.endswith(ledger.SUFFIX):
            raise ConfigError(f"{self.name} is a ledger; promote {self.name.removesuffix(ledger.SUFFIX)}")
        if self.force and not self.reason.strip():
            raise ConfigError("force without a reason: give one in reason, it is recorded")
        if len(self.reason) > REASON_CHARACTERS:
            raise ConfigError(f"reason has {len(self.reason)} characters: give {REASON_CHARACTERS} at most")
        if self.shadow and (self.canary or not self.shelf):
            lacking = "with a canary: give one of both" if self.canary else "without a shelf: name what servers look at"
            raise ConfigError(f"a shadow {lacking}")
        if self.canary:
            self._check_canary()

    @property
    def name(self) -> str:
        """The registered model's."""
        return registry.split_name(self.model)[0]

    def plan(self, first: float) -> Plan:
        """Return how a canary is tried from ``first`` percent on.

        The share of false alarms is for the trial as a whole, so each test gets its part of it (Bonferroni).
        """
        percents = shares(first, self.steps)
        alpha = self.alpha / (TESTS * max(1, len(percents)))
        pairs = {"failures": self.failures, "slow": self.slow, "disagreement": self.disagreement}
        tests = {name: _hypotheses(name, pair, alpha, self.beta) for name, pair in pairs.items()}
        return Plan(percents=percents, minutes=self.minutes, **tests)

    def _check_canary(self) -> None:
        if not self.minutes > 0:
            raise ConfigError(f"minutes is {self.minutes:g}: give more than 0, 30 is usual")
        if not self.shelf:
            raise ConfigError("a canary without a shelf: servers could not be told of it; name the shelf they look at")
        if not self.servers and not self.namespace:
            raise ConfigError("a canary without servers: name their addresses, or the namespace of their pods")
        self.plan(self.canary)


def _hypotheses(name: str, pair: list[float], alpha: float, beta: float) -> Hypotheses:
    if len(pair) != 2:
        raise ConfigError(f"{name} is {pair}: give two shares, one that is fine and one that is too much")
    try:
        return Hypotheses(good=pair[0], bad=pair[1], alpha=alpha, beta=beta)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error
