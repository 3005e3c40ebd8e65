"""Exposition: what Prometheus reads of a server: the process, and all versions that are loaded, each name once.

Each version has a registry of its own, so that its series end with it; here they are put together.
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

REJECTION_REASONS = {  # in the API, by reason; the log has the details, with paths
    "document": "routing.json is damaged, or for another model",
    "missing": "it is not in the repository",
    "damaged": "its files are damaged, or do not run here",
    "answers": "it answers otherwise than evaluation recorded",
    "unfit": "it is for another task, or has other labels, than the stable version",
    "disk_full": "no space is left to keep it",
    "away": "the repository does not answer",
    "failure": "loading it failed",
}


class Exposition:
    """The figures of the server as a whole; ``name`` is the model's, as callers know it."""

    def __init__(self, name: str) -> None:
        self._name, self._registry = name, CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        changes = Counter(
            f"{PREFIX}_version_changes", "Times that who answers changed", ["model"], registry=self._registry
        )
        self._changes = changes.labels(model=name)
        self._refused = Gauge(
            f"{PREFIX}_refused_version",
            "Versions that the routing names and that are not taken, by why",
            ["model", "reason_kind"],
            registry=self._registry,
        )
        self._authentication = Gauge(
            f"{PREFIX}_authentication_required",
            "1 when a caller must send a token, 0 when everyone may ask",
            ["model"],
            registry=self._registry,
        )
        self.refused({})

    def authentication(self, required: bool) -> None:
        """Tell whether a caller must send a token."""
        self._authentication.labels(model=self._name).set(required)

    def changed(self) -> None:
        """Count one change of who answers."""
        self._changes.inc()

    def refused(self, kinds: Mapping[str, str]) -> None:
        """Tell which versions are refused now: the kind of reason, of ``REJECTION_REASONS``, by version."""
        found = list(kinds.values())
        for kind in REJECTION_REASONS:
            self._refused.labels(model=self._name, reason_kind=kind).set(found.count(kind))

    def text(self, versions: Iterable[Metrics]) -> bytes:
        """Return all of it in Prometheus' text format."""
        return generate_latest(_Merged([self._registry, *(metrics.registry for metrics in versions)]))


class _Merged:
    """Several registries as one: a name that several have is told once, with the samples of all."""

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
