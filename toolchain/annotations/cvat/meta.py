"""Read what CVAT's <meta> declares: labels, the points of skeletons, and the frames of each task."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.annotations.cvat.shapes import SHAPES
from toolchain.annotations.files import stream_xml, xml_text

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

VIDEO = "interpolation"  # the mode of a task whose objects are tracks


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task (or job): a video, or a list of images."""

    id: str = ""
    name: str = ""
    subset: str = ""
    width: int = 0  # pixels; 0: not given
    height: int = 0
    frames: range | None = None  # their numbers in the video; None: not given
    is_video: bool = False
    source: str = ""  # the video file


@dataclass
class Meta:
    """The <meta> of one file, with the labels and names that its shapes and images use."""

    path: Path
    text: str = ""  # the element <meta>
    tasks: list[Task] = field(default_factory=list)
    labels: dict[str, None] = field(default_factory=dict)  # in their order
    points: dict[str, list[str]] = field(default_factory=dict)  # names of a skeleton's points, by its label
    edges: dict[str, list[list[int]]] = field(default_factory=dict)  # their connections, from 1
    images: int = 0
    repeated: set[tuple[str, str]] = field(default_factory=set)  # subset and name that images of two tasks share

    def task(self, id_: str | None) -> Task:
        """Return the task ``id_``, or the only one if ``id_`` is None; an empty task if there is none."""
        if id_ is None:
            return self.tasks[0] if len(self.tasks) == 1 else Task()
        return next((task for task in self.tasks if task.id == id_), Task(id=id_))

    def skeletons(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each skeleton's label, with the names of its points and which of them are connected."""
        for label, names in self.points.items():
            yield label, {"names": list(names), "edges": self.edges.get(label, [])}


def read_meta(path: Path) -> Meta:
    """Return the <meta> of ``path``; the file is streamed, and its shapes are read for their labels only."""
    meta = Meta(path)
    task_ids: dict[tuple[str, str], str | None] = {}
    parents: list[Element] = []
    for event, element in stream_xml(path):
        if event == "start":
            _add_label(element, parents, meta)
            parents.append(element)
            continue
        parents.pop()
        if element.tag == "meta":
            _read_declarations(element, meta)
        elif element.tag == "image" and len(parents) == 1:
            meta.images += 1
            key = (element.get("subset", ""), element.get("name", ""))
            if task_ids.setdefault(key, element.get("task_id")) != element.get("task_id"):
                meta.repeated.add(key)
        if len(parents) == 1:
            element.clear()
    return meta


def _add_label(element: "Element", parents: "list[Element]", meta: Meta) -> None:
    """Add the label of a shape, a track or a tag, or of a point in a skeleton."""
    label = element.get("label")
    if not label or element.tag not in (*SHAPES, "track", "tag"):
        return
    if not any(parent.tag == "skeleton" for parent in parents):
        meta.labels.setdefault(label, None)
        return
    owner = next((parent.get("label", "") for parent in reversed(parents) if parent.get("label")), "")
    names = meta.points.setdefault(owner, [])
    if label not in names:
        names.append(label)


def _read_declarations(element: "Element", meta: Meta) -> None:
    """Add the labels, skeletons and tasks that the element <meta> declares."""
    meta.text = xml_text(element)
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
    meta.tasks = [_task(task) for tag in ("task", "job") for task in element.iter(tag)]


def _edges(svg: str, names: list[str]) -> list[list[int]]:
    """Return which of the points ``names`` the drawing ``svg`` of a skeleton connects, from 1."""
    tags = [dict(re.findall(r'([\w-]+)="([^"]*)"', tag)) for tag in re.findall(r"<(?:circle|line)\b[^>]*>", svg)]
    nodes = {tag.get("data-node-id"): tag.get("data-label-name") for tag in tags}
    ends = [(nodes.get(tag.get("data-node-from")), nodes.get(tag.get("data-node-to"))) for tag in tags]
    return [[names.index(one) + 1, names.index(other) + 1] for one, other in ends if one in names and other in names]


def _task(element: "Element") -> Task:
    def text(key: str) -> str:
        return (element.findtext(key) or "").strip()

    return Task(
        id=text("id"),
        name=text("name"),
        subset=text("subset"),
        width=_integer(text("original_size/width")) or 0,
        height=_integer(text("original_size/height")) or 0,
        frames=_frames(text),
        is_video=text("mode") == VIDEO,
        source=text("source"),
    )


def _frames(text: Callable[[str], str]) -> range | None:
    """Return the numbers of a task's frames in its video: every ``step``-th from start_frame to stop_frame."""
    start, stop, size = (_integer(text(key)) for key in ("start_frame", "stop_frame", "size"))
    given = re.fullmatch(r"step\s*=\s*(\d+)", text("frame_filter"))
    step = max(1, int(given[1])) if given else 1
    first = start or 0
    if stop is not None:
        return range(first, stop + 1, step)
    return None if size is None else range(first, first + size * step, step)


def _integer(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None
