"""Count what augmentation wrote and how many boxes it kept, for the result and the report."""

from collections import Counter
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from toolchain.artifacts.dataset import ROW
from toolchain.augment.images.batch import Copies
from toolchain.augment.images.engine import Engine
from toolchain.augment.images.objects import CLIPPED, KEPT, BoxCounts
from toolchain.augment.images.settings import Result
from toolchain.errors import DataError
from toolchain.progress import log_warning

MAX_EXAMPLES = 6  # copies that the report shows beside their originals


class Tally:
    """Running counts of what was written."""

    def __init__(self, engine: Engine, max_boxes_lost: float) -> None:
        self.engine, self.max_boxes_lost = engine, max_boxes_lost
        self.box_counts = BoxCounts()
        self.copies = self.boxes = self.boxes_kept = self.retries = self.skipped = self.position = 0
        self.transforms: Counter[str] = Counter()
        self.examples: list[dict[str, Any]] = []

    def add(self, batch: pa.RecordBatch, copies: Copies) -> None:
        """Count the ``copies`` of ``batch``, which are written after it."""
        first = self.position + batch.num_rows
        rows = batch.column(ROW)
        for index, (source, number, applied) in enumerate(
            zip(copies.sources, copies.numbers, copies.transforms, strict=True)
        ):
            self.transforms.update(set(applied))
            if len(self.examples) < MAX_EXAMPLES and applied:
                positions = {"original": self.position + source, "copy": first + index}  # in the training split
                example = {"row": rows[source].as_py(), "number": number, **positions, "transforms": applied}
                self.examples.append(example)
        self.position = first + len(copies.sources)
        self.copies += len(copies.sources)
        self.boxes += copies.boxes
        self.boxes_kept += copies.boxes_kept
        self.retries += copies.retries
        self.skipped += copies.skipped
        self.box_counts.add(copies.box_counts)

    def result(self, rows: int) -> Result:
        """Return the counts, and warn about lost boxes.

        Raises:
            DataError: no box is left in any copy.
        """
        lost = 1 - self.boxes_kept / self.boxes if self.boxes else 0.0
        if self.boxes and not self.boxes_kept:
            raise DataError(
                f"the policy loses all {self.boxes:,} boxes: {self._worst_transform()}; crop or move less, or lower "
                "min_visibility"
            )
        if lost > self.max_boxes_lost:
            log_warning(
                f"the policy loses {lost:.0%} of {self.boxes:,} boxes, more than {self.max_boxes_lost:.0%}: "
                f"{self._worst_transform()}"
            )
        return Result(rows, self.copies, self.skipped, self.boxes, self.boxes_kept)

    def note(self, result: Result) -> dict[str, Any]:
        """Return the note of the dataset, which the report shows."""
        return {
            "policy": self.engine.names,
            "counts": asdict(result) | {"retries": self.retries},
            "transforms": dict(self.transforms),
            "boxes_by_transform": self.box_counts.table(self.engine.names),
            "examples": self.examples,
        }

    def _worst_transform(self) -> str:
        dropped = {
            name: {outcome: boxes for outcome, boxes in counts.items() if outcome not in (KEPT, CLIPPED) and boxes}
            for name, counts in self.box_counts.counts.items()
        }
        name = max(dropped, key=lambda name: sum(dropped[name].values()))
        reasons = ", ".join(f"{boxes:,} {outcome}" for outcome, boxes in sorted(dropped[name].items()))
        return f"{name} drops most ({reasons})"
