"""Read YOLO: one text file per image, one line per object, in fractions of the image, in three layouts of folders.

- Ultralytics': data.yaml names the folders of images of each split, and "images" in a path becomes "labels".
- Darknet's, which CVAT exports as "YOLO 1.1": obj.data, obj.names, and lists of images.
- LabelImg's: classes.txt beside the text files.

A line is ``class x y width height``, ``class x0 y0 x1 y1 ...`` for a polygon, or the same with four corners for an
oriented box. Nine values can be either: data.yaml's ``task`` decides, else whether all lines have 5 or 9 values.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from toolchain import split_names
from toolchain.annotations import geometry
from toolchain.annotations.files import parse_number, read_lines, upright_size
from toolchain.annotations.shapes import EMPTY_BOX, parse_numbers
from toolchain.annotations.splits import with_splits
from toolchain.annotations.types import (
    KEYPOINTS,
    UNKNOWN_CLASS,
    YOLO,
    AnnotatedImage,
    Annotation,
    Collection,
    Finding,
    Polygon,
    bounding_box,
    non_empty,
    split_of,
    subset_metadata,
)
from toolchain.annotations.yolo.keypoints import keypoint_names, parse_keypoints, values_per_keypoint
from toolchain.annotations.yolo.layouts import Entry, find_layout
from toolchain.artifacts.dataset import UNSPLIT
from toolchain.errors import DataError
from toolchain.image_files import is_image

DETECT, SEGMENT, OBB, POSE = "detect", "segment", "obb", "pose"
TASKS = (DETECT, SEGMENT, OBB, POSE)
EXACT_TOLERANCE = 1e-8  # of the longer side: corners that differ by more from their box are kept beside it


def read(source: Path, images_dir: Path | None = None, task: str = "") -> Collection:
    """Return the annotations in ``source``, which has one of the three layouts.

    Args:
        source: A folder with data.yaml, obj.data, or lists of classes beside the text files; or a data.yaml itself.
        images_dir: The images, if they are not with the annotations.
        task: One of TASKS; "": from data.yaml, else detected from the lines.
    """
    layout = find_layout(source, images_dir)
    config = layout.config
    _check_label_files(source, layout.entries)
    given = task or (POSE if "kpt_shape" in config else str(config.get("task") or ""))
    lines = LineFormat(given or _detect_task(layout.entries), values_per_keypoint(config.get("kpt_shape")))
    if lines.task not in TASKS:
        raise DataError(f"{source}: task {lines.task!r} is not known; it is one of {', '.join(TASKS)}")

    def images() -> Iterator[AnnotatedImage]:
        return (_image(entry, lines) for entry in layout.entries)

    ignored = ("path", "names", "nc", "task", *split_names.SPLIT_WORDS)
    fields = {key: value for key, value in config.items() if key not in ignored}
    collection = Collection(
        format="yolo",
        labels=layout.labels,
        images=images,
        metadata={
            "task": lines.task,
            **non_empty(**{YOLO: fields, KEYPOINTS: keypoint_names(config, layout.labels)}),
        },
        findings=(*_findings(layout.entries), *layout.findings),
    )
    return collection if layout.has_splits else with_splits(collection, source, images_dir)


@dataclass(frozen=True)
class LineFormat:
    """What the values of a line mean."""

    task: str  # one of TASKS
    per_keypoint: int  # values of a keypoint, 2 or 3; 0: not known


def _check_label_files(source: Path, entries: list[Entry]) -> None:
    """Raise DataError if no image at all has a text file: the text files are elsewhere then."""
    images = [entry for entry in entries if entry.file]
    if images and all(entry.label_file is None for entry in entries):
        raise DataError(
            f"{source}: none of its {len(images):,} images has a text file, for example {images[0].name}; put the text "
            f"files into a folder labels beside images, or beside the images"
        )


def _findings(entries: list[Entry]) -> Iterator[Finding]:
    """Yield a finding if text files may be missing."""
    without = [entry.name for entry in entries if entry.label_file is None]
    if without:
        yield Finding.of("image without a text file (read as an image without objects)", without)
    labeled = {entry.subset or UNSPLIT for entry in entries if entry.label_file}
    subsets = {entry.subset or UNSPLIT for entry in entries} - labeled
    if subsets:
        yield Finding.of("split without a text file (read as images without objects)", sorted(subsets))


def _detect_task(entries: list[Entry]) -> str:
    """Return the task that the numbers of values in all lines show."""
    counts: set[int] = set()
    for entry in entries:
        counts |= {len(line.split()) for line in read_lines(entry.label_file)} if entry.label_file else set()
    if counts <= {5, 6}:  # the sixth is a prediction's score; a polygon has an odd number
        return DETECT
    return OBB if counts <= {5, 9} else SEGMENT


def _image(entry: Entry, format_: LineFormat) -> AnnotatedImage:
    width, height = _size(entry.file)
    lines = read_lines(entry.label_file) if entry.label_file else []
    parser = _LineParser(entry.labels, (width, height), format_)
    subset = entry.subset
    return AnnotatedImage(
        name=entry.name,
        file=entry.file,
        width=width,
        height=height,
        split=split_of(subset),
        annotations=tuple(
            parser.annotation(line, f"{entry.label_file}, line {number}") for number, line in enumerate(lines, 1)
        ),
        metadata={} if subset in (None, "val", "valid") else subset_metadata(subset),
    )


def _size(file: Path | None) -> tuple[int, int]:
    """Return the size of the image ``file``; 0 if there is none or it is not an image, which a check reports."""
    if file is None or not is_image(file):
        return 0, 0
    try:
        return upright_size(file)
    except DataError:
        return 0, 0


@dataclass(frozen=True)
class _LineParser:
    """Parses the lines of one image."""

    labels: tuple[str, ...]
    size: tuple[int, int]  # width and height of the image
    format: LineFormat

    def annotation(self, line: str, where: str) -> Annotation:
        """Return the object in ``line``; ``where`` begins an error message."""
        tokens = line.split()
        label = self._label(tokens[0])
        try:
            return self._parse(label, parse_numbers(tokens[1:], "a number"))
        except DataError as error:
            return Annotation(label=label, box=EMPTY_BOX, error=f"{where}: {error}")

    def _label(self, token: str) -> str:
        """Return the label of the class number ``token``, which numpy.savetxt writes as 0.00e+00."""
        try:
            index = parse_number(token, "a class")
        except DataError:
            return f"{UNKNOWN_CLASS}{token}"
        is_known = index == int(index) and 0 <= index < len(self.labels)
        return self.labels[int(index)] if is_known else f"{UNKNOWN_CLASS}{token}"

    def _parse(self, label: str, values: Polygon) -> Annotation:
        if self.format.task == POSE and len(values) >= 4:
            keypoints = parse_keypoints(values[4:], self.size, self.format.per_keypoint)
            return replace(self._box(label, values[:4]), keypoints=keypoints)
        if len(values) == 4:
            return self._box(label, values)
        if len(values) == 5 and self.format.task == DETECT:  # a prediction with its score
            return replace(self._box(label, values[:4]), attributes={YOLO: {"score": values[4]}})
        if len(values) < 6 or len(values) % 2:
            raise DataError(f"{len(values) + 1} numbers; a box has 5, a polygon 7 or more, always an odd number")
        points = scale_points(values, *self.size)
        if self.format.task == OBB and len(values) == 8 and (oriented := self._oriented_box(label, points)):
            return oriented
        return Annotation(label=label, box=bounding_box((points,)), polygons=(points,))

    def _box(self, label: str, values: Polygon) -> Annotation:
        x, y, width, height = scale_points(values, *self.size)
        return Annotation(label=label, box=(x - width / 2, y - height / 2, x + width / 2, y + height / 2))

    def _oriented_box(self, label: str, points: Polygon) -> Annotation | None:
        """Return the oriented box with the corners ``points``; None if they are not a clockwise rectangle."""
        side = max(*self.size, 1)
        found = geometry.oriented_box(points, geometry.CORNER_TOLERANCE * side)
        if not found:
            return None
        annotation = Annotation(label=label, box=found[0], rotation=found[1])
        is_exact = are_close(geometry.corners(annotation), points, EXACT_TOLERANCE * side)
        return annotation if is_exact else replace(annotation, attributes={YOLO: {"corners": list(points)}})


def are_close(one: Polygon, other: Polygon, tolerance: float) -> bool:
    """Return whether no number of ``one`` differs by more than ``tolerance`` from that of ``other``."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) <= tolerance


def scale_points(values: Polygon, x: float, y: float) -> Polygon:
    """Return the points ``values`` with their coordinates multiplied by ``x`` and ``y``."""
    return tuple(value * (y if index % 2 else x) for index, value in enumerate(values))
