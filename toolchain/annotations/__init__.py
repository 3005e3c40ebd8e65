"""Annotations of images: Pascal VOC, YOLO, COCO, CVAT, Create ML read, written and converted; labelme and VIA read.

The files are read with defusedxml, json and PyYAML here, not with datumaro or supervision, which tests read the same
files with as independent witnesses. What they lose of what is to be kept or told (datumaro 1.13, supervision 0.31):

- datumaro skips an object or a picture that it cannot read with a line in a log; reads LabelImg's folders not at all,
  since it wants VOC's lists; refuses YOLO lines of outlines and oriented boxes, and pictures without a text file;
  gives COCO's category 0 no label, takes an outline apart from its box, and drops areas, licences and all else;
  raises when a CVAT project has no subsets or a picture is not at hand; and its "labelme" is another program's XML.
- supervision keeps boxes, outlines and classes alone, holds all pictures of a source at once, and counts VOC from 1.
- Neither tells the evidence for VOC's offsets, what it left out, or how often.

Other formats that datumaro knows are read through it: ``datumaro:kitti`` (see ``others``).
"""

from collections.abc import Iterator
from pathlib import Path

from toolchain.annotations.model import Box, Collection, Conversion, Finding, Outline, Picture, Thing
from toolchain.errors import ConfigError, DataError

__all__ = [
    "READ",
    "WRITTEN",
    "Box",
    "Collection",
    "Conversion",
    "Finding",
    "Outline",
    "Picture",
    "Thing",
    "convert",
    "losses_file",
    "open_source",
    "write",
]

READ = ("voc", "yolo", "coco", "cvat", "labelme", "via", "createml")
WRITTEN = ("coco", "cvat", "voc", "yolo", "createml")
ONE_FILE = (".json", ".xml", ".yaml", ".yml", ".data")  # endings of a file that can be a source by itself
DATUMARO = "datumaro:"  # begins the name of a format that datumaro reads


def open_source(
    source: Path, format_: str = "", pictures: Path | None = None, origin: str = "", task: str = ""
) -> Collection:
    """Return the annotated pictures in ``source``, a folder, one file of COCO, CVAT, VIA or Create ML, or a data.yaml.

    Args:
        source: Where the annotations are.
        format_: One of READ, "dataset" (one of the toolchain's own) or "datumaro:NAME"; "": found from the files.
        pictures: Where the pictures are, if apart.
        origin: How VOC's coordinates count: "zero_based", "one_based" or "shifted"; "": from evidence (see ``voc``).
        task: What YOLO's lines are: "detect", "segment", "obb" or "pose"; "": from evidence (see ``yolo``).

    Raises:
        ConfigError: the format is not known.
        DataError: there are no annotations, those of several formats, or files that are damaged.
    """
    from toolchain.annotations import coco, createml, cvat, detection, labelme, via, voc, yolo
    from toolchain.annotations.splits import with_splits

    if not source.exists():
        raise DataError(f"{source} is not there; give a folder of annotations")
    found = format_ or detection.detect(source)
    if found.startswith(DATUMARO):
        from toolchain.annotations.others import read

        return read(source, found.removeprefix(DATUMARO))
    if found == detection.DATASET:
        from toolchain.annotations import rows
        from toolchain.artifacts.dataset import open_dataset

        return rows.read(open_dataset(source))
    if found not in READ:
        raise ConfigError(f"format {found!r} is not known; it is one of {', '.join(READ)}, or datumaro:NAME")
    if source.is_file() and found not in ("coco", "cvat", "yolo", "via", "createml"):
        raise DataError(f"{source} is a file; {found} needs the folder of all its files")
    if found == "yolo":
        return _with_links(yolo.read(source, pictures, task), source, pictures)
    readers = {
        "coco": coco.read,
        "cvat": cvat.read,
        "labelme": labelme.read,
        "via": via.read,
        "createml": createml.read,
    }
    collection = voc.read(source, pictures, origin) if found == "voc" else readers[found](source, pictures)
    return _with_links(with_splits(collection, source, pictures), source, pictures)


def _with_links(collection: Collection, source: Path, pictures: Path | None) -> Collection:
    """Return ``collection`` with a finding of the links and folders that could not be followed."""
    from dataclasses import replace

    from toolchain.image_files import BROKEN_LINK, FORBIDDEN, list_files

    skipped = [list_files(folder).skipped for folder in (source, pictures) if folder]
    found = {reason: [p for each in skipped for p in each.get(reason, [])] for reason in (BROKEN_LINK, FORBIDDEN)}
    findings = (
        Finding(rule=f"{reason} (left out)", count=len(paths), examples=tuple(str(path) for path in paths[:5]))
        for reason, paths in found.items()
        if paths
    )
    return replace(collection, findings=(*collection.findings, *findings))


def write(folder: Path, collection: Collection, pictures: Iterator[Picture], format_: str, task: str = "") -> None:
    """Write the annotations ``pictures`` of ``collection`` to ``folder`` in ``format_``, one of WRITTEN.

    Where the pictures' own files go, ``place`` of the format's module says; they are not copied. ``task`` is YOLO's.

    Raises:
        DataError: a label is not in the collection's list, or a text cannot stand in the format.
    """
    from toolchain.annotations import coco_writing, createml, cvat_writing, voc_writing, yolo
    from toolchain.annotations.files import tidy

    def safe() -> Iterator[Picture]:
        for picture in pictures:
            if not picture.name or tidy(picture.name) != picture.name:
                raise DataError(f"a picture's name, {picture.name!r}, leads out of its folder; rename it in the source")
            yield picture

    folder.mkdir(parents=True, exist_ok=True)
    writers = {
        "coco": coco_writing.write,
        "cvat": cvat_writing.write,
        "voc": voc_writing.write,
        "createml": createml.write,
    }
    if format_ == "yolo":
        yolo.write(folder, collection, safe(), task or yolo.task_of(collection.pictures()))
    else:
        writers[format_](folder, collection, safe())


def convert(
    source: str,
    target: Path,
    format_: str,
    *,
    source_format: str = "",
    images: str = "",
    origin: str = "",
    task: str = "",
    fix: bool = False,
    invalid_shape: str = "fix",
) -> Conversion:
    """Write the annotated pictures at ``source`` to the folder ``target`` in ``format_``, whole or not at all.

    What the target cannot hold is written to ``losses_file(target)`` too. See ``conversion.convert`` for what is kept
    and what is left out, and ``open_source`` for the other arguments.

    Args:
        source: A folder, one file of COCO or CVAT, package:NAME/FOLDER, or an archive at a path, s3:// or https://.
        images: Where the images are, given like ``source``, if they are not with the annotations.
        fix: Mend what looks wrong as the step data.annotations does by default, rather than keep it.
        invalid_shape: What to do with an object whose outline or box cannot be read: "fix", "drop" or "fail".
    """
    import tempfile

    from toolchain.annotations.conversion import convert_collection
    from toolchain.services.folders import fetch_folder
    from toolchain.services.locations import local_path

    with tempfile.TemporaryDirectory(prefix="convert-") as scratch:
        path = local_path(source)
        if path is None or not (path.is_file() and path.suffix.lower() in ONE_FILE):
            path = fetch_folder(source, Path(scratch) / "source").path
        apart = fetch_folder(images, Path(scratch) / "images").path if images else None
        collection = open_source(path, source_format, apart, origin, task)
        return convert_collection(collection, target, format_, task, fix, invalid_shape)


def losses_file(target: Path) -> Path:
    """Return where the losses of the conversion to ``target`` are written."""
    return target.with_name(f"{target.name}.losses.json")
