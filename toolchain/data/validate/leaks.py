"""Find content that is in two splits: a model would be measured on rows that it was trained on."""

from pathlib import Path

import pyarrow as pa

from toolchain.artifacts.dataset import IMAGE, ROW, TEXT, Dataset
from toolchain.data.validate.rules import Rule
from toolchain.data.validate.splits import required_splits
from toolchain.dedup import KeyFiles, Keys, first_of_each, keys_of_images, keys_of_texts

RULES = {
    TEXT: "no text is in two splits (ignoring case, commas, full stops, quotation marks and spaces)",
    IMAGE: "no image is in two splits",
}


def content_column(dataset: Dataset) -> str:
    """Return the column by which rows are compared, "" if there is none."""
    return next((column for column in (TEXT, IMAGE) if column in dataset.schema.names), "")


def check_leaks(dataset: Dataset, folder: Path) -> Rule:
    """Find equal content in two splits; ``folder`` is for temporary files."""
    column, splits = content_column(dataset), required_splits(dataset)
    rule = Rule(RULES[column])
    files = KeyFiles(folder / "keys", sum(map(dataset.rows, splits)))
    for number, split in enumerate(splits):
        for batch in dataset.batches(split, [column, ROW]):
            files.add(_keys(batch, column), batch.column(ROW).to_numpy(), number)
    for entries in files.repeated():
        for index, first in enumerate(first_of_each(entries) if len(entries) else []):
            one, other = entries[first], entries[index]
            if one["group"] != other["group"]:
                rows = [f"row {entry['position']} of {splits[entry['group']]}" for entry in (one, other)]
                rule.add_breaks([" = ".join(rows)])
    return rule


def _keys(batch: pa.RecordBatch, column: str) -> Keys:
    if column == TEXT:
        return keys_of_texts(batch.column(TEXT).to_pylist())
    return keys_of_images(batch.column(IMAGE))
