"""Run a canary: send a growing share of requests to a version, and end it as soon as a test finds it worse.

At each share the canary is compared with the stable version by the counters of all servers: requests that failed by the
server's fault; requests slower than nearly all of the stable version's; rows that get another label. Each comparison is
a sequential test, which needs no fixed number of requests. A process that dies never reports the requests that it
loses, so a server that restarts during the canary rejects it, and nothing is promoted while a known server is missing.

Serving does not depend on this process: servers send the canary nothing after a minute without its heartbeat. Each
ledger entry holds the time until which the canary is watched; after that, the next promote ends or resumes it.
"""

import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from toolchain.errors import ConfigError, ConflictError, ServiceError, ToolchainError
from toolchain.lifecycle import ledger
from toolchain.lifecycle.ledger import Entry, Ledger
from toolchain.progress import log_info
from toolchain.release.promote.sequential import BAD, GOOD, Hypotheses, SequentialTest
from toolchain.release.promote.server_metrics import ServerMetrics, VersionCounts
from toolchain.release.promote.watcher import SIGNAL_POLL_S, collect_signals, send_heartbeats
from toolchain.services.mlflow import Tracker, Version

POLL_INTERVAL_S = 2.0  # between two scrapes of the servers, which poll the routing as often
ROLLOUT_TIMEOUT_S = 120.0  # for servers to load the version: seconds, for a large one from S3 a minute
UNREACHABLE_TIMEOUT_S = 30.0  # for servers that responded before; a restarting one is back by then
SLOW_QUANTILE = 0.95  # of the stable version's requests: slower ones count as slow
MIN_STABLE_REQUESTS = 100  # before the bound of slow requests is set: five are above it
MAX_APPEND_ATTEMPTS = 5  # to add an entry while others add some too
# reasons of rejections that waiting does not resolve
PERMANENT = ("parity_mismatch", "damaged", "disk_full", "load_failed", "incompatible")


@dataclass(frozen=True, kw_only=True)
class Plan:
    percents: tuple[float, ...]  # of requests, growing, each below 100
    minutes: float  # at each share, until the tests must have decided
    failures: Hypotheses  # on the share of requests that fail
    slow: Hypotheses  # on the share of responses slower than the ``SLOW_QUANTILE`` of the stable version
    disagreement: Hypotheses  # on the share of rows that get another label


@dataclass(frozen=True)
class Outcome:
    promoted: bool
    reason: str
    sha256: str  # of the last ledger entry that counts


class CanaryRejected(Exception):
    """The canary failed; the text is the reason."""


class ConcurrentDecision(Exception):
    """Another user promoted, rolled back or ended the canary; the text is what they did."""


@dataclass
class Trial:
    """A canary and what is needed to run it."""

    tracker: Tracker
    model: str
    version: Version
    entry: Entry  # of the canary, with the user's reason
    plan: Plan
    publish: Callable[[], object]  # copies the ledger's decision to where the servers poll
    beat: Callable[[], object]  # publishes a heartbeat
    scrape: Callable[[], Mapping[str, str]]  # returns the servers' /metrics by server name; raises ServiceError
    expected: Callable[[], Set[str] | None] = lambda: None  # names of servers that should respond; None: all known ones
    stages: list[dict[str, Any]] = field(default_factory=list)  # the counts at each share, for the record
    metrics: ServerMetrics = field(init=False)
    started: bool = False  # whether the ledger has an entry of it
    slow_bound: float | None = None  # seconds, set at each share once the stable version has enough requests
    unreachable_since: float | None = None  # by the monotonic clock
    missing_since: dict[str, float] = field(default_factory=dict)  # by server, by the monotonic clock
    signals: list[int] = field(default_factory=list)  # received by this process

    def __post_init__(self) -> None:
        self.metrics = ServerMetrics(self.model)

    def run(self) -> Outcome:
        """Go through the shares while all tests pass, then promote the canary; end it when one fails."""
        try:
            with collect_signals(self.signals), send_heartbeats(self.beat):
                return self._run_stages()
        except ConcurrentDecision as decided:
            found = ledger.read(self.tracker, self.model)
            serves = found.serving is not None and found.serving.digest == self.entry.digest
            return Outcome(serves, str(decided), found.head)
        except KeyboardInterrupt:
            self._abort("the promote process was interrupted")
            raise
        except Exception as error:
            self._abort(f"the promote process failed: {error}")
            raise

    def _run_stages(self) -> Outcome:
        try:
            self.metrics.update(self.scrape(), self.version.number)
            for percent in self.plan.percents:
                self._roll_out(percent)
                self._watch(percent)
        except CanaryRejected as rejected:
            return Outcome(False, str(rejected), self._end(str(rejected)))
        passed = f"the canary passed at {', '.join(f'{percent:g}' for percent in self.plan.percents)} %"
        reason = "; ".join(filter(None, [self.entry.reason, passed]))
        return Outcome(True, passed, self._add(action=ledger.PROMOTED, percent=0.0, watched_until=0, reason=reason))

    def _roll_out(self, percent: float) -> None:
        """Send the canary ``percent`` of the requests, and wait until all servers do."""
        longest = 60 * self.plan.minutes + ROLLOUT_TIMEOUT_S + UNREACHABLE_TIMEOUT_S
        self._add(percent=percent, watched_until=int(1000 * (time.time() + longest)))
        log_info(f"sending {percent:g} % of the requests to version {self.version.number} of {self.model}")
        end = time.monotonic() + ROLLOUT_TIMEOUT_S
        while others := self._poll(percent):
            if time.monotonic() > end:
                raise CanaryRejected(f"servers did not apply the routing within {ROLLOUT_TIMEOUT_S:g} s: {others}")
            self._pause()

    def _watch(self, percent: float) -> None:
        """Return once all tests pass at ``percent``; raise CanaryRejected when one fails or the time is over."""
        hypotheses = {name: getattr(self.plan, name) for name in ("failures", "slow", "disagreement")}
        tests = {name: SequentialTest(one) for name, one in hypotheses.items()}
        before, stable_before = self._both_counts()
        self.slow_bound = None
        end = time.monotonic() + 60 * self.plan.minutes
        while True:
            self._pause()
            self._poll(percent)
            now, stable = self._both_counts()
            counts = self._events(now.since(before), stable.since(stable_before))
            tests = {name: test.update(*counts[name]) if name in counts else test for name, test in tests.items()}
            if all(test.decision == GOOD for test in tests.values()) and not self.metrics.missing:
                return self._record_stage(percent, counts)
            if reason := self._failure(tests, percent, time.monotonic() > end):
                self._record_stage(percent, counts)
                raise CanaryRejected(reason)

    def _failure(self, tests: Mapping[str, SequentialTest], percent: float, timed_out: bool) -> str:
        """Return why the canary fails at ``percent``, "" while it does not."""
        if bad := [name for name, test in tests.items() if test.decision == BAD]:
            return "; ".join(self._describe(name, tests[name]) for name in bad) + f" (at {percent:g} %)"
        return self._describe_timeout(tests, percent) if timed_out else ""

    def _pause(self) -> None:
        """Wait until the next poll; raise KeyboardInterrupt when this process received a signal."""
        end = time.monotonic() + POLL_INTERVAL_S
        while not self.signals and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, SIGNAL_POLL_S))
        if self.signals:
            raise KeyboardInterrupt

    def _poll(self, percent: float) -> str:
        """Scrape the servers once; return which of them do not route ``percent`` yet, and why if it is known."""
        try:
            self.metrics.update(self.scrape(), self.version.number)
        except ServiceError as error:
            now = time.monotonic()
            self.unreachable_since = self.unreachable_since or now
            if now - self.unreachable_since > UNREACHABLE_TIMEOUT_S:
                raise CanaryRejected(f"servers were unreachable for {UNREACHABLE_TIMEOUT_S:g} s: {error}") from error
            return str(error)
        self.unreachable_since = None
        self._check_processes()
        for server, state in self.metrics.states.items():
            if permanent := [kind for kind in state.rejections if kind in PERMANENT]:
                raise CanaryRejected(f"{server} rejects it: {', '.join(permanent)}; see its log and /readyz")
        states = self.metrics.states.items()
        others = {server: state for server, state in states if abs(state.percent - percent) > 1e-9}
        return "; ".join(
            f"{name} routes {one.percent:g} %{_rejections(one.rejections)}" for name, one in others.items()
        )

    def _check_processes(self) -> None:
        """Raise CanaryRejected when a server restarted or is missing, unless its pod was replaced."""
        if restarted := sorted(self.metrics.restarted):
            raise CanaryRejected(
                f"{', '.join(restarted)} restarted during the canary: requests lost by a dying process are in no "
                "metric. See the log of its previous process"
            )
        expected = self.expected() if self.metrics.missing else None
        if expected is not None:
            self.metrics.forget(self.metrics.missing - expected)
        now = time.monotonic()
        self.missing_since = {server: self.missing_since.get(server, now) for server in self.metrics.missing}
        lost = sorted(server for server, since in self.missing_since.items() if now - since > UNREACHABLE_TIMEOUT_S)
        if lost:
            raise CanaryRejected(f"{', '.join(lost)} did not respond for {UNREACHABLE_TIMEOUT_S:g} s")

    def _both_counts(self) -> tuple[VersionCounts, VersionCounts]:
        """Return the counts of the canary and of the stable version; raise ConcurrentDecision as ``_read_ledger``."""
        serving = self._read_ledger().serving
        stable = self.metrics.counts(serving.version) if serving else VersionCounts()
        return self.metrics.counts(self.version.number), stable

    def _events(self, canary: VersionCounts, stable: VersionCounts) -> dict[str, tuple[int, int]]:
        """Return the events and trials of each test at this share.

        The bound of slow requests is set by the stable version's first requests at this share, and then stays.
        """
        if self.slow_bound is None and stable.timed >= MIN_STABLE_REQUESTS and canary.timed:
            self.slow_bound = stable.latency_bound(SLOW_QUANTILE, canary.buckets)
        counts = {
            "failures": (canary.failed, canary.requests),
            "disagreement": (canary.differing, canary.compared),
        }
        if self.slow_bound is None:
            return counts
        return {**counts, "slow": (canary.slower(self.slow_bound), canary.timed)}

    def _describe(self, name: str, test: SequentialTest) -> str:
        events = {
            "failures": "requests failed",
            "slow": f"requests took over {self.slow_bound or 0:g} s, as {1 - SLOW_QUANTILE:.0%} of the stable "
            "version's do",
            "disagreement": "rows got another label than from the stable version",
        }
        good, bad = test.hypotheses.good, test.hypotheses.bad
        return f"{test.events} of {test.trials} {events[name]} (acceptable: {good:.1%}, too many: {bad:.1%})"

    def _describe_timeout(self, tests: Mapping[str, SequentialTest], percent: float) -> str:
        left = {name: test for name, test in tests.items() if test.decision != GOOD}
        counts = ", ".join(f"{name} {test.events} of {test.trials}" for name, test in left.items())
        needed = max(test.hypotheses.min_trials for test in left.values())
        return (
            f"{self.plan.minutes:g} minutes at {percent:g} % did not decide ({counts}); a decision needs at least "
            f"{needed} requests that the stable version predicts too: give more minutes, or a larger share"
        )

    def _record_stage(self, percent: float, counts: Mapping[str, tuple[int, int]]) -> None:
        """Record the counts at ``percent``, and log them."""
        record = {name: {"events": events, "trials": trials} for name, (events, trials) in counts.items()}
        self.stages.append({"percent": percent, "slow_bound_seconds": self.slow_bound, **record})
        summary = ", ".join(f"{name} {events} of {trials}" for name, (events, trials) in counts.items())
        log_info(f"canary at {percent:g} %: {summary}")

    def _read_ledger(self) -> Ledger:
        """Return the ledger; raise ConcurrentDecision when this canary was ended."""
        known = ledger.read(self.tracker, self.model)
        if self.started and (known.canary is None or known.canary.digest != self.entry.digest):
            last = next(
                line.entry for line in reversed(known.lines) if line.valid and line.entry.action in ledger.SERVING
            )
            raise ConcurrentDecision(f"another user {last.summary}")
        return known

    def _add(self, **changes: Any) -> str:
        """Add the canary's entry with ``changes`` to the ledger, publish it, and return its digest."""
        for _ in range(MAX_APPEND_ATTEMPTS):
            entry = self.entry.renewed(previous=self._read_ledger().head, **changes)
            try:
                ledger.append(self.tracker, self.model, self.version, entry)
            except ConflictError:  # such as an approval of another version: read the ledger again
                continue
            self.started = True
            self.publish()
            return entry.sha256
        raise ServiceError(f"other users keep adding to the ledger of {self.model}; try again later")

    def _end(self, reason: str) -> str:
        return self._add(action=ledger.CANARY_ENDED, percent=0.0, watched_until=0, reason=reason)

    def _abort(self, reason: str) -> None:
        """End the canary if that is still possible."""
        try:
            if self.started:
                self._end(reason)
                log_info(f"the canary is ended: {reason}")
        except ConcurrentDecision:
            return
        except ToolchainError as error:
            log_info(f"the canary could not be ended ({error}); run toolchain rollback {self.model}")


def shares(first: float, more: Sequence[float]) -> tuple[float, ...]:
    """Return the shares of a canary, growing: ``first``, then those of ``more`` above it; 100 is the promotion.

    Raises:
        ConfigError: a share is not above 0 and at most 100.
    """
    for percent in (first, *more):
        if not 0 < percent <= 100:
            raise ConfigError(f"a share is {percent:g} %: give more than 0, and 100 at most")
    return tuple(sorted({float(percent) for percent in (first, *more) if first <= percent < 100}))


def _rejections(kinds: Sequence[str]) -> str:
    return f" and rejects the version ({', '.join(kinds)})" if kinds else ""
