"""Formats that datumaro reads and this package does not (KITTI, Open Images, WiderFace, ...), as it tells of them.

Only boxes, turned boxes, outlines and masks of run lengths come through, with their attributes; whatever else there is
counts as left out. All entries are in memory at once, since datumaro holds them.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.annotations import masks
from toolchain.annotations.model import Collection, Finding, Picture, Thing, split_of, with_subset
from toolchain.annotations.shapes import from_polygons
from toolchain.errors import ConfigError, DataError

FLAGS = ("difficult", "truncated", "occluded")


def read(folder: Path, name: str) -> Collection:
    """Return the annotations in ``folder`` that datumaro reads as its format ``name``.

    Raises:
        ConfigError: datumaro has no such format.
        DataError: it cannot read the folder.
    """
    from datumaro import AnnotationType, Dataset
    from datumaro.components.errors import UnknownFormatError

    try:
        dataset = Dataset.import_from(str(folder), name)
        labels = tuple(str(item.name) for item in dataset.categories().get(AnnotationType.label, []))
        items = list(dataset)
    except UnknownFormatError as error:
        raise ConfigError(f"datumaro has no format {name!r}; give one of its own names, such as kitti") from error
    except Exception as error:  # whatever a reader of theirs meets in a file of anybody's
        reason = str(error).strip().replace("\n", " ") or type(error).__name__
        raise DataError(f"{folder} cannot be read as {name} by datumaro: {reason[:300]}") from error
    left_out = Counter(a.type.name for item in items for a in item.annotations if _thing(a, labels, (1, 1)) is None)
    finding = [Finding(rule=f"{kind} of datumaro's {name} (left out)", count=count) for kind, count in left_out.items()]

    def each() -> Iterator[Picture]:
        for item in items:
            yield _picture(item, labels)

    return Collection(format=f"datumaro:{name}", labels=labels, pictures=each, findings=tuple(finding))


def _picture(item: Any, labels: tuple[str, ...]) -> Picture:
    path = getattr(item.media, "path", None)
    file = Path(path) if path and Path(path).is_file() else None
    height, width = getattr(item.media, "size", None) or (0, 0)
    things = tuple(thing for a in item.annotations if (thing := _thing(a, labels, (int(width), int(height)))))
    return Picture(
        name=f"{item.id}{file.suffix if file else ''}",
        file=file,
        width=int(width),
        height=int(height),
        split=split_of(item.subset),
        things=things,
        about=with_subset(item.subset if item.subset != "default" else None),
    )


def _thing(annotation: Any, labels: tuple[str, ...], size: tuple[int, int]) -> Thing | None:
    """Return the thing that ``annotation`` is; None when it is of another kind, or has no label."""
    kind = annotation.type.name
    if kind not in ("bbox", "rotated_bbox", "polygon", "mask") or annotation.label is None:
        return None
    attributes = json.loads(json.dumps(annotation.attributes, default=str))
    flags: dict[str, Any] = {flag: bool(attributes.pop(flag, False)) for flag in FLAGS}
    crowd = bool(attributes.pop("is_crowd", False))
    left, top, width, height = (float(value) for value in annotation.get_bbox())
    box = (left, top, left + width, top + height)
    thing = Thing(label=labels[annotation.label], box=box, crowd=crowd, attributes=attributes, **flags)
    if kind == "polygon":
        shape = from_polygons([list(annotation.points)])
        return replace(thing, polygons=shape.polygons, box=shape.box, broken=shape.broken)
    if kind == "rotated_bbox":
        x, y, width, height, angle = (float(value) for value in annotation.points)
        return replace(thing, box=(x - width / 2, y - height / 2, x + width / 2, y + height / 2), rotation=angle)
    if kind == "mask" and size != (1, 1):
        return replace(thing, mask=masks.encode(np.asarray(annotation.image, np.uint8)))
    return thing
