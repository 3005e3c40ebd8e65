"""Sampled: the figures of what was put aside, and of the last verdict on it, for Prometheus."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from toolchain.errors import DataError
from toolchain.lifecycle.request_samples import DRIFT_FORMAT, SampledVersion

# What becomes of a row: written; no room in the queue; not written, since the place was away; not to be described.
KEPT, OVERRUN, LOST, UNDESCRIBED = "written", "queue_full", "write_failed", "describe_failed"
KINDS = ("data", "prediction")  # of drift: in what is asked, in what is answered
MOST_COLUMNS = 50  # of a verdict that are shown; there are some ten descriptors
LABELS = ["model", "model_version", "variant"]
Told = tuple[SampledVersion, Mapping[str, int], "Verdict | None"]


@dataclass(frozen=True)
class Verdict:
    """What the last look at a version's samples found."""

    checked: float  # seconds since 1970
    rows: int  # in the window
    judged: bool  # whether there was enough to say anything
    drifted: Mapping[str, bool]  # by kind
    distances: Mapping[str, float]  # by descriptor: 0 for the same distribution, 1 for nothing in common


def read_verdict(content: bytes, subject: SampledVersion) -> Verdict:
    """Return the verdict in drift.json.

    Raises:
        DataError: it is damaged, or is on another model.
    """
    try:
        found = json.loads(content)
        if found["format"] != DRIFT_FORMAT or found["digest"] != subject.digest:
            raise ValueError("it is on another model")
        columns = found["columns"][:MOST_COLUMNS]
        return Verdict(
            checked=float(found["checked_at"]),
            rows=int(found["window"]["rows"]),
            judged=bool(found["has_verdict"]),
            drifted={kind: bool(found[f"{kind}_drift"]) for kind in KINDS},
            distances={str(column["name"]): float(column["distance"]) for column in columns},
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"drift.json is damaged: {error!r}; look for drift again") from error


def exposed(versions: Sequence[Told]) -> bytes:
    """Return the figures of ``versions`` in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(versions))
    return generate_latest(registry)


class _Collector:
    """Tells Prometheus' library the figures of this moment."""

    def __init__(self, versions: Sequence[Told]) -> None:
        self._versions = versions

    def collect(self) -> Iterator[Metric]:
        rows = CounterMetricFamily(
            "toolchain_sampling_rows", "Rows in the sample, by what became of them", labels=[*LABELS, "outcome"]
        )
        drifted = GaugeMetricFamily(
            "toolchain_drift_detected", "1 when the last look found drift of the kind", labels=[*LABELS, "type"]
        )
        distance = GaugeMetricFamily(
            "toolchain_drift_distance", "Of the window from the profile, 0..1", labels=[*LABELS, "column"]
        )
        window = GaugeMetricFamily("toolchain_drift_window_rows", "Rows that were looked at", labels=LABELS)
        checked = GaugeMetricFamily("toolchain_drift_checked_timestamp_seconds", "The last look", labels=LABELS)
        for subject, counts, verdict in self._versions:
            own = [subject.model, subject.model_version, subject.variant]
            for outcome, count in counts.items():
                rows.add_metric([*own, outcome], count)
            if verdict is None:
                continue
            window.add_metric(own, verdict.rows)
            checked.add_metric(own, verdict.checked)
            for kind, found in verdict.drifted.items() if verdict.judged else ():
                drifted.add_metric([*own, kind], found)
            for column, value in verdict.distances.items():
                distance.add_metric([*own, column], value)
        yield from (rows, drifted, distance, window, checked)
