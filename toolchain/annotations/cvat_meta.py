"""What CVAT's <meta> says of a file: its labels, the points of its skeletons, and the frames of each of its tasks."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.annotations.cvat_shapes import SHAPES, text_of
from toolchain.annotations.files import stream_xml

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

VIDEO = "interpolation"  # the mode of a task whose objects are tracks


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task (or job): a video, or a list of images."""

    id: str = ""
    name: str = ""
    subset: str = ""
    width: int = 0  # pixels; 0: not said
    height: int = 0
    frames: range | None = None  # their numbers in the video; None: not said
    is_video: bool = False
    source: str = ""  # the video's file


@dataclass
class Meta:
    """What one file says of itself, and which labels and names are in it."""

    path: Path
    text: str = ""  # the element <meta>
    tasks: list[Task] = field(default_factory=list)
    labels: dict[str, None] = field(default_factory=dict)  # in their order
    points: dict[str, list[str]] = field(default_factory=dict)  # names of a skeleton's points, by its label
    edges: dict[str, list[list[int]]] = field(default_factory=dict)  # their connections, from 1
    images: int = 0
    repeated: set[tuple[str, str]] = field(default_factory=set)  # subset and name that images of two tasks have

    def task(self, id_: str | None) -> Task:
        """Return the task ``id_``; the only one when it is None; an empty one that says nothing when there is none."""
        if id_ is None:
            return self.tasks[0] if len(self.tasks) == 1 else Task()
        return next((task for task in self.tasks if task.id == id_), Task(id=id_))


def read_meta(path: Path) -> Meta:
    """Return what ``path`` says of itself, while it streams; its shapes are looked at for labels alone."""
    meta = Meta(path)
    tasks_of: dict[tuple[str, str], str | None] = {}
    open_: list[Element] = []
    for event, element in stream_xml(path):
        if event == "start":
            _see(element, open_, meta)
            open_.append(element)
            continue
        open_.pop()
        if element.tag == "meta":
            _read(element, meta)
        elif element.tag == "image" and len(open_) == 1:
            meta.images += 1
            key = (element.get("subset", ""), element.get("name", ""))
            if tasks_of.setdefault(key, element.get("task_id")) != element.get("task_id"):
                meta.repeated.add(key)
        if len(open_) == 1:
            element.clear()
    return meta


def _see(element: "Element", around: "list[Element]", meta: Meta) -> None:
    """Take in the label of a shape, a track or a tag, or of a point in a skeleton; ``around`` is what it stands in."""
    label = element.get("label")
    if not label or element.tag not in (*SHAPES, "track", "tag"):
        return
    if not any(outer.tag == "skeleton" for outer in around):
        meta.labels.setdefault(label, None)
        return
    owner = next((outer.get("label", "") for outer in reversed(around) if outer.get("label")), "")
    names = meta.points.setdefault(owner, [])
    if label not in names:
        names.append(label)


def _read(element: "Element", meta: Meta) -> None:
    meta.text = text_of(element)
    for label in element.iter("label"):
        name, parent = (label.findtext("name") or "").strip(), (label.findtext("parent") or "").strip()
        if not parent:
            meta.labels.setdefault(name, None)
        elif name not in (names := meta.points.setdefault(parent, [])):
            names.append(name)
    for label in element.iter("label"):
        name = (label.findtext("name") or "").strip()
        if svg := label.findtext("svg"):
            meta.edges[name] = _edges(svg, meta.points.get(name, []))
    found = [task for tag in ("task", "job") for task in element.iter(tag)]
    meta.tasks = [_task(task) for task in found]


def _edges(svg: str, names: list[str]) -> list[list[int]]:
    """Return which of the points ``names`` the drawing ``svg`` of a skeleton connects, from 1."""
    tags = [dict(re.findall(r'([\w-]+)="([^"]*)"', tag)) for tag in re.findall(r"<(?:circle|line)\b[^>]*>", svg)]
    nodes = {tag.get("data-node-id"): tag.get("data-label-name") for tag in tags}
    ends = [(nodes.get(tag.get("data-node-from")), nodes.get(tag.get("data-node-to"))) for tag in tags]
    return [[names.index(one) + 1, names.index(other) + 1] for one, other in ends if one in names and other in names]


def _task(element: "Element") -> Task:
    def said(key: str) -> str:
        return (element.findtext(key) or "").strip()

    return Task(
        id=said("id"),
        name=said("name"),
        subset=said("subset"),
        width=_whole(said("original_size/width")) or 0,
        height=_whole(said("original_size/height")) or 0,
        frames=_frames(said),
        is_video=said("mode") == VIDEO,
        source=said("source"),
    )


def _frames(said: Any) -> range | None:
    """Return the numbers of a task's frames in its video: every ``step``-th from start_frame to stop_frame."""
    start, stop, size = (_whole(said(key)) for key in ("start_frame", "stop_frame", "size"))
    step = re.fullmatch(r"step\s*=\s*(\d+)", said("frame_filter"))
    every = max(1, int(step[1])) if step else 1
    first = start or 0
    if stop is not None:
        return range(first, stop + 1, every)
    return None if size is None else range(first, first + size * every, every)


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def connections(meta: Meta) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each skeleton's label, with the names of its points and which of them are connected."""
    for label, names in meta.points.items():
        yield label, {"names": list(names), "edges": meta.edges.get(label, [])}
