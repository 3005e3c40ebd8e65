"""Check the objects of images: boxes and classes."""

from typing import Any

from toolchain.artifacts.dataset import LABEL, OBJECTS, ROW, Dataset
from toolchain.artifacts.image import HEIGHT, WIDTH
from toolchain.data.validate.rules import Rule
from toolchain.data.validate.splits import required_splits


def check_objects(dataset: Dataset) -> Rule:
    """Find boxes without area, boxes outside their image, and unknown classes."""
    rule = Rule("each box has an area, is inside its image and has a class")
    total = 0
    for split in required_splits(dataset):
        for batch in dataset.batches(split, [ROW, WIDTH, HEIGHT, OBJECTS]):
            for row in batch.to_pylist():
                total += len(row[OBJECTS])
                if any(not _is_valid(entry, row, len(dataset.labels)) for entry in row[OBJECTS]):
                    rule.add_breaks([f"row {row[ROW]} of {split}"])
    rule.found = f"{total:,} boxes"
    return rule


def _is_valid(entry: dict[str, Any], row: dict[str, Any], classes: int) -> bool:
    left, top, right, bottom = entry["box"]
    is_inside = 0 <= left < right <= row[WIDTH] and 0 <= top < bottom <= row[HEIGHT]
    return bool(0 <= entry[LABEL] < classes and (is_inside or entry["rotation"]))  # a rotated box may cross the edge
