"""Tally: how many rows each rule left out, with examples, and what was repaired."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from toolchain.artifacts.dataset import EXAMPLES_PER_RULE, ROW, TEXT

EXAMPLE_CHARACTERS = 160  # of a row that is shown: a sentence or two


@dataclass
class Tally:
    """What became of the rows; rules that met no row are in it too, with 0."""

    rows: Counter[str] = field(default_factory=Counter)  # rows left out, by rule, in the order that rules are applied
    examples: dict[str, list[str]] = field(default_factory=dict)
    repaired: Counter[str] = field(default_factory=Counter)  # rows, by kind of damage
    repaired_rows: int = 0
    other_labels: Counter[str] = field(default_factory=Counter)  # rows, by raw label that is in no class
    spellings: dict[str, str] = field(default_factory=dict)  # of classes: the first one, by what is equal for all
    repairs: list[dict[str, object]] = field(default_factory=list)  # examples: row, before, after

    def keep(self, rule: str, batch: pa.RecordBatch, kept: npt.NDArray[np.bool_]) -> pa.RecordBatch:
        """Return the rows of ``batch`` that are ``kept``, and count the others under ``rule``."""
        self.rows[rule] += 0
        shown = self.examples.setdefault(rule, [])
        if kept.all():
            return batch
        dropped = np.flatnonzero(~kept)
        self.rows[rule] += len(dropped)
        shown += [example(batch, int(index)) for index in dropped[: EXAMPLES_PER_RULE - len(shown)]]
        return batch.filter(pa.array(kept))


def example(batch: pa.RecordBatch, index: int) -> str:
    """Return row ``index`` of ``batch`` for a person to read: its number in the source, and its text or its values."""
    values = batch.slice(index, 1).to_pylist()[0]
    number = values.pop(ROW, "?")
    shown = str(values.get(TEXT) or ", ".join(f"{name}={value}" for name, value in values.items()))
    cut = shown if len(shown) <= EXAMPLE_CHARACTERS else f"{shown[:EXAMPLE_CHARACTERS]}..."
    return f"row {number}: {cut}"
