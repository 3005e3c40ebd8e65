"""Export the number of sampled rows and the last drift verdict of each version for Prometheus."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from toolchain.errors import DataError
from toolchain.lifecycle.request_samples import DRIFT_FORMAT, SampledVersion

WRITTEN, QUEUE_FULL, WRITE_FAILED, DESCRIBE_FAILED = "written", "queue_full", "write_failed", "describe_failed"
DRIFT_TYPES = ("data", "prediction")  # drift of requests, and of predictions
MAX_COLUMNS = 50  # exported per verdict; there are some ten descriptors
LABELS = ["model", "model_version", "variant"]


@dataclass(frozen=True)
class DriftVerdict:
    """The result of the last drift check of a version's samples."""

    checked: float  # seconds since 1970
    rows: int  # in the window
    has_verdict: bool  # there were enough rows
    drifted: Mapping[str, bool]  # by type
    distances: Mapping[str, float]  # by descriptor: 0 for equal distributions, 1 for disjoint ones


VersionMetrics = tuple[SampledVersion, Mapping[str, int], DriftVerdict | None]  # with the number of rows by outcome


def read_verdict(content: bytes, subject: SampledVersion) -> DriftVerdict:
    """Return the verdict in drift.json.

    Raises:
        DataError: it is damaged, or for another model.
    """
    try:
        found = json.loads(content)
        if found["format"] != DRIFT_FORMAT or found["digest"] != subject.digest:
            raise ValueError("it is for another model")
        columns = found["columns"][:MAX_COLUMNS]
        return DriftVerdict(
            checked=float(found["checked_at"]),
            rows=int(found["window"]["rows"]),
            has_verdict=bool(found["has_verdict"]),
            drifted={kind: bool(found[f"{kind}_drift"]) for kind in DRIFT_TYPES},
            distances={str(column["name"]): float(column["distance"]) for column in columns},
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"drift.json is damaged: {error!r}; run the drift check again") from error


def sampling_text(versions: Sequence[VersionMetrics]) -> bytes:
    """Return the metrics of ``versions`` in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(versions))
    return generate_latest(registry)


class _Collector:
    """A Prometheus collector of the current values."""

    def __init__(self, versions: Sequence[VersionMetrics]) -> None:
        self._versions = versions

    def collect(self) -> Iterator[Metric]:
        rows = CounterMetricFamily("toolchain_sampling_rows", "Sampled rows, by outcome", labels=[*LABELS, "outcome"])
        drifted = GaugeMetricFamily(
            "toolchain_drift_detected", "1 when the last check found drift of the type", labels=[*LABELS, "type"]
        )
        distance = GaugeMetricFamily(
            "toolchain_drift_distance", "Distance of the window from the profile, 0..1", labels=[*LABELS, "column"]
        )
        window = GaugeMetricFamily("toolchain_drift_window_rows", "Rows in the window of the last check", labels=LABELS)
        checked = GaugeMetricFamily(
            "toolchain_drift_checked_timestamp_seconds", "Time of the last check", labels=LABELS
        )
        for subject, counts, verdict in self._versions:
            own = [subject.model, subject.model_version, subject.variant]
            for outcome, count in counts.items():
                rows.add_metric([*own, outcome], count)
            if verdict is None:
                continue
            window.add_metric(own, verdict.rows)
            checked.add_metric(own, verdict.checked)
            for kind, found in verdict.drifted.items() if verdict.has_verdict else ():
                drifted.add_metric([*own, kind], found)
            for column, value in verdict.distances.items():
                distance.add_metric([*own, column], value)
        yield from (rows, drifted, distance, window, checked)
