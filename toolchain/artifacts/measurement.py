"""Store the results of a step that evaluates, as JSON with provenance, and further files beside it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchain.artifacts.digest import digest_files, digest_of_content
from toolchain.artifacts.folder import new_folder, read_json, write_json
from toolchain.artifacts.provenance import Provenance, Work, lineage_from_json, lineage_to_json
from toolchain.errors import ArtifactError

FORMAT = "toolchain.measurement"
DESCRIPTION = "measurement.json"


@dataclass(frozen=True)
class Measurement:
    """A complete measurement on disk."""

    path: Path
    kind: str  # "checks", "accuracy", "parity", "latency", "verdict", "registration", "promotion" or "report"
    data: dict[str, Any]  # the numbers; the fields depend on the step
    digest: str
    lineage: tuple[Provenance, ...] = ()


class MeasurementWriter:
    """A measurement being written: set ``data``, put files in ``folder``; made by ``new_measurement``."""

    def __init__(self, folder: Path, kind: str, work: Work) -> None:
        self.folder, self.kind, self.work = folder, kind, work
        self.data: dict[str, Any] = {}

    def describe(self) -> None:
        """Write ``measurement.json``, which completes the folder."""
        names = [str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()]
        files, data = digest_files(self.folder, names), json.loads(json.dumps(self.data))  # as it will be read
        digest = digest_of_content(files, {"kind": self.kind, "data": data})
        lineage = lineage_to_json(self.work.finish("measurement", digest))
        value = {"format": FORMAT, "version": 1, "digest": digest, "kind": self.kind, "files": files, "data": data}
        write_json(self.folder / DESCRIPTION, {**value, "lineage": lineage})


@contextmanager
def new_measurement(target: Path, kind: str, work: Work) -> Iterator[MeasurementWriter]:
    """Yield a writer of the measurement ``target``, which exists after the block, or not at all if the block fails.

    Raises:
        ArtifactError: ``target`` exists.
        StorageFullError: the disk is full.
    """
    with new_folder(target) as folder:
        writer = MeasurementWriter(folder, kind, work)
        yield writer
        writer.describe()


def open_measurement(path: Path, kind: str) -> Measurement:
    """Return the measurement at ``path``, which must be of ``kind``.

    Raises:
        ArtifactError: the folder is missing or not a measurement of ``kind``, or a file is missing or was changed.
    """
    description = read_json(path / DESCRIPTION, FORMAT)
    if description["kind"] != kind:
        raise ArtifactError(f"{path} holds {description['kind']!r}, this step needs {kind!r}")
    missing = [name for name in description["files"] if not (path / name).is_file()]
    if missing:
        raise ArtifactError(f"{path} is incomplete: {', '.join(missing)} missing; measure again")
    content = {"kind": kind, "data": description["data"]}
    matches = digest_of_content(description["files"], content) == description["digest"]
    if not matches or digest_files(path, description["files"]) != description["files"]:
        raise ArtifactError(f"{path} was changed after it was written; measure again")
    return Measurement(
        path, kind, description["data"], description["digest"], lineage_from_json(description["lineage"])
    )
