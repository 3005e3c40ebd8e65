"""Write CVAT's <meta>: labels with their attributes, and the subsets, by which CVAT's importer finds images.

The source's <meta> is kept, with missing labels and subsets added.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from toolchain.annotations.cvat.reader import DEFAULT_SUBSET
from toolchain.annotations.cvat.shapes import CHECKBOX_FLAGS, FALSE
from toolchain.annotations.types import CVAT, Collection, format_fields

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


def meta_text(collection: Collection, attributes: Mapping[str, set[str]], subsets: Sequence[str]) -> str:
    """Return <meta> for the labels of ``collection``.

    Args:
        collection: Its own <meta> is kept, if it has one.
        attributes: The names of the objects' attributes, by the object's label.
        subsets: The subsets of the images; "" for images without one.
    """
    from xml.etree.ElementTree import Element, tostring

    from defusedxml.ElementTree import fromstring

    text = format_fields(collection.metadata, CVAT).get("meta")
    meta: Element = fromstring(text) if text else Element("meta")
    named = [subset or DEFAULT_SUBSET for subset in subsets] if any(subsets) else []
    owner = _project(meta, named) if named else _owner(meta)
    labels = _child(owner, "labels")
    known = {(label.findtext("name") or "").strip(): label for label in labels.iterfind("label")}
    for label in collection.labels:
        element = known[label] if label in known else _set_name(_add(labels, "label"), label)
        _declare(element, sorted(attributes.get(label, ())))
    return tostring(meta, encoding="unicode").strip()


def _owner(meta: "Element") -> "Element":
    """Return the project, the task or the job that has the labels."""
    for tag in ("project", "task", "job"):
        if (found := meta.find(tag)) is not None:
            return found
    return _add(meta, "task")


def _project(meta: "Element", subsets: Sequence[str]) -> "Element":
    """Return the project with a task for each of ``subsets``; an existing task or job becomes one of its tasks."""
    project = meta.find("project")
    if project is None:
        project = _create_project(meta)
    tasks = _child(project, "tasks")
    declared = {subset.text for subset in project.iter("subset")}
    for subset in (subset for subset in subsets if subset not in declared):
        _add(_add(tasks, "task"), "subset").text = subset
    return project


def _create_project(meta: "Element") -> "Element":
    """Move the tasks and jobs of ``meta`` into a project, and their labels with them."""
    from xml.etree.ElementTree import Element

    project = Element("project")
    tasks = _add(project, "tasks")
    for task in [task for tag in ("task", "job") for task in meta.findall(tag)]:
        meta.remove(task)
        for labels in task.findall("labels"):
            task.remove(labels)
            project.append(labels)
        tasks.append(task)
    meta.insert(0, project)
    return project


def _declare(label: "Element", attributes: Sequence[str]) -> None:
    """Add ``attributes`` to ``label`` that it does not have."""
    known = {(name.text or "").strip() for name in label.iterfind("attributes/attribute/name")}
    parent = _child(label, "attributes")
    for name in (name for name in attributes if name not in known):
        attribute = _set_name(_add(parent, "attribute"), name)
        is_flag = name in CHECKBOX_FLAGS
        for key, text in (
            ("mutable", "False"),
            ("input_type", "checkbox" if is_flag else "text"),
            ("default_value", FALSE if is_flag else ""),
            ("values", FALSE if is_flag else ""),
        ):
            _add(attribute, key).text = text


def _child(parent: "Element", tag: str) -> "Element":
    """Return the child ``tag`` of ``parent``, added if there is none."""
    found = parent.find(tag)
    return _add(parent, tag) if found is None else found


def _set_name(element: "Element", name: str) -> "Element":
    _add(element, "name").text = name
    return element


def _add(parent: "Element", tag: str) -> "Element":
    from xml.etree.ElementTree import SubElement

    return SubElement(parent, tag)
