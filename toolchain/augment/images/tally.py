"""What augmentation wrote, and what became of boxes, for the result and the report."""

from collections import Counter
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from toolchain.artifacts.dataset import ROW
from toolchain.augment.images.batch import Made
from toolchain.augment.images.engine import Engine
from toolchain.augment.images.objects import CLIPPED, KEPT, Retention
from toolchain.augment.images.settings import Result
from toolchain.errors import DataError
from toolchain.progress import say

EXAMPLES = 6  # copies that the report shows beside their originals


class Tally:
    """What was written, as it is counted."""

    def __init__(self, engine: Engine, most_boxes_lost: float) -> None:
        self.engine, self.most_boxes_lost = engine, most_boxes_lost
        self.retention = Retention()
        self.copies = self.boxes = self.boxes_kept = self.redrawn = self.given_up = self.position = 0
        self.transforms: Counter[str] = Counter()
        self.examples: list[dict[str, Any]] = []

    def add(self, batch: pa.RecordBatch, made: Made) -> None:
        """Count the copies ``made`` of ``batch``, which are written after it."""
        first = self.position + batch.num_rows
        rows = batch.column(ROW)
        for place, (source, number, done) in enumerate(zip(made.sources, made.numbers, made.transforms, strict=True)):
            self.transforms.update(set(done))
            if len(self.examples) < EXAMPLES and done:
                positions = {"original": self.position + source, "copy": first + place}  # in the training split
                self.examples.append({"row": rows[source].as_py(), "number": number, **positions, "transforms": done})
        self.position = first + len(made.sources)
        self.copies += len(made.sources)
        self.boxes += made.boxes
        self.boxes_kept += made.boxes_kept
        self.redrawn += made.redrawn
        self.given_up += made.given_up
        self.retention.add(made.fates)

    def result(self, rows: int) -> Result:
        """Return what was counted, and warn of boxes lost.

        Raises:
            DataError: no box is left in any copy.
        """
        lost = 1 - self.boxes_kept / self.boxes if self.boxes else 0.0
        if self.boxes and not self.boxes_kept:
            raise DataError(
                f"the policy loses every box of the {self.boxes:,} drawn: {self._worst()}; crop or move less, "
                "or lower minimum_visibility"
            )
        if lost > self.most_boxes_lost:
            say(
                f"warning: the policy loses {lost:.0%} of {self.boxes:,} boxes, more than {self.most_boxes_lost:.0%}: "
                f"{self._worst()}"
            )
        return Result(rows, self.copies, self.given_up, self.boxes, self.boxes_kept)

    def note(self, result: Result) -> dict[str, Any]:
        """Return what the report shows."""
        return {
            "policy": self.engine.names,
            "counts": asdict(result) | {"redrawn": self.redrawn},
            "transforms": dict(self.transforms),
            "retention": self.retention.table(self.engine.names),
            "examples": self.examples,
        }

    def _worst(self) -> str:
        dropped = {
            name: {fate: number for fate, number in fates.items() if fate not in (KEPT, CLIPPED) and number}
            for name, fates in self.retention.counts.items()
        }
        name = max(dropped, key=lambda name: sum(dropped[name].values()))
        reasons = ", ".join(f"{number:,} {fate}" for fate, number in sorted(dropped[name].items()))
        return f"{name} drops most ({reasons})"
