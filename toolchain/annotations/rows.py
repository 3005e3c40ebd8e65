"""Annotated pictures as rows of a Dataset, and back."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from toolchain.annotations.model import Collection, Picture, Thing
from toolchain.artifacts.dataset import IMAGE, OBJECTS, ROW, Dataset
from toolchain.artifacts.image import HEIGHT, IMAGE_TYPE, METADATA, OBJECTS_TYPE, WIDTH
from toolchain.errors import DataError

SOURCE_IMAGE = "source_image"  # string: the source's name of the image that a row is, or is a tile of
SCHEMA = pa.schema(
    [
        (ROW, pa.int64()),
        (SOURCE_IMAGE, pa.string()),
        (IMAGE, IMAGE_TYPE),
        (WIDTH, pa.int64()),
        (HEIGHT, pa.int64()),
        (OBJECTS, OBJECTS_TYPE),
        (METADATA, pa.string()),
    ]
)
STEP = "data.annotations"  # whose note in a dataset says what the source said of itself
ROWS = 64  # read at a time: 64 pictures of 10 MB are a lot already


def to_row(picture: Picture, source: str, data: bytes, number: int, labels: Mapping[str, int]) -> dict[str, Any]:
    """Return row ``number`` for ``picture``, whose file has the bytes ``data``, as values for SCHEMA.

    Args:
        picture: Its width and height are those of ``data``.
        source: The source's name of the picture, the same for all tiles of one.
        data: The file.
        number: From 0.
        labels: The position of each label's name.
    """
    return {
        ROW: number,
        SOURCE_IMAGE: source,
        IMAGE: {"bytes": data, "path": picture.name},
        WIDTH: picture.width,
        HEIGHT: picture.height,
        OBJECTS: [_object(thing, labels) for thing in picture.things],
        METADATA: json.dumps(picture.about, ensure_ascii=False),
    }


def to_picture(row: Mapping[str, Any], split: str, labels: tuple[str, ...]) -> Picture:
    """Return the picture in ``row`` of ``split``; its file is carried as ``embedded``."""
    return Picture(
        name=row[IMAGE]["path"],
        file=None,
        width=row[WIDTH],
        height=row[HEIGHT],
        split=split,
        things=tuple(_thing(value, labels) for value in row[OBJECTS]),
        about=json.loads(row[METADATA]),
        embedded=row[IMAGE]["bytes"],
    )


def read(dataset: Dataset) -> Collection:
    """Return the annotated pictures of ``dataset``, of all its splits.

    Raises:
        DataError: it is no dataset of boxes.
    """
    dataset.require(*SCHEMA.names)

    def each() -> Iterator[Picture]:
        for split in dataset.splits:
            for batch in dataset.batches(split, SCHEMA.names, ROWS):
                for row in batch.to_pylist():
                    yield to_picture(row, split, dataset.labels)

    note = dataset.notes.get(STEP) or {}
    about = note.get("source", {}).get("metadata", {}) if isinstance(note, dict) else {}
    return Collection(format="dataset", labels=dataset.labels, pictures=each, about=about)


def _object(thing: Thing, labels: Mapping[str, int]) -> dict[str, Any]:
    if thing.label not in labels:
        raise DataError(f"label {thing.label!r} is not in the list of labels: {', '.join(labels)}")
    return {
        "label": labels[thing.label],
        "box": list(thing.box),
        "rotation": thing.rotation,
        "polygons": [list(outline) for outline in thing.polygons],
        "mask": thing.mask,
        "keypoints": list(thing.keypoints),
        "crowd": thing.crowd,
        "difficult": thing.difficult,
        "truncated": thing.truncated,
        "occluded": thing.occluded,
        "attributes": json.dumps(thing.attributes, ensure_ascii=False),
    }


def _thing(value: Mapping[str, Any], labels: tuple[str, ...]) -> Thing:
    return Thing(
        label=labels[value["label"]],
        box=tuple(value["box"]),
        rotation=value["rotation"],
        polygons=tuple(tuple(outline) for outline in value["polygons"]),
        mask=value["mask"],
        keypoints=tuple(value["keypoints"] or ()),
        crowd=value["crowd"],
        difficult=value["difficult"],
        truncated=value["truncated"],
        occluded=value["occluded"],
        attributes=json.loads(value["attributes"]),
    )
