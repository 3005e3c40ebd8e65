"""Record the provenance of artifacts: the step, its inputs, its settings and its cost."""

import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from toolchain.redaction import redacted

MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024  # getrusage counts bytes on macOS, KiB on Linux


@dataclass(frozen=True)
class Provenance:
    """How one artifact came to be. The ancestors of an artifact are a list of these, oldest first."""

    step: str  # the step's name, as in "data.clean"
    kind: str  # the artifact: "dataset", "model", "variants" or "measurement"
    digest: str  # of the artifact
    parents: dict[str, str]  # the digest of each input, by the input's name
    config: dict[str, Any]  # the step's settings, without the secrets of URLs
    source: dict[str, Any] = field(default_factory=dict)  # the origin of imported rows or weights: uri, sha256, ...
    metrics: dict[str, float] = field(default_factory=dict)  # counts and measurements of the step
    started: str = ""  # UTC, ISO 8601
    seconds: float = 0.0  # wall clock
    cpu_seconds: float = 0.0  # user and system, of the process and its children
    gpu_seconds: float = 0.0  # wall clock times the GPUs held
    peak_memory_bytes: int = 0  # resident, of the process

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Artifact(Protocol):
    """An artifact: a digest, and the provenance of all its ancestors, oldest first, itself last."""

    @property
    def digest(self) -> str: ...

    @property
    def lineage(self) -> tuple[Provenance, ...]: ...


class Work:
    """The record of a running step, created before it starts and finished with its artifact."""

    def __init__(self, step: str, config: object, gpus: int = 0, **parents: Artifact) -> None:
        """Start: ``step`` is "stage.step", ``config`` its dataclass, ``parents`` the artifacts read, by input name."""
        self.step, self.gpus = step, gpus
        self.config = asdict(config) if is_dataclass(config) and not isinstance(config, type) else {}
        self.parents = parents
        self.source: dict[str, Any] = {}
        self.metrics: dict[str, float] = {}
        self._started = datetime.now(UTC)
        self._clock, self._cpu = time.monotonic(), _cpu_seconds()

    def finish(self, kind: str, digest: str) -> tuple[Provenance, ...]:
        """Return the lineage of the artifact ``digest``: every ancestor once, oldest first, then this work."""
        seconds = time.monotonic() - self._clock
        made = Provenance(
            step=self.step,
            kind=kind,
            digest=digest,
            parents={name: parent.digest for name, parent in self.parents.items()},
            config=redacted(self.config),
            source=redacted(self.source),
            metrics=dict(self.metrics),
            started=self._started.isoformat(timespec="seconds"),
            seconds=round(seconds, 3),
            cpu_seconds=round(_cpu_seconds() - self._cpu, 3),
            gpu_seconds=round(seconds * self.gpus, 3),
            peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_BYTES,
        )
        return (*ancestors(*self.parents.values()), made)


def ancestors(*artifacts: Artifact) -> tuple[Provenance, ...]:
    """Return the provenance of ``artifacts`` and their ancestors, each once, oldest first."""
    found: dict[tuple[str, str], Provenance] = {}
    for artifact in artifacts:
        for entry in artifact.lineage:
            found.setdefault((entry.step, entry.digest), entry)
    return tuple(found.values())


def lineage_from_json(entries: list[Mapping[str, Any]]) -> tuple[Provenance, ...]:
    """Return the lineage that ``Provenance.to_json`` wrote; keys of a later version are left out."""
    known = Provenance.__dataclass_fields__
    return tuple(Provenance(**{key: value for key, value in entry.items() if key in known}) for entry in entries)


def lineage_to_json(lineage: tuple[Provenance, ...]) -> list[dict[str, Any]]:
    return [entry.to_json() for entry in lineage]


def _cpu_seconds() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
