"""Count the requests of each version since a canary began, from the /metrics of all model servers.

Counters grow until their process ends, and then start at 0 again: increases are summed for each server process, as
Prometheus' increase() does. The first scrape of a server sets where its counters start.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from prometheus_client.parser import text_string_to_metric_families

from toolchain.errors import ServiceError

PREFIX = "toolchain_serving_"
REQUESTS, SECONDS = f"{PREFIX}requests_total", f"{PREFIX}request_duration_seconds_bucket"
COMPARED, PERCENT = f"{PREFIX}compared_rows_total", f"{PREFIX}traffic_percent"
REJECTED_LOADS, STARTED = f"{PREFIX}rejected_versions", "process_start_time_seconds"
COUNTERS = (REQUESTS, SECONDS, COMPARED)
PREDICTING = ("/predict", "/infer", "ModelInfer")  # endings of the routes that run the model
TOO_MANY_REQUESTS = 429  # counts as the server's fault, like 5xx; other client errors do not depend on the version

Series = tuple[str, frozenset[tuple[str, str]]]
Process = tuple[str, float]  # a server, and when its process began, in seconds since 1970


@dataclass(frozen=True)
class VersionCounts:
    """The requests of one version, on all servers."""

    requests: int = 0
    failed: int = 0  # of the requests, by the server's fault
    timed: int = 0  # requests with a response, and so a latency
    buckets: Mapping[float, int] = field(default_factory=dict)  # cumulative counts of timed ones, by bound in seconds
    compared: int = 0  # rows that the stable version predicted too
    differing: int = 0  # of them, with another label

    def since(self, before: "VersionCounts") -> "VersionCounts":
        """Return the increase over ``before``, an earlier state of the same counters."""
        return VersionCounts(
            requests=self.requests - before.requests,
            failed=self.failed - before.failed,
            timed=self.timed - before.timed,
            buckets={bound: self._up_to(bound) - before._up_to(bound) for bound in self.buckets},
            compared=self.compared - before.compared,
            differing=self.differing - before.differing,
        )

    def slower(self, bound: float) -> int:
        """Return how many took longer than ``bound`` seconds; between two bucket bounds, the lower one counts."""
        return self.timed - self._up_to(bound)

    def _up_to(self, bound: float) -> int:
        bounds = sorted(self.buckets)
        index = bisect_right(bounds, bound)
        return self.buckets[bounds[index - 1]] if index else 0

    def latency_bound(self, quantile: float, other: Mapping[float, int]) -> float:
        """Return the lowest bucket bound, in seconds, that ``quantile`` of the timed requests did not exceed.

        Buckets differ between versions: a bound that is in ``other``, the buckets of another version, is preferred,
        since both can be counted by it.
        """
        fits = [bound for bound, count in sorted(self.buckets.items()) if self.timed and count >= quantile * self.timed]
        return next((bound for bound in fits if bound in other), fits[0] if fits else inf)


@dataclass(frozen=True)
class ServerState:
    """The routing of a server."""

    percent: float  # of requests to the canary
    rejections: tuple[str, ...]  # why it does not load a routed version


class ServerMetrics:
    """The increases of all counters of ``model``, summed over servers that start, stop and restart."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.states: dict[str, ServerState] = {}  # by server, from the last update
        self.restarted: set[str] = set()  # servers whose process was replaced since the first update
        self.missing: set[str] = set()  # known servers that the last update did not include
        self._last: dict[str, tuple[float, dict[Series, float]]] = {}  # by server: process start, counters
        self._sums: dict[Process, dict[Series, float]] = {}

    def update(self, texts: Mapping[str, str], canary: str) -> None:
        """Read the /metrics ``texts`` by server name; ``canary`` is the version of the canary.

        Raises:
            ServiceError: a text is not a model server's.
        """
        self.states = {}
        self.missing = self._last.keys() - texts.keys()
        for server, text in texts.items():
            values = self._parse(server, text)
            began = values.pop((STARTED, frozenset()), 0.0)
            self.states[server] = _state(values, canary)
            self._add(server, began, {key: value for key, value in values.items() if key[0] in COUNTERS})

    def forget(self, servers: set[str]) -> None:
        """Stop expecting ``servers``; their counts stay."""
        self._last = {server: last for server, last in self._last.items() if server not in servers}
        self.missing = self.missing - servers

    def counts(self, version: str) -> VersionCounts:
        """Return the counts of ``version`` since the first update."""
        each = [_counts(sums, version) for sums in self._sums.values()]
        bounds = sorted({bound for one in each for bound in one.buckets})
        return VersionCounts(
            requests=sum(one.requests for one in each),
            failed=sum(one.failed for one in each),
            timed=sum(one.timed for one in each),
            buckets={bound: sum(one._up_to(bound) for one in each) for bound in bounds},
            compared=sum(one.compared for one in each),
            differing=sum(one.differing for one in each),
        )

    def _parse(self, server: str, text: str) -> dict[Series, float]:
        try:
            samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        except ValueError as error:
            raise ServiceError(f"{server} is not a model server: its /metrics cannot be parsed") from error
        own = [one for one in samples if one.name == STARTED or one.labels.get("model") == self.model]
        return {(one.name, frozenset(one.labels.items())): one.value for one in own}

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


def _counts(sums: Mapping[Series, float], version: str) -> VersionCounts:
    """Return the counts of ``version`` in one process."""
    counts = [(name, dict(labels), round(value)) for (name, labels), value in sums.items()]
    own = [(name, labels, count) for name, labels, count in counts if labels["model_version"] == version]
    requests = [(labels, count) for name, labels, count in own if name == REQUESTS and _is_prediction(labels)]
    compared = [(labels, count) for name, labels, count in own if name == COMPARED and labels["role"] == "canary"]
    buckets: dict[float, int] = defaultdict(int)
    for name, labels, count in own:
        if name == SECONDS and _is_prediction(labels):
            buckets[float(labels["le"])] += count
    return VersionCounts(
        requests=sum(count for _, count in requests),
        failed=sum(count for labels, count in requests if _is_servers_fault(int(labels["status"]))),
        timed=buckets.get(inf, 0),
        buckets=dict(buckets),
        compared=sum(count for _, count in compared),
        differing=sum(count for labels, count in compared if labels["match"] == "no"),
    )


def _state(values: Mapping[Series, float], canary: str) -> ServerState:
    percent, rejections = 0.0, []
    for (name, pairs), value in values.items():
        labels = dict(pairs)
        if name == PERCENT and labels["role"] == "canary" and labels["model_version"] == canary:
            percent = value
        if name == REJECTED_LOADS and value > 0:
            rejections.append(labels["reason"])
    return ServerState(percent, tuple(sorted(rejections)))


def _is_prediction(labels: Mapping[str, str]) -> bool:
    return labels["route"].endswith(PREDICTING)


def _is_servers_fault(status: int) -> bool:
    return status >= 500 or status == TOO_MANY_REQUESTS
