"""Reorder operations so that the first crop is applied before the operations that precede it."""

from toolchain.augment.images.operations import (
    Box,
    Crop,
    Filter,
    Geometric,
    HueShift,
    LookupTable,
    Operation,
    Resize,
    Shape,
    Symmetry,
)

Local = Filter | LookupTable | HueShift  # operations that depend on no pixel beyond a filter's radius


def shape_after(operations: list[Operation], shape: Shape) -> Shape:
    """Return the shape of an image of ``shape`` after ``operations``."""
    for operation in operations:
        if isinstance(operation, Geometric):
            shape = operation.output_shape(shape)
    return shape


def crop_first(operations: list[Operation], shape: Shape) -> list[Operation]:
    """Return ``operations`` with the first crop moved to the front, so that the others work on fewer pixels.

    The result is the same: symmetries and lookup tables commute with crops, filters get the margin of their radius, and
    a filter after a symmetry equals the transformed filter before it. ``shape`` is that of the input image.
    """
    index = next((index for index, operation in enumerate(operations) if isinstance(operation, Crop)), 0)
    before, rest = operations[:index], operations[index:]
    if not before or not all(isinstance(operation, Symmetry | Local) for operation in before):
        return operations
    symmetry, local = _separate(before)
    crop = rest.pop(0)
    assert isinstance(crop, Crop)
    box = symmetry.inverse().move_box(crop.box, symmetry.output_shape(shape))
    moved = _crop_around(box, local, shape)
    if rest and isinstance(resize := rest[0], Resize):
        height, width = symmetry.inverse().output_shape((resize.height, resize.width))
        moved.append(Resize(height, width, resize.interpolation, resize.mask_interpolation))
        rest.pop(0)
    return [*moved, symmetry, *rest]


def _separate(operations: list[Operation]) -> tuple[Symmetry, list[Local]]:
    """Return the composition of all symmetries in ``operations``, and the local operations to apply before it."""
    symmetry, local = Symmetry(), list[Local]()
    for operation in operations:
        if isinstance(operation, Symmetry):
            symmetry = symmetry.then(operation)
        elif isinstance(operation, Filter):
            local.append(operation.transformed(symmetry.inverse()))
        elif isinstance(operation, LookupTable | HueShift):
            local.append(operation)
    return symmetry, local


def _crop_around(box: Box, local: list[Local], shape: Shape) -> list[Operation]:
    """Return a crop to ``box`` with ``local`` applied; the margins that filters need are cropped after each filter."""
    boxes = [box]
    for operation in reversed(local):
        boxes.insert(0, _expanded(boxes[0], operation.radius, shape) if isinstance(operation, Filter) else boxes[0])
    cropped: list[Operation] = [Crop(boxes[0])]
    for operation, outer, inner in zip(local, boxes, boxes[1:], strict=False):
        cropped.append(operation)
        if inner != outer:
            left, top = outer[:2]
            cropped.append(Crop((inner[0] - left, inner[1] - top, inner[2] - left, inner[3] - top)))
    return cropped


def _expanded(box: Box, margin: int, shape: Shape) -> Box:
    left, top, right, bottom = box
    return max(left - margin, 0), max(top - margin, 0), min(right + margin, shape[1]), min(bottom + margin, shape[0])
