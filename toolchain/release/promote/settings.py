"""Settings of a promotion: the version, the user, where servers poll, and the tests of a canary."""

from dataclasses import dataclass, field

from toolchain.errors import ConfigError
from toolchain.lifecycle import ledger, registry
from toolchain.release.promote.canary import Plan, shares
from toolchain.release.promote.sequential import Hypotheses

MAX_REASON_CHARACTERS = 500  # a sentence or two, which MLflow shows as the description of the ledger's entry
TESTS_PER_SHARE = 3


@dataclass(frozen=True, kw_only=True)
class Config:
    model: str = ""  # Registered model: name (its candidate), name@alias or name:version; required.
    force: bool = False  # promote even if the gate rejected it or a newer version is serving; needs a reason
    reason: str = ""  # Reason, recorded in the ledger; required with force.
    user: str = ""  # user, recorded in the ledger
    model_repository: str = ""  # model repository that servers poll, a folder or s3://BUCKET/PREFIX; "": not published
    canary: float = 0.0  # initial share of requests, in percent; 0 promotes at once without a canary
    shadow: bool = False  # Compare its predictions with those of the serving version, without serving them.
    steps: list[float] = field(
        default_factory=lambda: [25.0, 50.0, 100.0]
    )  # shares after the first, in percent; 100 promotes it
    servers: list[str] = field(default_factory=list)  # addresses of the model servers; []: the pods of namespace
    namespace: str = ""  # Kubernetes namespace of the server pods
    minutes: float = 30.0  # longest time at each share; without a decision by then the canary is rejected
    alpha: float = 0.01  # highest rate at which a good canary is rejected, 0..1
    beta: float = 0.05  # highest rate at which a bad canary passes a test, 0..1
    # Acceptable and unacceptable fraction of failed requests.
    failures: list[float] = field(default_factory=lambda: [0.001, 0.02])
    # Acceptable and unacceptable fraction of requests slower than 95 % of the stable version's.
    slow: list[float] = field(default_factory=lambda: [0.05, 0.15])
    # Acceptable and unacceptable fraction of rows with a different label than the stable version's.
    disagreement: list[float] = field(default_factory=lambda: [0.1, 0.25])

    def __post_init__(self) -> None:
        registry.check_name(self.model)
        if self.name.endswith(ledger.SUFFIX):
            raise ConfigError(f"{self.name} is a ledger: promote {self.name.removesuffix(ledger.SUFFIX)}")
        if self.force and not self.reason.strip():
            raise ConfigError(
                "force is set without a reason: give one with --reason (parameter reason), which is recorded"
            )
        if len(self.reason) > MAX_REASON_CHARACTERS:
            raise ConfigError(f"reason has {len(self.reason)} characters: give {MAX_REASON_CHARACTERS} at most")
        if self.shadow and (self.canary or not self.model_repository):
            problem = (
                "canary is set too: set only one of them"
                if self.canary
                else "model_repository is empty: servers poll it"
            )
            raise ConfigError(f"shadow is set, but {problem}")
        if self.canary:
            self._check_canary()

    @property
    def name(self) -> str:
        """The registered model's name."""
        return registry.split_name(self.model)[0]

    def plan(self, first: float) -> Plan:
        """Return the plan of a canary from ``first`` percent on.

        ``alpha`` is for the canary as a whole, so each test at each share gets an equal part of it (Bonferroni).
        """
        percents = shares(first, self.steps)
        alpha = self.alpha / (TESTS_PER_SHARE * max(1, len(percents)))
        pairs = {"failures": self.failures, "slow": self.slow, "disagreement": self.disagreement}
        tests = {name: _hypotheses(name, pair, alpha, self.beta) for name, pair in pairs.items()}
        return Plan(percents=percents, minutes=self.minutes, **tests)

    def _check_canary(self) -> None:
        if not self.minutes > 0:
            raise ConfigError(f"minutes is {self.minutes:g}: give more than 0, 30 is usual")
        if not self.model_repository:
            raise ConfigError("canary is set, but model_repository is empty: servers poll it")
        if not self.servers and not self.namespace:
            raise ConfigError(
                "canary is set, but servers and namespace are empty: give addresses, or the namespace of the pods"
            )
        self.plan(self.canary)


def _hypotheses(name: str, pair: list[float], alpha: float, beta: float) -> Hypotheses:
    if len(pair) != 2:
        raise ConfigError(f"{name} is {pair}: give two shares, an acceptable one and one that is too high")
    try:
        return Hypotheses(good=pair[0], bad=pair[1], alpha=alpha, beta=beta)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error
