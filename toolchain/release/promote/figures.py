"""Figures: what model servers counted of each version since watching began, out of the texts of their /metrics.

Counters only grow until their process ends, and then begin at 0: what was counted meanwhile is summed for each server
by itself, as Prometheus' increase() does. A server seen for the first time tells where it stands; what it counted
before belongs to no one.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from prometheus_client.parser import text_string_to_metric_families

from toolchain.errors import ServiceError

PREFIX = "toolchain_serving_"
REQUESTS, SECONDS = f"{PREFIX}requests_total", f"{PREFIX}request_seconds_bucket"
COMPARED, PERCENT = f"{PREFIX}compared_rows_total", f"{PREFIX}traffic_percent"
REFUSED, BEGAN = f"{PREFIX}refused_version", "process_start_time_seconds"
COUNTERS = (REQUESTS, SECONDS, COMPARED)
ASKING = ("/predict", "/infer", "ModelInfer")  # how the routes end that ask the model; the rest asks about it
BUSY = 429  # with 5xx, what the server is to blame for; a client's errors say nothing of a version

Series = tuple[str, frozenset[tuple[str, str]]]
Process = tuple[str, float]  # a server, and when its process began, in seconds since 1970


@dataclass(frozen=True)
class Seen:
    """What became of one version's requests, on all servers."""

    asked: int = 0  # requests
    failed: int = 0  # of them, by the server's fault
    timed: int = 0  # answered, and so timed
    within: Mapping[float, int] = field(default_factory=dict)  # of the timed ones, by the bound in seconds
    compared: int = 0  # rows that the stable version answered too
    otherwise: int = 0  # of them, with another label

    def since(self, before: "Seen") -> "Seen":
        """What came after ``before``, which is an earlier look at the same counters."""
        return Seen(
            asked=self.asked - before.asked,
            failed=self.failed - before.failed,
            timed=self.timed - before.timed,
            within={bound: self._up_to(bound) - before._up_to(bound) for bound in self.within},
            compared=self.compared - before.compared,
            otherwise=self.otherwise - before.otherwise,
        )

    def slower(self, bound: float) -> int:
        """Return how many took longer than ``bound`` seconds; between two bounds of its own, from the lower one on."""
        return self.timed - self._up_to(bound)

    def _up_to(self, bound: float) -> int:
        bounds = sorted(self.within)
        place = bisect_right(bounds, bound)
        return self.within[bounds[place - 1]] if place else 0

    def bound_of(self, share: float, also: Mapping[float, int]) -> float:
        """Return the least bound, in seconds, that ``share`` of the timed requests did not exceed.

        Buckets are fitted to each version: a bound that ``also`` has, those of another one, is taken where there is
        one, so that both can be counted by it.
        """
        fits = [bound for bound, count in sorted(self.within.items()) if self.timed and count >= share * self.timed]
        return next((bound for bound in fits if bound in also), fits[0] if fits else inf)


@dataclass(frozen=True)
class State:
    """What a server says of itself now."""

    percent: float  # of requests that the canary gets
    refused: tuple[str, ...]  # kinds of reasons why it does not take what the traffic names


class Figures:
    """The increases of all counters of ``model``, summed over servers that come, go and start again."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.states: dict[str, State] = {}  # by server, of the last look
        self.restarted: set[str] = set()  # servers whose process ended and began again since the first look
        self.missing: set[str] = set()  # servers that were seen before and are not part of the last look
        self._last: dict[str, tuple[float, dict[Series, float]]] = {}  # by server: when its process began, its counters
        self._sums: dict[Process, dict[Series, float]] = {}

    def look(self, texts: Mapping[str, str], canary: str) -> None:
        """Take what the servers say, by their names; ``canary`` is the version on trial.

        Raises:
            ServiceError: a text is none of a server's.
        """
        self.states = {}
        self.missing = self._last.keys() - texts.keys()
        for server, text in texts.items():
            values = self._values(server, text)
            began = values.pop((BEGAN, frozenset()), 0.0)
            self.states[server] = _state(values, canary)
            self._add(server, began, {key: value for key, value in values.items() if key[0] in COUNTERS})

    def forget(self, servers: set[str]) -> None:
        """Take ``servers`` for ended: what they counted stays, and they are not missing any more."""
        self._last = {server: seen for server, seen in self._last.items() if server not in servers}
        self.missing = self.missing - servers

    def of(self, version: str) -> Seen:
        """Return what was counted of ``version`` since the first look."""
        each = [_seen(sums, version) for sums in self._sums.values()]
        bounds = sorted({bound for one in each for bound in one.within})
        return Seen(
            asked=sum(one.asked for one in each),
            failed=sum(one.failed for one in each),
            timed=sum(one.timed for one in each),
            within={bound: sum(one._up_to(bound) for one in each) for bound in bounds},
            compared=sum(one.compared for one in each),
            otherwise=sum(one.otherwise for one in each),
        )

    def _values(self, server: str, text: str) -> dict[Series, float]:
        try:
            samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        except ValueError as error:
            raise ServiceError(f"{server} is no model server of ours: its /metrics cannot be read") from error
        mine = [one for one in samples if one.name == BEGAN or one.labels.get("model") == self.model]
        return {(one.name, frozenset(one.labels.items())): one.value for one in mine}

    def _add(self, server: str, began: float, values: dict[Series, float]) -> None:
        if server in self._last:
            before_began, before = self._last[server]
            if began != before_began:
                self.restarted.add(server)
            sums = self._sums.setdefault((server, began), {})
            for series, value in values.items():
                known = before.get(series, 0.0) if began == before_began else 0.0
                sums[series] = sums.get(series, 0.0) + (value - known if value >= known else value)
        self._last[server] = began, values


def _seen(sums: Mapping[Series, float], version: str) -> Seen:
    """Return what one process counted of ``version``."""
    counts = [(name, dict(labels), round(value)) for (name, labels), value in sums.items()]
    mine = [(name, labels, count) for name, labels, count in counts if labels["model_version"] == version]
    asked = [(labels, count) for name, labels, count in mine if name == REQUESTS and _asks(labels)]
    compared = [(labels, count) for name, labels, count in mine if name == COMPARED and labels["role"] == "canary"]
    within: dict[float, int] = defaultdict(int)
    for name, labels, count in mine:
        if name == SECONDS and _asks(labels):
            within[float(labels["le"])] += count
    return Seen(
        asked=sum(count for _, count in asked),
        failed=sum(count for labels, count in asked if _is_servers_fault(int(labels["status"]))),
        timed=within.get(inf, 0),
        within=dict(within),
        compared=sum(count for _, count in compared),
        otherwise=sum(count for labels, count in compared if labels["alike"] == "no"),
    )


def _state(values: Mapping[Series, float], canary: str) -> State:
    percent, refused = 0.0, []
    for (name, pairs), value in values.items():
        labels = dict(pairs)
        if name == PERCENT and labels["role"] == "canary" and labels["model_version"] == canary:
            percent = value
        if name == REFUSED and value > 0:
            refused.append(labels["reason_kind"])
    return State(percent, tuple(sorted(refused)))


def _asks(labels: Mapping[str, str]) -> bool:
    return labels["route"].endswith(ASKING)


def _is_servers_fault(status: int) -> bool:
    return status >= 500 or status == BUSY
