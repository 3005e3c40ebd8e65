"""Collect the operations of one copy, and apply them when its pixels are needed."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from toolchain.augment.images import library
from toolchain.augment.images.crop_first import crop_first, shape_after
from toolchain.augment.images.files import ImageFile
from toolchain.augment.images.objects import (
    CLIPPED,
    HIDDEN,
    OUTSIDE,
    Object,
    area,
    clip,
    move,
    without_original_position,
)
from toolchain.augment.images.operations import Box, Crop, Operation, Paste, Resize, Shape
from toolchain.augment.images.polygons import Points, clip_polygons, corners, envelope
from toolchain.image_decoding import Pixels

LINEAR, NEAREST = 1, 0  # cv2.INTER_LINEAR, cv2.INTER_NEAREST
_AREA_TOLERANCE = 1e-3  # relative; Albumentations computes boxes in 32 bits

Count = Callable[[str, str], None]  # transform, outcome


class PendingCopy:
    """A copy whose operations are collected and applied when its pixels are needed."""

    def __init__(self, image: ImageFile | Pixels, objects: list[Object], min_visibility: float, count: Count) -> None:
        self.objects, self.shape = objects, (image.shape[0], image.shape[1])
        self.boxes = len(objects)
        self._image, self._start, self._min_visibility, self._count = image, self.shape, min_visibility, count
        self._operations: list[Operation] = []

    def add(self, name: str, operations: list[Operation]) -> None:
        """Add ``operations``, which implement the transform ``name``."""
        if self.objects:
            self.objects = self._moved(name, self.objects, operations, self.shape)
        self._operations += operations
        self.shape = shape_after(operations, self.shape)

    def apply(self, name: str, transform: Any, seed: int) -> None:
        """Apply ``transform`` by Albumentations."""
        boxes = [item.box for item in self.objects]
        polygons = [polygon for item in self.objects for polygon in (corners(item.box), *item.polygons)]
        masks = [item.mask for item in self.objects if item.mask is not None]
        pixels = self.render()
        if library.changes_only_pixels(transform):
            self._restart(library.apply(transform, seed, pixels, (), (), ()).pixels)
            return
        result = library.apply(transform, seed, pixels, boxes, polygons, masks)
        self._restart(result.pixels)
        self.objects = self._kept_objects(name, result)

    def mix(
        self, name: str, size: Shape, cells: Sequence[tuple[int, Box, Box]], partners: list[tuple[Pixels, list[Object]]]
    ) -> None:
        """Replace the image by a mosaic of it and its ``partners``; ``cells`` as ``library.mosaic_cells`` has them."""
        images = [(self.render(), self.objects), *partners]
        mosaic, objects, total = None, list[Object](), 0
        for number, (left, top, right, bottom), crop in cells:
            pixels, annotated = images[number % len(images)]
            shape = (pixels.shape[0], pixels.shape[1])
            cover, paste = _cover(shape, size), Paste(left, top, *size)
            total += len(annotated)
            objects += self._moved(name, annotated, [cover, Crop(crop), paste], shape)
            part = Crop(crop).apply(cover.apply(pixels))
            if mosaic is None:
                mosaic = paste.apply(part)
            mosaic[top:bottom, left:right] = part
        assert mosaic is not None
        self.boxes += total - len(self.objects)
        self.objects = objects
        self._restart(mosaic)

    def render(self) -> Pixels:
        """Return the pixels after all operations."""
        operations, image = crop_first(self._operations, self._start), self._image
        if isinstance(image, ImageFile):
            image, operations = _decode(image, operations)
        for operation in operations:
            image = operation.apply(image)
        self._restart(image)
        return image

    def _restart(self, image: Pixels) -> None:
        self._image, self._operations = image, []
        self._start = self.shape = (image.shape[0], image.shape[1])

    def _moved(
        self, name: str, objects: Sequence[Object], operations: Sequence[Operation], shape: Shape
    ) -> list[Object]:
        return move(objects, operations, shape, self._min_visibility, lambda outcome: self._count(name, outcome))

    def _kept_objects(self, name: str, result: library.Transformed) -> list[Object]:
        polygons, masks, kept = iter(result.polygons), iter(result.masks), list[Object]()
        for number, item in enumerate(self.objects):
            whole = next(polygons)
            own = tuple(next(polygons) for _ in item.polygons)
            mask = next(masks) if item.mask is not None else None
            found, outcome = self._transformed(item, result.boxes.get(number), whole, own, mask)
            self._count(name, outcome)
            kept += [found] if found else []
        return kept

    def _transformed(
        self,
        item: Object,
        box: tuple[float, float, float, float] | None,
        whole: Points,
        polygons: Sequence[Points],
        mask: Pixels | None,
    ) -> tuple[Object | None, str]:
        """Return ``item`` after a transform of Albumentations, None when it is dropped, and the outcome.

        Args:
            item: The object before.
            box: Its new box, clipped to the image; None when Albumentations dropped it.
            whole: The corners of its box, transformed but not clipped.
            polygons: Its transformed polygons.
            mask: Its transformed mask.
        """
        full = envelope(whole)
        if box is None:
            remains, _ = clip(replace(item, box=full, polygons=(), mask=None), self.shape, 0.0)
            return None, HIDDEN if remains else OUTSIDE
        share = min(area(box) / area(full), 1.0) if area(full) else 1.0
        is_cut = share < 1 - _AREA_TOLERANCE
        row = without_original_position(item.row) | ({"truncated": True} if is_cut else {})
        visible_share = item.visible_share * (share if is_cut else 1.0)
        moved = Object(row, box, clip_polygons(polygons, self.shape), mask, visible_share)
        found, outcome = clip(moved, self.shape, self._min_visibility)
        return found, CLIPPED if found and is_cut else outcome


def _cover(shape: Shape, size: Shape) -> Resize:
    """Return the resize of an image of ``shape`` that covers ``size`` and keeps the aspect ratio."""
    scale = max(size[0] / shape[0], size[1] / shape[1])
    return Resize(round(shape[0] * scale), round(shape[1] * scale), LINEAR, NEAREST)


def _decode(file: ImageFile, operations: list[Operation]) -> tuple[Pixels, list[Operation]]:
    """Return the image, decoded no larger than ``operations`` need, and the operations still to apply."""
    if len(operations) >= 2 and isinstance(crop := operations[0], Crop) and isinstance(resize := operations[1], Resize):
        pixels, box = file.decode_reduced(crop.box, resize.height, resize.width)
        return pixels, [Crop(box), *operations[1:]]
    return file.decode(), operations
