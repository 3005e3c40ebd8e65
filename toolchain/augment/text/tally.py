"""Count what text augmentation wrote, for the result and the report."""

from collections import Counter
from dataclasses import asdict
from typing import Any

from toolchain.augment.text.rewriting import Copy
from toolchain.augment.text.selection import TextSet
from toolchain.augment.text.settings import Result

MAX_EXAMPLES = 12  # copies that the report shows beside their originals


class Tally:
    """Running counts of what was written."""

    def __init__(self, held_out: TextSet) -> None:
        """``held_out`` are the texts of other splits, which no copy may equal."""
        self.copies = self.unchanged = self.in_other_splits = 0
        self.operations: Counter[str] = Counter()
        self.languages: Counter[str] = Counter()  # rows that are not English
        self.examples: list[dict[str, Any]] = []
        self._held_out = held_out

    def accept(self, row: int, original: str, copy: Copy, existing: set[str]) -> bool:
        """Return whether to write ``copy``, and count it; ``existing`` are its original and earlier copies."""
        if copy.language:
            self.languages[copy.language] += 1
        elif copy.text in existing:
            self.unchanged += 1
        elif copy.text in self._held_out:
            self.in_other_splits += 1
        else:
            self._add(row, original, copy)
            return True
        return False

    def result(self, rows: int) -> Result:
        """Return the counts for ``rows`` training rows."""
        return Result(rows, self.copies, self.unchanged, self.in_other_splits, self.languages.total())

    def note(self, result: Result) -> dict[str, Any]:
        """Return the note of the dataset, which the report shows."""
        return {"examples": self.examples, "counts": asdict(result) | self.operations}

    def _add(self, row: int, original: str, copy: Copy) -> None:
        self.copies += 1
        self.operations.update(operation.split(":")[0] for operation in copy.operations)
        if len(self.examples) < MAX_EXAMPLES:
            example = {"row": row, "before": original, "after": copy.text, "operations": list(copy.operations)}
            self.examples.append(example)
