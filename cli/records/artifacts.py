"""Find the artifacts of a run by their kind, whichever pipeline and step made them.

The kind is in an artifact's description, a JSON file in its folder. A run on a cluster keeps its artifacts in S3; the
descriptions are copied to this machine when the run has ended (``cli.run.outputs``).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.records.runs import Run, StepRecord
from cli.state_files import read_record

VARIANTS, REGISTRATION = "variants", "registration"  # kinds
REPORT, DATA_REPORT, DRIFT = "report", "data-report", "drift"  # kinds with a page
REPORTS = {  # the page of each kind that has one; its numbers are in a JSON file of the same name
    REPORT: "report.html",
    DATA_REPORT: "report.html",
    DRIFT: "drift.html",
}
MEASUREMENT = "measurement.json"  # names its own kind
KINDS = {"dataset.json": "dataset", "model.json": "model", "variants.json": VARIANTS}  # by description
DESCRIPTIONS = (*KINDS, MEASUREMENT)
CONSEQUENCE = "the artifact is ignored"  # of a damaged description


@dataclass(frozen=True)
class Artifact:
    """An artifact of a run, with its description."""

    step: StepRecord  # that made it
    folder: Path  # on this machine; a copy without data for a run on a cluster
    kind: str
    description: dict[str, Any] = field(repr=False)

    @property
    def digest(self) -> str:
        return str(self.description.get("digest", ""))

    @property
    def ancestors(self) -> set[str]:
        """The digests of the artifacts that it was made from."""
        return {entry["digest"] for entry in self.description.get("lineage", [])} - {self.digest}


def find_artifact(run: Run, *kinds: str) -> Artifact | None:
    """Return the artifact of ``run`` of one of ``kinds``, or None.

    Of several, it is the last one that no other was made from: of variants, for example, those with all formats.
    """
    found = [artifact for artifact in artifacts(run) if artifact.kind in kinds]
    intermediate = {digest for artifact in found for digest in artifact.ancestors}
    return next((artifact for artifact in reversed(found) if artifact.digest not in intermediate), None)


def artifacts(run: Run) -> Iterator[Artifact]:
    """Yield the artifacts of ``run`` that have a description on this machine, in the order of its steps."""
    for step in run.steps:
        for output in step.outputs:
            folder = local_folder(run, step, output)
            if described := describe(folder):
                yield Artifact(step, folder, *described)


def describe(folder: Path) -> tuple[str, dict[str, Any]] | None:
    """Return the kind and the description of the artifact in ``folder``, or None if it has no description."""
    for name in DESCRIPTIONS:
        if (folder / name).is_file() and (description := read_record(folder / name, CONSEQUENCE)):
            return KINDS.get(name) or str(description.get("kind", "")), description
    return None


def local_folder(run: Run, step: StepRecord, output: str) -> Path:
    """Return the folder of an output on this machine; for an output in S3, that of its local copy."""
    location = step.outputs[output]
    return run.folder / "artifacts" / step.task / output if "://" in location else Path(location)
