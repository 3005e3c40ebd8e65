"""Annotated images as rows of a Dataset, and back."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from toolchain.annotations.types import AnnotatedImage, Annotation, Collection
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
STEP = "data.annotations"  # its note in a dataset holds the metadata of the source
BATCH_SIZE = 64  # rows read at a time: 64 images of 10 MB are a lot already


def to_row(image: AnnotatedImage, source: str, data: bytes, number: int, labels: Mapping[str, int]) -> dict[str, Any]:
    """Return row ``number`` for ``image`` as values for SCHEMA.

    Args:
        image: With the width and height of ``data``.
        source: The source's name of the image, the same for all tiles of one image.
        data: The image file.
        number: From 0.
        labels: The index of each label.
    """
    return {
        ROW: number,
        SOURCE_IMAGE: source,
        IMAGE: {"bytes": data, "path": image.name},
        WIDTH: image.width,
        HEIGHT: image.height,
        OBJECTS: [_to_object(annotation, labels) for annotation in image.annotations],
        METADATA: json.dumps(image.metadata, ensure_ascii=False),
    }


def to_image(row: Mapping[str, Any], split: str, labels: tuple[str, ...]) -> AnnotatedImage:
    """Return the image in ``row`` of ``split``, with its file as ``embedded``."""
    return AnnotatedImage(
        name=row[IMAGE]["path"],
        file=None,
        width=row[WIDTH],
        height=row[HEIGHT],
        split=split,
        annotations=tuple(_to_annotation(value, labels) for value in row[OBJECTS]),
        metadata=json.loads(row[METADATA]),
        embedded=row[IMAGE]["bytes"],
    )


def read(dataset: Dataset) -> Collection:
    """Return the annotated images of all splits of ``dataset``.

    Raises:
        DataError: it is not a dataset of boxes.
    """
    dataset.require(*SCHEMA.names)

    def images() -> Iterator[AnnotatedImage]:
        for split in dataset.splits:
            for batch in dataset.batches(split, SCHEMA.names, BATCH_SIZE):
                for row in batch.to_pylist():
                    yield to_image(row, split, dataset.labels)

    note = dataset.notes.get(STEP) or {}
    metadata = note.get("source", {}).get("metadata", {}) if isinstance(note, dict) else {}
    return Collection(format="dataset", labels=dataset.labels, images=images, metadata=metadata)


def _to_object(annotation: Annotation, labels: Mapping[str, int]) -> dict[str, Any]:
    if annotation.label not in labels:
        raise DataError(f"label {annotation.label!r} is not in the list of labels: {', '.join(labels)}")
    return {
        "label": labels[annotation.label],
        "box": list(annotation.box),
        "rotation": annotation.rotation,
        "polygons": [list(polygon) for polygon in annotation.polygons],
        "mask": annotation.mask,
        "keypoints": list(annotation.keypoints),
        "crowd": annotation.crowd,
        "difficult": annotation.difficult,
        "truncated": annotation.truncated,
        "occluded": annotation.occluded,
        "attributes": json.dumps(annotation.attributes, ensure_ascii=False),
    }


def _to_annotation(value: Mapping[str, Any], labels: tuple[str, ...]) -> Annotation:
    return Annotation(
        label=labels[value["label"]],
        box=tuple(value["box"]),
        rotation=value["rotation"],
        polygons=tuple(tuple(polygon) for polygon in value["polygons"]),
        mask=value["mask"],
        keypoints=tuple(value["keypoints"] or ()),
        crowd=value["crowd"],
        difficult=value["difficult"],
        truncated=value["truncated"],
        occluded=value["occluded"],
        attributes=json.loads(value["attributes"]),
    )
