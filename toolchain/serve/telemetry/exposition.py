"""Merge the metrics of the process and of all loaded versions for Prometheus.

Each version has its own registry, so that its series end when it is unloaded.
"""

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Metric,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from toolchain.serve.telemetry.metrics import PREFIX, Metrics

REJECTION_REASONS = {  # why a version is not loaded, as the API shows it; the log has the details, with paths
    "invalid_config": "routing.json is damaged, or for another model",
    "not_found": "not found in the model repository",
    "damaged": "its files are damaged, or no installed runtime loads them",
    "parity_mismatch": "its predictions differ from those recorded at evaluation",
    "incompatible": "its task or labels differ from those of the stable version",
    "disk_full": "no space left on device",
    "unavailable": "the model repository is unavailable",
    "load_failed": "loading failed",
}


class Exposition:
    """The metrics of the server; ``name`` is the model's name in the API."""

    def __init__(self, name: str) -> None:
        self._name, self._registry = name, CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        changes = Counter(
            f"{PREFIX}_version_changes", "Changes of the loaded versions", ["model"], registry=self._registry
        )
        self._changes = changes.labels(model=name)
        self._rejected = Gauge(
            f"{PREFIX}_rejected_versions",
            "Versions in the routing config that were not loaded, by reason",
            ["model", "reason"],
            registry=self._registry,
        )
        self._authentication = Gauge(
            f"{PREFIX}_authentication_required",
            "1 when requests need a bearer token",
            ["model"],
            registry=self._registry,
        )
        self.rejected({})

    def authentication(self, required: bool) -> None:
        """Export whether requests need a token."""
        self._authentication.labels(model=self._name).set(required)

    def changed(self) -> None:
        """Count one change of the loaded versions."""
        self._changes.inc()

    def rejected(self, reasons: Mapping[str, str]) -> None:
        """Export the rejected versions: the reason, of ``REJECTION_REASONS``, by version."""
        found = list(reasons.values())
        for reason in REJECTION_REASONS:
            self._rejected.labels(model=self._name, reason=reason).set(found.count(reason))

    def text(self, versions: Iterable[Metrics]) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(_Merged([self._registry, *(metrics.registry for metrics in versions)]))


class _Merged:
    """Several registries as one: metrics of the same name are merged."""

    def __init__(self, registries: Iterable[CollectorRegistry]) -> None:
        self._registries = registries

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for registry in self._registries:
            for metric in registry.collect():
                if metric.name in families:
                    families[metric.name].samples.extend(metric.samples)
                else:
                    families[metric.name] = metric
        yield from families.values()
