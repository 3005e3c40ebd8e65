"""Count the rows that each rule drops, with examples, and repaired texts."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from toolchain.artifacts.dataset import EXAMPLES_PER_RULE, ROW, TEXT

MAX_EXAMPLE_CHARACTERS = 160  # one or two sentences


@dataclass
class Tally:
    """Running counts; rules that dropped no rows are included with 0."""

    rows: Counter[str] = field(default_factory=Counter)  # dropped rows by rule, in the order that rules are applied
    examples: dict[str, list[str]] = field(default_factory=dict)
    repaired: Counter[str] = field(default_factory=Counter)  # rows by type of damage
    repaired_rows: int = 0
    other_labels: Counter[str] = field(default_factory=Counter)  # rows by raw label that belongs to no class
    spellings: dict[str, str] = field(default_factory=dict)  # the first spelling of each class by its class_key
    repairs: list[dict[str, object]] = field(default_factory=list)  # examples: row, before, after

    def keep(self, rule: str, batch: pa.RecordBatch, kept: npt.NDArray[np.bool_]) -> pa.RecordBatch:
        """Return the rows of ``batch`` that are ``kept``, and count the others under ``rule``."""
        self.rows[rule] += 0
        examples = self.examples.setdefault(rule, [])
        if kept.all():
            return batch
        dropped = np.flatnonzero(~kept)
        self.rows[rule] += len(dropped)
        examples += [describe_row(batch, int(index)) for index in dropped[: EXAMPLES_PER_RULE - len(examples)]]
        return batch.filter(pa.array(kept))


def describe_row(batch: pa.RecordBatch, index: int) -> str:
    """Return a description of row ``index`` of ``batch``: its number in the source, and its text or its values."""
    values = batch.slice(index, 1).to_pylist()[0]
    number = values.pop(ROW, "?")
    content = str(values.get(TEXT) or ", ".join(f"{name}={value}" for name, value in values.items()))
    shortened = content if len(content) <= MAX_EXAMPLE_CHARACTERS else f"{content[:MAX_EXAMPLE_CHARACTERS]}..."
    return f"row {number}: {shortened}"
