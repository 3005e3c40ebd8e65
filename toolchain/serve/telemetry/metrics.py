"""Count the requests and predictions of one version for Prometheus; every label has a bounded number of values."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from toolchain.artifacts.model import Model
from toolchain.inference.tasks import task_type

LADDER = [mantissa * 10**power for power in (-4.0, -3.0, -2.0, -1.0, 0.0, 1.0) for mantissa in (1, 1.5, 2, 3, 5, 7)]
BUCKETS = 19  # from 0.5 to some 400 row durations: with one worker, the last row of a full queue waits for 256
ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64)
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
MAX_LABELS = 100  # counted separately; further labels count as "other"
ERROR_TYPES = {  # by HTTP status; 0: the client disconnected before there was one
    **dict.fromkeys((400, 403, 415, 421, 422, 431, 501, 505), "bad_request"),
    401: "unauthorized",
    **dict.fromkeys((404, 405), "not_found"),
    408: "body_timeout",
    413: "content_too_large",
    429: "overload",
    **dict.fromkeys((0, 499), "client_disconnected"),
    503: "not_ready",
    504: "timeout",
}
OBJECTIVE_S = 1.0  # the objective for 99 % of predictions: a bucket of every model's histogram, for the latency alerts
SERVER_ERRORS = (429, 500, 503, 504)  # exported as 0 from a route's first request, which rate() needs
READINESS = ("/readyz", "/ready")  # suffixes of readiness routes: their 503 is not an error
OTHER_ERROR = "internal_error"  # 500, and other statuses without a name
OTHER_CLIENT_ERROR = "bad_request"  # a 4xx without a name above
PREFIX = "toolchain_serving"
# The created-timestamp series would double the number of series, and Prometheus detects restarts without them.
disable_created_metrics()  # type: ignore[no-untyped-call]  # published without its type


class Metrics:
    """The metrics of one version; ``exposition`` merges those of several.

    Args:
        name: The model's name in the API.
        version: The version's name in the API.
        row_seconds: Duration of one row, measured at warm-up; the histogram buckets are derived from it.
    """

    def __init__(self, model: Model, name: str, version: str, row_seconds: float) -> None:
        self.registry = CollectorRegistry()
        self._labels = {"model": name, "model_version": version, "variant": model.variant}
        self._classes = model.signature.labels
        buckets = buckets_for(row_seconds)
        self._requests = self._counter("requests", "Requests, by route and HTTP status", "route", "status")
        self._routes: set[str] = set()  # with at least one request
        self._errors = self._counter("errors", "Failed requests, by type of error", "type")
        self._seconds = self._histogram(
            "request_duration_seconds", "Time from the head of a request to its 2xx response", buckets, "route"
        )
        self._in_flight = self._gauge("requests_in_flight", "Requests in progress")
        self._queued = self._gauge("queued_rows", "Rows in the queue")
        self._queue = self._histogram(
            "queue_wait_seconds", "Time a row spent in the queue", sorted({0.0001, *buckets})
        ).labels(**self._labels)
        self._batch = self._histogram("batch_size", "Rows per batch", ROWS).labels(**self._labels)
        self._running = self._histogram("batch_duration_seconds", "Duration of a batch", buckets).labels(**self._labels)
        unit = task_type(model).input_type.unit
        self._units = self._counter(unit, f"{unit.capitalize()} of model input").labels(**self._labels)
        self._predictions = self._counter("predictions", "Predictions by label; for a detector, boxes", "label")
        self._confidence = self._histogram("confidence", "Score of the top prediction", SHARES).labels(**self._labels)
        self._ready = self._gauge("ready", "1 when the model is ready")
        self._parity = self._gauge("parity_rows", "Recorded rows, by whether the predictions match", "match")
        self._counts = {
            label: self._predictions.labels(label=label, **self._labels) for label in self._counted_labels()
        }
        self._error_counters = {
            name: self._errors.labels(type=name, **self._labels) for name in (*ERROR_TYPES.values(), OTHER_ERROR)
        }
        self._share = self._gauge("traffic_percent", "Percentage of requests routed to this version", "role")
        self._compared = self._counter(
            "compared_rows",
            "Rows that the stable version predicted too, by whether the labels match",
            "role",
            "match",
        )
        info = {**self._labels, "digest": model.digest, "backend": model.signature.backend}
        self._constant("model_info", "The loaded model", info, 1)

    def limits(self, queue_rows: int, workers: int) -> None:
        """Export the limits, which usage is compared with."""
        self._constant("queue_capacity_rows", "Capacity of the queue in rows", self._labels, queue_rows)
        self._constant("workers", "Concurrent inferences", self._labels, workers)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request. Only 2xx responses are timed: fast rejections would lower the latency."""
        if route not in self._routes:
            self._routes.add(route)
            for error in SERVER_ERRORS:
                self._requests.labels(route=route, status=str(error), **self._labels)
        self._requests.labels(route=route, status=str(status), **self._labels).inc()
        if 200 <= status < 300:
            self._seconds.labels(route=route, **self._labels).observe(seconds)
        elif not 300 <= status < 400 and not (status == 503 and route.endswith(READINESS)):
            other = OTHER_CLIENT_ERROR if 400 <= status < 500 else OTHER_ERROR
            self._error_counters[ERROR_TYPES.get(status, other)].inc()

    def batch(self, rows: int, waited: Sequence[float], seconds: float) -> None:
        self._batch.observe(rows)
        self._running.observe(seconds)
        for one in waited:
            self._queue.observe(one)

    def predicted(self, units: int, labels: Iterable[str], confidence: float | None) -> None:
        """Count one row: its tokens or pixels, the predicted labels and the top score."""
        self._units.inc(units)
        for label in labels:
            self._counts[label if label in self._counts else "other"].inc()
        if confidence is not None:
            self._confidence.observe(confidence)

    def parity(self, rows: int, matching: int) -> None:
        self._parity.labels(match="yes", **self._labels).set(matching)
        self._parity.labels(match="no", **self._labels).set(rows - matching)

    def role(self, role: str, percent: float) -> None:
        """Export the role ("stable", "canary", "shadow") and the share of requests, 0..100."""
        self._share.clear()
        self._share.labels(role=role, **self._labels).set(percent)
        if role != "stable":
            for match in ("yes", "no"):  # exported from the start, so that rate() sees the first increment
                self._compared.labels(role=role, match=match, **self._labels)

    def compared(self, role: str, matching: int, differing: int) -> None:
        """Count rows that the stable version predicted too."""
        self._compared.labels(role=role, match="yes", **self._labels).inc(matching)
        self._compared.labels(role=role, match="no", **self._labels).inc(differing)

    def update(self, in_flight: int, queued: int, ready: bool) -> None:
        """Export the current state."""
        for gauge, value in ((self._in_flight, in_flight), (self._queued, queued), (self._ready, int(ready))):
            gauge.labels(**self._labels).set(value)

    def _counted_labels(self) -> list[str]:
        return [*self._classes[:MAX_LABELS], *(["other"] if len(self._classes) > MAX_LABELS else [])]

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}_{name}", text, [*labels, *self._labels], registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", text, [*labels, *self._labels], registry=self.registry)

    def _constant(self, name: str, text: str, labels: Mapping[str, str], value: float) -> None:
        """Export a value that does not change."""
        Gauge(f"{PREFIX}_{name}", text, list(labels), registry=self.registry).labels(**labels).set(value)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"{PREFIX}_{name}", text, [*labels, *self._labels], registry=self.registry, buckets=buckets)


def buckets_for(row_seconds: float) -> list[float]:
    """Return histogram bounds in seconds for a model that needs ``row_seconds`` for one row.

    All bounds are from one scale, so that histograms of different servers can be aggregated.
    """
    first = max((index for index, bound in enumerate(LADDER) if bound <= row_seconds / 2), default=0)
    first = min(first, len(LADDER) - BUCKETS)
    return sorted({OBJECTIVE_S, *(float(f"{bound:.3g}") for bound in LADDER[first : first + BUCKETS])})


class Stopwatch:
    """Measures the seconds since its creation."""

    def __init__(self) -> None:
        self._began: Any = time.perf_counter()

    @property
    def seconds(self) -> float:
        return float(time.perf_counter() - self._began)
