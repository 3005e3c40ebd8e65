"""CVAT's <meta>, written: the labels with their attributes, and the subsets, by which CVAT's importer finds images.

That of the source is kept, and completed where it lacks a label or a subset.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from toolchain.annotations.cvat import DEFAULT
from toolchain.annotations.cvat_shapes import FALSE, FLAGS
from toolchain.annotations.model import CVAT, Collection, of_format

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


def written_meta(collection: Collection, attributes: Mapping[str, set[str]], subsets: Sequence[str]) -> str:
    """Return <meta> for the labels of ``collection``.

    Args:
        collection: Whose own <meta> is kept, where it has one.
        attributes: The names of the attributes that objects have, by their label.
        subsets: The subsets that images have; "" for those of none.
    """
    from xml.etree.ElementTree import Element, tostring

    from defusedxml.ElementTree import fromstring

    text = of_format(collection.about, CVAT).get("meta")
    meta: Element = fromstring(text) if text else Element("meta")
    named = [subset or DEFAULT for subset in subsets] if any(subsets) else []
    owner = _project(meta, named) if named else _owner(meta)
    labels = owner.find("labels")
    labels = _added(owner, "labels") if labels is None else labels
    known = {(label.findtext("name") or "").strip(): label for label in labels.iterfind("label")}
    for label in collection.labels:
        element = known[label] if label in known else _named(_added(labels, "label"), label)
        _declare(element, sorted(attributes.get(label, ())))
    return tostring(meta, encoding="unicode").strip()


def _owner(meta: "Element") -> "Element":
    """Return the project, the task or the job that has the labels."""
    found = next((found for tag in ("project", "task", "job") if (found := meta.find(tag)) is not None), None)
    return _added(meta, "task") if found is None else found


def _project(meta: "Element", subsets: Sequence[str]) -> "Element":
    """Return the project with a task for each of ``subsets``; a task or job that there is becomes one of its tasks."""
    from xml.etree.ElementTree import Element

    project = meta.find("project")
    if project is None:
        project = Element("project")
        inner = _added(project, "tasks")
        for task in [task for tag in ("task", "job") for task in meta.findall(tag)]:
            meta.remove(task)
            for labels in task.findall("labels"):
                task.remove(labels)
                project.append(labels)
            inner.append(task)
        meta.insert(0, project)
    found = project.find("tasks")
    tasks = _added(project, "tasks") if found is None else found
    declared = {subset.text for subset in project.iter("subset")}
    for subset in (subset for subset in subsets if subset not in declared):
        _added(_added(tasks, "task"), "subset").text = subset
    return project


def _declare(label: "Element", attributes: Sequence[str]) -> None:
    """Add to ``label`` those of ``attributes`` that it does not have."""
    known = {(name.text or "").strip() for name in label.iterfind("attributes/attribute/name")}
    parent = label.find("attributes")
    parent = _added(label, "attributes") if parent is None else parent
    for name in (name for name in attributes if name not in known):
        attribute = _named(_added(parent, "attribute"), name)
        is_flag = name in FLAGS
        for key, text in (
            ("mutable", "False"),
            ("input_type", "checkbox" if is_flag else "text"),
            ("default_value", FALSE if is_flag else ""),
            ("values", FALSE if is_flag else ""),
        ):
            _added(attribute, key).text = text


def _named(element: "Element", name: str) -> "Element":
    _added(element, "name").text = name
    return element


def _added(parent: "Element", tag: str) -> "Element":
    from xml.etree.ElementTree import SubElement

    return SubElement(parent, tag)
