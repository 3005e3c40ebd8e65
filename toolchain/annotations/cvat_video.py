"""Tracks of "CVAT for video 1.1" as pictures: one for each frame of a task, with the objects that are in it.

CVAT writes the shapes of all frames; files of other tools have key frames alone. What lies between two key frames is
interpolated as CVAT does on import: boxes and key points linearly, other shapes stay as they were; the last shape of a
track stays to the end of its task, unless it is outside.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.annotations.cvat_frames import Frames, Videos
from toolchain.annotations.cvat_meta import Meta, Task
from toolchain.annotations.cvat_shapes import SHAPES, thing_of
from toolchain.annotations.files import number, tidy
from toolchain.annotations.model import CVAT, Picture, Thing, clean, of_format, own, split_of, with_subset

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

TRACK = "track_id"  # the attribute with an object's number in a video
OF_FRAME = ("frame", "outside", "keyframe")  # attributes of a shape that place it in a track
OF_TRACK = ("id", "label", "task_id", "subset")


@dataclass(frozen=True)
class Seen:
    """A track's object in one frame."""

    frame: int
    thing: Thing
    is_outside: bool


@dataclass
class Tracks:
    """The tracks of one file, by the task that they belong to."""

    meta: Meta
    videos: Videos
    tracks: dict[str | None, list[list[Seen]]] = field(default_factory=dict)

    def add(self, element: "Element") -> None:
        """Take in the track ``element``."""
        id_ = element.get("task_id")
        task = self.meta.task(id_)
        shapes = [part for part in element if part.tag in SHAPES]
        seen = [_seen(shape, element, (task.width, task.height), self.meta) for shape in shapes]
        self.tracks.setdefault(id_, []).append(sorted(seen, key=lambda one: one.frame))

    def pictures(self, places: Sequence[Path]) -> Iterator[Picture]:
        """Yield the frames of all tasks, of those without an object too; ``places`` are where their files can be."""
        known = [task for task in self.meta.tasks if task.id or len(self.meta.tasks) == 1]
        is_project = any(id_ is not None for id_ in self.tracks)
        for id_ in dict.fromkeys((*((task.id for task in known) if is_project else (None,)), *self.tracks)):
            task = self.meta.task(id_)
            where = _places_of(task, places, self.meta)
            yield from _frames(task, self.tracks.get(id_, []), where, self._folder(task), self.videos)

    def _folder(self, task: Task) -> str:
        """Return the folder in the names of pictures that tells tasks apart, "" when there is one alone."""
        if len(self.meta.tasks) < 2 and len(self.tracks) < 2:
            return ""
        names = [other.name for other in self.meta.tasks]
        is_name = names.count(task.name) == 1 and tidy(task.name) == task.name and "/" not in task.name
        return f"{task.name if is_name and task.name else task.id or 'task'}/"


def _seen(shape: "Element", track: "Element", size: tuple[int, int], meta: Meta) -> Seen:
    where = f"{meta.path}, track {track.get('id')}"
    frame = int(number(shape.get("frame"), where))
    points = list(shape.iterfind("points"))
    is_hidden = bool(points) and all(part.get("outside") == "1" for part in points)
    is_outside = shape.get("outside") == "1" or is_hidden
    keyframe = shape.get("keyframe")
    for key in OF_FRAME:
        shape.attrib.pop(key, None)
    for part in points:
        part.attrib.pop("frame", None)
        part.attrib.pop("keyframe", None)
    shape.set("label", track.get("label", ""))
    thing = thing_of(shape, size, meta.points)
    of_track = {key: value for key, value in track.attrib.items() if key not in OF_TRACK}
    said = {**of_track, **clean(keyframe=keyframe), **of_format(thing.attributes, CVAT)}
    attributes = {**own(thing.attributes), TRACK: int(number(track.get("id"), where)), CVAT: said}
    return Seen(frame, replace(thing, attributes=attributes), is_outside)


def _frames(
    task: Task, tracks: list[list[Seen]], places: Sequence[Path], folder: str, videos: Videos
) -> Iterator[Picture]:
    listed = {one.frame for track in tracks for one in track}
    numbers = sorted(listed | set(task.frames or ()))
    things: dict[int, list[Thing]] = {}
    for track in tracks:
        for frame, thing in _in_between(track, numbers, task.frames is not None):
            things.setdefault(frame, []).append(thing)
    frames = Frames.of(task, places, numbers, videos)
    for frame in numbers:
        file = frames.files.get(frame)
        yield Picture(
            name=f"{folder}{file.name if file else f'frame_{frame:06d}.png'}",
            file=None if frames.is_video else file,
            embedded=file.read_bytes() if frames.is_video and file else None,
            width=task.width,
            height=task.height,
            split=split_of(task.subset),
            things=tuple(things.get(frame, ())),
            about=with_subset(task.subset or None),
        )


def _in_between(track: list[Seen], numbers: Sequence[int], goes_on: bool) -> Iterator[tuple[int, Thing]]:
    """Yield the frames of ``numbers`` in which the object of ``track`` is visible, and the object there.

    It stays after its last shape when ``goes_on``, which needs a task that says where it ends.
    """
    for one, other in zip(track, [*track[1:], None], strict=True):
        if one.is_outside:
            continue
        yield one.frame, one.thing
        for frame in numbers:
            if one.frame < frame and (frame < other.frame if other else goes_on):
                yield frame, _at(frame, one, other) if other else _copied(one.thing)


def _at(frame: int, one: Seen, other: Seen) -> Thing:
    """Return the object in ``frame`` between its shapes ``one`` and ``other``."""
    share = (frame - one.frame) / (other.frame - one.frame)
    first, second = one.thing, other.thing
    if first.polygons or first.mask or second.polygons or second.mask:
        return _copied(first)
    turn = (second.rotation - first.rotation + 180) % 360 - 180  # the short way round
    left, top, right, bottom = (a + (b - a) * share for a, b in zip(first.box, second.box, strict=True))
    return replace(
        _copied(first),
        box=(left, top, right, bottom),
        rotation=(first.rotation + turn * share) % 360 if turn else first.rotation,
        keypoints=_between(first.keypoints, second.keypoints, share),
    )


def _between(first: tuple[float, ...], second: tuple[float, ...], share: float) -> tuple[float, ...]:
    """Return the key points between ``first`` and ``second``, visible as in the first."""
    if len(first) != len(second):
        return first
    pairs = enumerate(zip(first, second, strict=True))
    moves = [seen > 0 and other > 0 for seen, other in zip(first[2::3], second[2::3], strict=True)]
    return tuple(a + (b - a) * share if at % 3 < 2 and moves[at // 3] else a for at, (a, b) in pairs)


def _copied(thing: Thing) -> Thing:
    """Return ``thing`` as it is in a frame that has no shape of its own."""
    said = {
        key: value for key, value in of_format(thing.attributes, CVAT).items() if key not in ("keyframe", "element")
    }
    return replace(thing, attributes={**thing.attributes, CVAT: {**said, "keyframe": "0"}})


def _places_of(task: Task, places: Sequence[Path], meta: Meta) -> list[Path]:
    """Return where the files of ``task`` can be: in a folder of its own where its subset has several tasks."""
    own_names = [name for name in (task.name, task.id, f"task_{task.id}") if name and tidy(name) == name]
    subsets = [task.subset] if task.subset and tidy(task.subset) == task.subset else ["default"]
    bases = [folder for place in places for folder in (*(place / subset for subset in subsets), place)]
    found = [base / name for base in bases for name in own_names]
    is_alone = sum(other.subset == task.subset for other in meta.tasks) < 2
    if is_alone:
        found += [place / subset for place in places for subset in subsets]
    return [*found, *(places if len(meta.tasks) < 2 else ())]


def is_video(meta: Meta, tracks: Mapping[str | None, object]) -> bool:
    """Return whether a file tells of videos: by its tracks; without any, by its tasks."""
    return bool(tracks) or (not meta.images and any(task.is_video for task in meta.tasks))
