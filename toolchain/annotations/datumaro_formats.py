"""Read formats through datumaro that this package does not read itself (KITTI, Open Images, WiderFace, ...).

Boxes, rotated boxes, polygons and masks are read, with their attributes; other annotations are counted as left out.
All entries are in memory at once, since datumaro holds them.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.annotations import masks
from toolchain.annotations.shapes import from_polygons
from toolchain.annotations.types import (
    FLAGS,
    AnnotatedImage,
    Annotation,
    Collection,
    Finding,
    split_of,
    subset_metadata,
)
from toolchain.errors import ConfigError, DataError, first_line

TYPES = ("bbox", "rotated_bbox", "polygon", "mask")  # datumaro's names of the annotations that are read
UNKNOWN_SIZE = (1, 1)


def read(folder: Path, name: str) -> Collection:
    """Return the annotations in ``folder`` that datumaro reads as its format ``name``.

    Raises:
        ConfigError: datumaro has no such format.
        DataError: it cannot read the folder.
    """
    items, labels = _load(folder, name)
    annotations = (annotation for item in items for annotation in item.annotations)
    skipped = Counter(a.type.name for a in annotations if _annotation(a, labels, UNKNOWN_SIZE) is None)
    findings = (Finding(rule=f"{type_} of datumaro's {name} (left out)", count=n) for type_, n in skipped.items())

    def images() -> Iterator[AnnotatedImage]:
        return (_image(item, labels) for item in items)

    return Collection(format=f"datumaro:{name}", labels=labels, images=images, findings=tuple(findings))


def _load(folder: Path, name: str) -> tuple[list[Any], tuple[str, ...]]:
    """Return datumaro's items and labels."""
    from datumaro import AnnotationType, Dataset
    from datumaro.components.errors import UnknownFormatError

    try:
        dataset = Dataset.import_from(str(folder), name)
        labels = tuple(str(item.name) for item in dataset.categories().get(AnnotationType.label, []))
        return list(dataset), labels
    except UnknownFormatError as error:
        raise ConfigError(f"datumaro has no format {name!r}; give one of its names, such as kitti") from error
    except Exception as error:  # datumaro's readers raise any type for a file that they do not expect
        raise DataError(f"{folder} cannot be read as {name} by datumaro: {first_line(error)}") from error


def _image(item: Any, labels: tuple[str, ...]) -> AnnotatedImage:
    path = getattr(item.media, "path", None)
    file = Path(path) if path and Path(path).is_file() else None
    height, width = (int(side) for side in getattr(item.media, "size", None) or (0, 0))
    annotations = (_annotation(source, labels, (width, height)) for source in item.annotations)
    return AnnotatedImage(
        name=f"{item.id}{file.suffix if file else ''}",
        file=file,
        width=width,
        height=height,
        split=split_of(item.subset),
        annotations=tuple(annotation for annotation in annotations if annotation),
        metadata=subset_metadata(item.subset if item.subset != "default" else None),
    )


def _annotation(source: Any, labels: tuple[str, ...], size: tuple[int, int]) -> Annotation | None:
    """Return datumaro's ``source`` as an Annotation; None if it has another type, or no label."""
    if source.type.name not in TYPES or source.label is None:
        return None
    attributes = json.loads(json.dumps(source.attributes, default=str))
    flags: dict[str, Any] = {flag: bool(attributes.pop(flag, False)) for flag in FLAGS}
    crowd = bool(attributes.pop("is_crowd", False))
    left, top, width, height = (float(value) for value in source.get_bbox())
    box = (left, top, left + width, top + height)
    annotation = Annotation(label=labels[source.label], box=box, crowd=crowd, attributes=attributes, **flags)
    return _with_shape(annotation, source, size)


def _with_shape(annotation: Annotation, source: Any, size: tuple[int, int]) -> Annotation:
    if source.type.name == "polygon":
        shape = from_polygons([list(source.points)])
        return replace(annotation, polygons=shape.polygons, box=shape.box, error=shape.error)
    if source.type.name == "rotated_bbox":
        x, y, width, height, angle = (float(value) for value in source.points)
        return replace(annotation, box=(x - width / 2, y - height / 2, x + width / 2, y + height / 2), rotation=angle)
    if source.type.name == "mask" and size != UNKNOWN_SIZE:
        return replace(annotation, mask=masks.encode(np.asarray(source.image, np.uint8)))
    return annotation
