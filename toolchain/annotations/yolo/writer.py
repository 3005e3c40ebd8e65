"""Write YOLO in Ultralytics' layout: data.yaml, and a text file for each image."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolchain.annotations import geometry, masks
from toolchain.annotations.files import without_image_suffix
from toolchain.annotations.shapes import count_labeled
from toolchain.annotations.types import YOLO, AnnotatedImage, Annotation, Collection, Polygon, format_fields
from toolchain.annotations.yolo.keypoints import KEYPOINT_KEYS, KeypointLayout
from toolchain.annotations.yolo.reader import DETECT, OBB, POSE, SEGMENT, are_close, scale_points
from toolchain.artifacts.dataset import UNSPLIT
from toolchain.errors import DataError

SUBSETS = {"validation": "val"}


def write(folder: Path, collection: Collection, images: Iterator[AnnotatedImage], task: str) -> None:
    """Write ``images`` to ``folder`` for ``task``; the image files are not copied."""
    import yaml

    index = {label: number for number, label in enumerate(collection.labels)}
    keypoints = KeypointLayout.of(collection) if task == POSE else None
    subsets = set()
    for image in images:
        subset = SUBSETS.get(image.split, image.split)
        subsets.add(subset)
        target = folder / "labels" / subset / f"{without_image_suffix(image.name)}.txt"
        target.parent.mkdir(parents=True, exist_ok=True)
        lines = [format_line(annotation, image, index, task, keypoints) for annotation in image.annotations]
        target.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    fields = format_fields(collection.metadata, YOLO)
    fields = {key: value for key, value in fields.items() if keypoints or key not in KEYPOINT_KEYS}
    config = {
        "path": ".",
        **_folders(subsets),
        "names": dict(enumerate(collection.labels)),
        "task": task,
        **fields,
        **(keypoints.config(collection) if keypoints else {}),
    }
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    (folder / "data.yaml").write_text(text, encoding="utf-8")


def image_path(image: AnnotatedImage) -> str:
    """Return the path of the file of ``image``, relative to the target."""
    return f"images/{SUBSETS.get(image.split, image.split)}/{image.name}"


def detect_task(images: Iterator[AnnotatedImage]) -> str:
    """Return the task that represents most of ``images``: "obb" with an oriented box, "segment" with any polygon."""
    task = DETECT
    for image in images:
        for annotation in image.annotations:
            if annotation.rotation:
                return OBB
            if count_labeled(annotation.keypoints):
                return POSE
            task = SEGMENT if annotation.polygons or annotation.mask else task
    return task


def _folders(subsets: set[str]) -> dict[str, Any]:
    """Return data.yaml's folders of images."""
    folders: dict[str, Any] = {name: f"images/{name}" for name in ("train", "val", "test") if name in subsets}
    if not folders:  # not split yet: Ultralytics needs both
        return {"train": "images/all", "val": "images/all"}
    if UNSPLIT in subsets:
        folders["train"] = [*([folders["train"]] if "train" in folders else []), "images/all"]
    return folders


def format_line(
    annotation: Annotation,
    image: AnnotatedImage,
    index: dict[str, int],
    task: str,
    keypoints: KeypointLayout | None = None,
) -> str:
    """Return the line of ``annotation`` in ``image`` for ``task``, with its keypoints if their layout is given.

    Raises:
        DataError: its label has no ``index``, or the image's size is not known.
    """
    width, height = image.width, image.height
    if annotation.label not in index:
        raise DataError(f"{image.name}: label {annotation.label!r} is not in the list of labels")
    if not (width and height):
        raise DataError(f"{image.name}: its size is not known, and YOLO's lines are fractions of it")
    if task == OBB:
        values = scale_points(_oriented_corners(annotation, max(width, height)), 1 / width, 1 / height)
    elif task == SEGMENT:
        values = scale_points(_polygon(annotation, width, height), 1 / width, 1 / height)
    else:
        left, top, right, bottom = geometry.upright_box(annotation)
        center = ((left + right) / 2 / width, (top + bottom) / 2 / height)
        values = (*center, (right - left) / width, (bottom - top) / height)
        values = (*values, *keypoints.values(annotation, width, height)) if keypoints else values
    return " ".join([str(index[annotation.label]), *(f"{value:.12g}" for value in values)])


def _oriented_corners(annotation: Annotation, side: int) -> Polygon:
    """Return the corners of the oriented box: those of the source, if they still match the box."""
    computed, given = corners(annotation), tuple(format_fields(annotation.attributes, YOLO).get("corners", ()))
    is_current = len(given) == 8 and are_close(computed, given, geometry.CORNER_TOLERANCE * side)
    return given if is_current else computed


def _polygon(annotation: Annotation, width: int, height: int) -> Polygon:
    """Return all polygons, the mask or the box of ``annotation`` as one polygon."""
    polygons = annotation.polygons or (masks.polygons(annotation.mask, width, height) if annotation.mask else ())
    return join_polygons(polygons) if polygons else geometry.corners(annotation)


def corners(annotation: Annotation) -> Polygon:
    """Return the four corners of ``annotation``, clockwise from the top left one of the box before its rotation."""
    if len(annotation.polygons) == 1 and len(annotation.polygons[0]) == 8 and not annotation.rotation:
        return annotation.polygons[0]  # a quadrangle that is not a rectangle
    return geometry.corners(annotation)


def join_polygons(polygons: tuple[Polygon, ...]) -> Polygon:
    """Return ``polygons`` as one, joined by lines, as Ultralytics joins COCO's."""
    first = polygons[0]
    joined = first
    for polygon in polygons[1:]:
        joined = (*joined, *first[:2], *polygon, *polygon[:2])
    return (*joined, *first[:2]) if len(polygons) > 1 else joined
