"""Canary: a version on trial gets a growing share of the requests, and none as soon as something speaks against it.

Held against the stable version, from the counters of all servers, at each share anew: requests that failed by the
server's fault; requests slower than nearly all of the stable version's; rows that get another label. Each by a
sequential test, which needs no fixed number of requests. A process that dies never reports the requests that it
loses, so a server that restarts during the trial rejects the canary by itself, and none is promoted while a server that
was seen before is missing. Whoever watches is no part of what serves: servers give a
canary nothing when they have not heard of its watcher for a minute. Each entry in the ledger says until when someone
watches, and a canary that nobody watches is ended, or gone on with, by the next promote.
"""

import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from toolchain.errors import ConfigError, ConflictError, ServiceError, ToolchainError
from toolchain.progress import say
from toolchain.release.promote.figures import Figures, Seen
from toolchain.release.promote.sequential import BAD, GOOD, Hypotheses, SequentialTest
from toolchain.release.promote.watcher import NAP_SECONDS, beating, noted
from toolchain.services import ledger
from toolchain.services.ledger import Entry, Ledger
from toolchain.services.mlflow import Tracker, Version

LOOK_SECONDS = 2.0  # between two looks at the servers, who look at the traffic as often
SECONDS_TO_FOLLOW = 120.0  # for servers to load the version: seconds, a large one from S3 a minute
SECONDS_OF_SILENCE = 30.0  # of servers that answered before; one that restarts is back by then
SHARE_WITHIN = 0.95  # of the stable version's requests: what is slower than these is slow
LEAST_OF_STABLE = 100  # requests from which that is told: five are above
TRIES = 5  # to add an entry, when others add some too
FINAL = ("answers", "damaged", "disk_full", "failure", "unfit")  # kinds of refusals that waiting does not mend


@dataclass(frozen=True, kw_only=True)
class Plan:
    percents: tuple[float, ...]  # of requests, growing, each below 100
    minutes: float  # at each share, until what was seen must have decided
    failures: Hypotheses  # on the share of requests that fail
    slow: Hypotheses  # on the share of those answered that are slower than ``SHARE_WITHIN`` of the stable version's
    disagreement: Hypotheses  # on the share of rows that get another label


@dataclass(frozen=True)
class Outcome:
    promoted: bool
    reason: str  # in words
    sha256: str  # of the last entry that counts


class AgainstIt(Exception):
    """Something speaks against the canary; the text is the reason."""


class DecidedElsewhere(Exception):
    """Somebody promoted, rolled back or ended the canary meanwhile; the text tells."""


@dataclass
class Trial:
    """A canary, and all that is needed to try it."""

    tracker: Tracker
    model: str
    version: Version
    entry: Entry  # of a canary, about that version, with what a person says of it
    plan: Plan
    publish: Callable[[], object]  # puts what the ledger says where the servers look
    beat: Callable[[], object]  # tells servers that the canary is watched
    texts: Callable[[], Mapping[str, str]]  # of the servers' /metrics, by their names; raises ServiceError
    expected: Callable[[], Set[str] | None] = lambda: None  # names of servers that should respond; None: those seen
    stages: list[dict[str, Any]] = field(default_factory=list)  # what was seen at each share, for the record
    figures: Figures = field(init=False)
    begun: bool = False  # whether the ledger has an entry of it
    bound: float | None = None  # seconds; what is slower is slow. None until the stable version told, at each share
    silent_since: float | None = None  # by the monotonic clock
    missing_since: dict[str, float] = field(default_factory=dict)  # by server, by the monotonic clock
    signals: list[int] = field(default_factory=list)  # that asked this process to end

    def __post_init__(self) -> None:
        self.figures = Figures(self.model)

    def run(self) -> Outcome:
        """Give one share after the other while nothing speaks against it, then promote it; else end it."""
        try:
            with noted(self.signals), beating(self.beat):
                return self._try()
        except DecidedElsewhere as decided:
            found = ledger.read(self.tracker, self.model)
            serves = found.serving is not None and found.serving.digest == self.entry.digest
            return Outcome(serves, str(decided), found.head)
        except KeyboardInterrupt:
            self._give_up("whoever watched it was interrupted")
            raise
        except Exception as error:
            self._give_up(f"whoever watched it failed: {error}")
            raise

    def _try(self) -> Outcome:
        try:
            self.figures.look(self.texts(), self.version.number)
            for percent in self.plan.percents:
                self._give(percent)
                self._watch(percent)
        except AgainstIt as against:
            return Outcome(False, str(against), self._end(str(against)))
        held = f"as a canary it held at {', '.join(f'{percent:g}' for percent in self.plan.percents)} %"
        reason = "; ".join(filter(None, [self.entry.reason, held]))
        return Outcome(True, held, self._add(action=ledger.PROMOTED, percent=0.0, until=0, reason=reason))

    def _give(self, percent: float) -> None:
        """Let the canary have ``percent`` of the requests, once all servers follow."""
        longest = 60 * self.plan.minutes + SECONDS_TO_FOLLOW + SECONDS_OF_SILENCE
        self._add(percent=percent, until=int(1000 * (time.time() + longest)))
        say(f"version {self.version.number} of {self.model} is to answer {percent:g} % of the requests")
        end = time.monotonic() + SECONDS_TO_FOLLOW
        while others := self._look(percent):
            if time.monotonic() > end:
                raise AgainstIt(f"servers do not follow within {SECONDS_TO_FOLLOW:g} s: {others}")
            self._pause()

    def _watch(self, percent: float) -> None:
        """Return once all tests find the canary good at ``percent``; raise AgainstIt when one does not."""
        hypotheses = {name: getattr(self.plan, name) for name in ("failures", "slow", "disagreement")}
        tests = {name: SequentialTest(one) for name, one in hypotheses.items()}
        before, stable_before = self._seen()
        self.bound = None
        end = time.monotonic() + 60 * self.plan.minutes
        while True:
            self._pause()
            self._look(percent)
            now, stable = self._seen()
            counts = self._counts(now.since(before), stable.since(stable_before))
            tests = {name: test.look(*counts[name]) if name in counts else test for name, test in tests.items()}
            decisions = {name: test.decision for name, test in tests.items()}
            if bad := [name for name, decision in decisions.items() if decision == BAD]:
                self._note(percent, counts)
                raise AgainstIt("; ".join(self._told(name, tests[name]) for name in bad) + f" (at {percent:g} %)")
            if all(decision == GOOD for decision in decisions.values()) and not self.figures.missing:
                return self._note(percent, counts)
            if time.monotonic() > end:
                self._note(percent, counts)
                raise AgainstIt(self._undecided(tests, percent))

    def _pause(self) -> None:
        """Wait until the next look; raise KeyboardInterrupt when this process was asked to end."""
        end = time.monotonic() + LOOK_SECONDS
        while not self.signals and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, NAP_SECONDS))
        if self.signals:
            raise KeyboardInterrupt

    def _look(self, percent: float) -> str:
        """Ask the servers once; return who of them does not follow to ``percent``, and why if it is known."""
        try:
            self.figures.look(self.texts(), self.version.number)
        except ServiceError as error:
            now = time.monotonic()
            self.silent_since = self.silent_since or now
            if now - self.silent_since > SECONDS_OF_SILENCE:
                raise AgainstIt(f"servers were silent for {SECONDS_OF_SILENCE:g} s: {error}") from error
            return str(error)
        self.silent_since = None
        self._check_processes()
        for server, state in self.figures.states.items():
            if final := [kind for kind in state.refused if kind in FINAL]:
                raise AgainstIt(f"{server} refuses it: {', '.join(final)}; its log and /readyz say more")
        states = self.figures.states.items()
        others = {server: state for server, state in states if abs(state.percent - percent) > 1e-9}
        told = [f"{name} gives {one.percent:g} %{_refused(one.refused)}" for name, one in others.items()]
        return "; ".join(told)

    def _check_processes(self) -> None:
        """Raise AgainstIt when a server restarted, or does not come back, although nobody ended it."""
        if restarted := sorted(self.figures.restarted):
            raise AgainstIt(
                f"{', '.join(restarted)} restarted during the trial: the requests that a process loses when it dies "
                "are in no metric. The log of its previous process has the cause"
            )
        expected = self.expected() if self.figures.missing else None
        if expected is not None:
            self.figures.forget(self.figures.missing - expected)
        now = time.monotonic()
        self.missing_since = {server: self.missing_since.get(server, now) for server in self.figures.missing}
        if lost := sorted(server for server, since in self.missing_since.items() if now - since > SECONDS_OF_SILENCE):
            raise AgainstIt(f"{', '.join(lost)} did not respond for {SECONDS_OF_SILENCE:g} s during the trial")

    def _seen(self) -> tuple[Seen, Seen]:
        """Return what was counted of the canary and of the stable version; raise DecidedElsewhere as ``_known``."""
        serving = self._known().serving
        return self.figures.of(self.version.number), self.figures.of(serving.version) if serving else Seen()

    def _counts(self, canary: Seen, stable: Seen) -> dict[str, tuple[int, int]]:
        """Return what each test needs, events and trials, of what was seen at this share.

        What is slow is told by the stable version's first requests at this share, and then stays.
        """
        if self.bound is None and stable.timed >= LEAST_OF_STABLE and canary.timed:
            self.bound = stable.bound_of(SHARE_WITHIN, canary.within)
        counts = {
            "failures": (canary.failed, canary.asked),
            "disagreement": (canary.otherwise, canary.compared),
        }
        return counts if self.bound is None else {**counts, "slow": (canary.slower(self.bound), canary.timed)}

    def _told(self, name: str, test: SequentialTest) -> str:
        said = {
            "failures": "requests failed",
            "slow": f"requests took over {self.bound or 0:g} s, as {1 - SHARE_WITHIN:.0%} of the stable version's do",
            "disagreement": "rows got another label than from the stable version",
        }
        good, bad = test.hypotheses.good, test.hypotheses.bad
        return f"{test.events} of {test.trials} {said[name]} (fine is {good:.1%}, too much {bad:.1%})"

    def _undecided(self, tests: Mapping[str, SequentialTest], percent: float) -> str:
        left = {name: test for name, test in tests.items() if test.decision != GOOD}
        counts = ", ".join(f"{name} {test.events} of {test.trials}" for name, test in left.items())
        few = max(test.hypotheses.fewest for test in left.values())
        return (
            f"{self.plan.minutes:g} minutes at {percent:g} % did not decide ({counts}); {few} requests that the stable "
            "version answers too are needed at least: give more minutes, or a larger share"
        )

    def _note(self, percent: float, counts: Mapping[str, tuple[int, int]]) -> None:
        """Keep what was seen at ``percent``, and tell."""
        seen = {name: {"events": events, "trials": trials} for name, (events, trials) in counts.items()}
        self.stages.append({"percent": percent, "slow_from_seconds": self.bound, **seen})
        told = ", ".join(f"{name} {events} of {trials}" for name, (events, trials) in counts.items())
        say(f"canary at {percent:g} %: {told}")

    def _known(self) -> Ledger:
        """Return the ledger; raise DecidedElsewhere when the canary is not on trial any more."""
        known = ledger.read(self.tracker, self.model)
        if self.begun and (known.canary is None or known.canary.digest != self.entry.digest):
            last = next(
                line.entry for line in reversed(known.lines) if line.counts and line.entry.action in ledger.SERVING
            )
            raise DecidedElsewhere(f"meanwhile somebody {last.told}")
        return known

    def _add(self, **said: Any) -> str:
        """Add an entry that is like the canary's but for ``said``, publish, and return its digest."""
        for _ in range(TRIES):
            entry = self.entry.again(previous=self._known().head, **said)
            try:
                ledger.append(self.tracker, self.model, self.version, entry)
            except ConflictError:  # an approval of another version, say: what counts is read anew
                continue
            self.begun = True
            self.publish()
            return entry.sha256
        raise ServiceError(f"others add to the ledger of {self.model} all the time; try again later")

    def _end(self, reason: str) -> str:
        return self._add(action=ledger.CANARY_ENDED, percent=0.0, until=0, reason=reason)

    def _give_up(self, reason: str) -> None:
        """End the canary if that can still be done."""
        try:
            if self.begun:
                self._end(reason)
                say(f"the canary is ended: {reason}")
        except DecidedElsewhere:
            return
        except ToolchainError as error:
            say(f"the canary could not be ended ({error}); do it: python -m pipelines rollback {self.model}")


def shares(first: float, more: Sequence[float]) -> tuple[float, ...]:
    """Return the shares to watch at, growing: ``first``, then those of ``more`` above it; 100 is the promotion.

    Raises:
        ConfigError: a share is none.
    """
    for percent in (first, *more):
        if not 0 < percent <= 100:
            raise ConfigError(f"a share is {percent:g} %: give more than 0, and 100 at most")
    return tuple(sorted({float(percent) for percent in (first, *more) if first <= percent < 100}))


def _refused(kinds: Sequence[str]) -> str:
    return f" and refuses ({', '.join(kinds)})" if kinds else ""
