"""Read tracks of "CVAT for video 1.1" as images: one for each frame of a task, with the objects in it.

CVAT writes the shapes of all frames; other tools write keyframes only. Between two keyframes, shapes are interpolated
as CVAT's importer does it: boxes and keypoints linearly, other shapes are copied. The last shape of a track is copied
to the end of its task, unless it is outside.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.annotations.cvat.frames import Frames, Videos
from toolchain.annotations.cvat.meta import Meta, Task
from toolchain.annotations.cvat.shapes import SHAPES, parse_annotation
from toolchain.annotations.files import parse_number, safe_name
from toolchain.annotations.types import (
    CVAT,
    AnnotatedImage,
    Annotation,
    format_fields,
    non_empty,
    split_of,
    subset_metadata,
    user_attributes,
)

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

TRACK = "track_id"  # the attribute with an object's number in a video
FRAME_KEYS = ("frame", "outside", "keyframe")  # attributes of a shape in a track
TRACK_KEYS = ("id", "label", "task_id", "subset")


@dataclass(frozen=True)
class TrackedShape:
    """A track's object in one frame."""

    frame: int
    annotation: Annotation
    is_outside: bool


@dataclass
class Tracks:
    """The tracks of one file, by the task that they belong to."""

    meta: Meta
    videos: Videos
    tracks: dict[str | None, list[list[TrackedShape]]] = field(default_factory=dict)

    def add(self, element: "Element") -> None:
        """Add the track ``element``."""
        id_ = element.get("task_id")
        task = self.meta.task(id_)
        shapes = [part for part in element if part.tag in SHAPES]
        tracked = [_tracked_shape(shape, element, (task.width, task.height), self.meta) for shape in shapes]
        self.tracks.setdefault(id_, []).append(sorted(tracked, key=lambda shape: shape.frame))

    def images(self, folders: Sequence[Path]) -> Iterator[AnnotatedImage]:
        """Yield all frames of all tasks, also those without an object; ``folders`` can hold their files."""
        known = [task for task in self.meta.tasks if task.id or len(self.meta.tasks) == 1]
        is_project = any(id_ is not None for id_ in self.tracks)
        for id_ in dict.fromkeys((*((task.id for task in known) if is_project else (None,)), *self.tracks)):
            task = self.meta.task(id_)
            task_folders = _task_folders(task, folders, self.meta)
            yield from _images(task, self.tracks.get(id_, []), task_folders, self._name_prefix(task), self.videos)

    def _name_prefix(self, task: Task) -> str:
        """Return the folder in image names that distinguishes tasks, "" for a single task."""
        if len(self.meta.tasks) < 2 and len(self.tracks) < 2:
            return ""
        names = [other.name for other in self.meta.tasks]
        is_unique = names.count(task.name) == 1 and safe_name(task.name) == task.name and "/" not in task.name
        return f"{task.name if is_unique and task.name else task.id or 'task'}/"


def is_video(meta: Meta, tracks: Mapping[str | None, object]) -> bool:
    """Return whether a file describes videos: by its tracks, or without any by its tasks."""
    return bool(tracks) or (not meta.images and any(task.is_video for task in meta.tasks))


def _tracked_shape(shape: "Element", track: "Element", size: tuple[int, int], meta: Meta) -> TrackedShape:
    where = f"{meta.path}, track {track.get('id')}"
    frame = int(parse_number(shape.get("frame"), where))
    points = list(shape.iterfind("points"))
    is_hidden = bool(points) and all(part.get("outside") == "1" for part in points)
    is_outside = shape.get("outside") == "1" or is_hidden
    keyframe = shape.get("keyframe")
    for key in FRAME_KEYS:
        shape.attrib.pop(key, None)
    for part in points:
        part.attrib.pop("frame", None)
        part.attrib.pop("keyframe", None)
    shape.set("label", track.get("label", ""))
    annotation = parse_annotation(shape, size, meta.points)
    track_fields = {key: value for key, value in track.attrib.items() if key not in TRACK_KEYS}
    fields = {**track_fields, **non_empty(keyframe=keyframe), **format_fields(annotation.attributes, CVAT)}
    number = int(parse_number(track.get("id"), where))
    attributes = {**user_attributes(annotation.attributes), TRACK: number, CVAT: fields}
    return TrackedShape(frame, replace(annotation, attributes=attributes), is_outside)


def _images(
    task: Task, tracks: list[list[TrackedShape]], folders: Sequence[Path], prefix: str, videos: Videos
) -> Iterator[AnnotatedImage]:
    listed = {shape.frame for track in tracks for shape in track}
    numbers = sorted(listed | set(task.frames or ()))
    annotations: dict[int, list[Annotation]] = {}
    for track in tracks:
        for number, annotation in _interpolate(track, numbers, task.frames is not None):
            annotations.setdefault(number, []).append(annotation)
    frames = Frames.of(task, folders, numbers, videos)
    for number in numbers:
        file = frames.files.get(number)
        yield AnnotatedImage(
            name=f"{prefix}{file.name if file else f'frame_{number:06d}.png'}",
            file=None if frames.is_video else file,
            embedded=file.read_bytes() if frames.is_video and file else None,
            width=task.width,
            height=task.height,
            split=split_of(task.subset),
            annotations=tuple(annotations.get(number, ())),
            metadata=subset_metadata(task.subset or None),
        )


def _interpolate(track: list[TrackedShape], numbers: Sequence[int], has_end: bool) -> Iterator[tuple[int, Annotation]]:
    """Yield the frames of ``numbers`` in which the object of ``track`` is visible, and the object in each.

    The last shape is copied to the end if ``has_end``: the task gives its frames.
    """
    for shape, following in zip(track, [*track[1:], None], strict=True):
        if shape.is_outside:
            continue
        yield shape.frame, shape.annotation
        for frame in numbers:
            if shape.frame < frame and (frame < following.frame if following else has_end):
                yield frame, _between(frame, shape, following) if following else _copy(shape.annotation)


def _between(frame: int, one: TrackedShape, other: TrackedShape) -> Annotation:
    """Return the object in ``frame`` between its shapes ``one`` and ``other``."""
    share = (frame - one.frame) / (other.frame - one.frame)
    first, second = one.annotation, other.annotation
    if first.polygons or first.mask or second.polygons or second.mask:
        return _copy(first)
    turn = (second.rotation - first.rotation + 180) % 360 - 180  # the shorter way round
    left, top, right, bottom = (a + (b - a) * share for a, b in zip(first.box, second.box, strict=True))
    return replace(
        _copy(first),
        box=(left, top, right, bottom),
        rotation=(first.rotation + turn * share) % 360 if turn else first.rotation,
        keypoints=_keypoints_between(first.keypoints, second.keypoints, share),
    )


def _keypoints_between(first: tuple[float, ...], second: tuple[float, ...], share: float) -> tuple[float, ...]:
    """Return the keypoints between ``first`` and ``second``, with the visibility of the first."""
    if len(first) != len(second):
        return first
    pairs = enumerate(zip(first, second, strict=True))
    moves = [one > 0 and other > 0 for one, other in zip(first[2::3], second[2::3], strict=True)]
    return tuple(a + (b - a) * share if at % 3 < 2 and moves[at // 3] else a for at, (a, b) in pairs)


def _copy(annotation: Annotation) -> Annotation:
    """Return ``annotation`` for a frame that has no shape."""
    fields = format_fields(annotation.attributes, CVAT)
    kept = {key: value for key, value in fields.items() if key not in ("keyframe", "element")}
    return replace(annotation, attributes={**annotation.attributes, CVAT: {**kept, "keyframe": "0"}})


def _task_folders(task: Task, folders: Sequence[Path], meta: Meta) -> list[Path]:
    """Return the folders that can hold the files of ``task``: its own if its subset has several tasks."""
    names = [name for name in (task.name, task.id, f"task_{task.id}") if name and safe_name(name) == name]
    subset = task.subset if task.subset and safe_name(task.subset) == task.subset else "default"
    found = [top / name for folder in folders for top in (folder / subset, folder) for name in names]
    is_only_task = sum(other.subset == task.subset for other in meta.tasks) < 2
    if is_only_task:
        found += [folder / subset for folder in folders]
    return [*found, *(folders if len(meta.tasks) < 2 else ())]
