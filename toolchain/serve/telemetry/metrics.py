"""Metrics: what happened to one version, for Prometheus; every label has a bounded number of values."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from toolchain.artifacts.model import Model

LADDER = [mantissa * 10**power for power in (-4.0, -3.0, -2.0, -1.0, 0.0, 1.0) for mantissa in (1, 1.5, 2, 3, 5, 7)]
BUCKETS = 19  # from half of one row's time to some 400 times it: a full queue's last row waits 256 times, of one stream
ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64)
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
MOST_CLASSES = 100  # that are counted one by one; the rest counts as "other"
KINDS = {  # of errors, by the HTTP status that told of one; 0: the client was gone before there was any
    **dict.fromkeys((400, 403, 415, 421, 422, 431, 501, 505), "bad_request"),
    401: "unknown_token",
    **dict.fromkeys((404, 405), "unknown_address"),
    408: "slow_body",
    413: "large_body",
    429: "overload",
    **dict.fromkeys((0, 499), "client_gone"),
    503: "not_ready",
    504: "deadline",
}
OBJECTIVE_S = 1.0  # in which 99 % of predictions are to succeed: a bucket of every model, for the alerts on latency
FAULTS = (429, 500, 503, 504)  # statuses that are the server's fault, at 0 from a route's first request: rates need it
READINESS = ("/readyz", "/ready")  # how the routes end that ask whether the model is ready: "no" is an answer
OTHER_ERROR = "failure"  # 500, and whatever has no name above
OTHER_CLIENT_ERROR = "bad_request"  # a 4xx without a name above
PREFIX = "toolchain_serving"
# When each series began would be a series more for each, and nobody asks: Prometheus sees a restart by itself.
disable_created_metrics()  # type: ignore[no-untyped-call]  # published without its type


class Metrics:
    """The figures of one version; ``exposition`` tells those of several.

    Args:
        name: The model's, as callers know it.
        version: As callers know it.
        row_seconds: What one row takes alone, as warm-up measured it; the buckets are fitted to it.
    """

    def __init__(self, model: Model, name: str, version: str, row_seconds: float) -> None:
        self.registry = CollectorRegistry()
        self._labels = {"model": name, "model_version": version, "variant": model.variant}
        self._classes = model.signature.labels
        buckets = buckets_for(row_seconds)
        self._requests = self._counter("requests", "Requests, by route and HTTP status", "route", "status")
        self._routes: set[str] = set()  # that had a request
        self._errors = self._counter("errors", "Requests that were not answered as asked, by kind", "kind")
        self._seconds = self._histogram("request_seconds", "From the head of a request to its 2xx", buckets, "route")
        self._in_flight = self._gauge("requests_in_flight", "Requests that are being read or answered")
        self._queued = self._gauge("queue_rows", "Rows that wait")
        self._queue = self._histogram("queue_seconds", "What a row waited", sorted({0.0001, *buckets})).labels(
            **self._labels
        )
        self._batch = self._histogram("batch_rows", "Rows that ran at once", ROWS).labels(**self._labels)
        self._running = self._histogram("batch_seconds", "What a batch took", buckets).labels(**self._labels)
        unit = "tokens" if model.signature.task.startswith("text") else "pixels"
        self._units = self._counter(unit, f"{unit.capitalize()} that the model read").labels(**self._labels)
        self._answers = self._counter("answers", "Answers by class; of a detector, boxes", "label")
        self._confidence = self._histogram("confidence", "Score of the first answer", SHARES).labels(**self._labels)
        self._ready = self._gauge("ready", "1 when the model may be asked")
        self._parity = self._gauge("parity_rows", "Recorded rows, by whether they were answered alike", "alike")
        self._counts = {label: self._answers.labels(label=label, **self._labels) for label in self._counted()}
        self._kinds = {kind: self._errors.labels(kind=kind, **self._labels) for kind in (*KINDS.values(), OTHER_ERROR)}
        self._share = self._gauge("traffic_percent", "Share of requests that are this version's to answer", "role")
        self._compared = self._counter(
            "compared_rows",
            "Rows that the stable version answered too, by whether the label was the same",
            "role",
            "alike",
        )
        told = {**self._labels, "digest": model.digest, "backend": model.signature.backend}
        self._told("model_info", "The model that answers", told, 1)

    def limits(self, queue_rows: int, streams: int) -> None:
        """Tell what the server may spend: what is used of it says how near its end is."""
        self._told("queue_limit_rows", "Rows that may wait", self._labels, queue_rows)
        self._told("inference_streams", "Batches that run side by side", self._labels, streams)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count one request. What was refused in no time would flatter the latency, so only 2xx is timed."""
        if route not in self._routes:
            self._routes.add(route)
            for fault in FAULTS:
                self._requests.labels(route=route, status=str(fault), **self._labels)
        self._requests.labels(route=route, status=str(status), **self._labels).inc()
        if 200 <= status < 300:
            self._seconds.labels(route=route, **self._labels).observe(seconds)
        elif not 300 <= status < 400 and not (status == 503 and route.endswith(READINESS)):
            other = OTHER_CLIENT_ERROR if 400 <= status < 500 else OTHER_ERROR
            self._kinds[KINDS.get(status, other)].inc()

    def batch(self, rows: int, waited: Sequence[float], seconds: float) -> None:
        self._batch.observe(rows)
        self._running.observe(seconds)
        for one in waited:
            self._queue.observe(one)

    def answered(self, units: int, labels: Iterable[str], confidence: float | None) -> None:
        """Count one row: its tokens or pixels, the classes answered and the first answer's score."""
        self._units.inc(units)
        for label in labels:
            self._counts[label if label in self._counts else "other"].inc()
        if confidence is not None:
            self._confidence.observe(confidence)

    def parity(self, rows: int, alike: int) -> None:
        self._parity.labels(alike="yes", **self._labels).set(alike)
        self._parity.labels(alike="no", **self._labels).set(rows - alike)

    def role(self, role: str, percent: float) -> None:
        """Tell what the version is for ("stable", "canary", "shadow"), and its share of requests, 0..100."""
        self._share.clear()
        self._share.labels(role=role, **self._labels).set(percent)
        if role != "stable":
            for alike in ("yes", "no"):  # there from the start: a rate sees the first one
                self._compared.labels(role=role, alike=alike, **self._labels)

    def compared(self, role: str, alike: int, differing: int) -> None:
        """Count rows that the stable version answered too."""
        self._compared.labels(role=role, alike="yes", **self._labels).inc(alike)
        self._compared.labels(role=role, alike="no", **self._labels).inc(differing)

    def now(self, in_flight: int, queued: int, ready: bool) -> None:
        """Tell how things stand."""
        for gauge, value in ((self._in_flight, in_flight), (self._queued, queued), (self._ready, int(ready))):
            gauge.labels(**self._labels).set(value)

    def _counted(self) -> list[str]:
        return [*self._classes[:MOST_CLASSES], *(["other"] if len(self._classes) > MOST_CLASSES else [])]

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}_{name}", text, [*labels, *self._labels], registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", text, [*labels, *self._labels], registry=self.registry)

    def _told(self, name: str, text: str, labels: Mapping[str, str], value: float) -> None:
        """Tell a value that does not change."""
        Gauge(f"{PREFIX}_{name}", text, list(labels), registry=self.registry).labels(**labels).set(value)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"{PREFIX}_{name}", text, [*labels, *self._labels], registry=self.registry, buckets=buckets)


def buckets_for(row_seconds: float) -> list[float]:
    """Return the upper bounds, in seconds, of a histogram of times for a model that takes ``row_seconds`` alone.

    All come from one ladder, so that servers whose first bound differs can still be added up where they overlap.
    """
    first = max((place for place, bound in enumerate(LADDER) if bound <= row_seconds / 2), default=0)
    first = min(first, len(LADDER) - BUCKETS)
    return sorted({OBJECTIVE_S, *(float(f"{bound:.3g}") for bound in LADDER[first : first + BUCKETS])})


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._began: Any = time.perf_counter()

    @property
    def seconds(self) -> float:
        return float(time.perf_counter() - self._began)
