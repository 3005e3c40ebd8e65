"""Read, write and convert annotations of images: Pascal VOC, YOLO, COCO, CVAT and Create ML; read labelme and VIA.

The files are parsed with defusedxml, json and PyYAML, not with datumaro or supervision, which the tests use as
independent readers. What those two lose that is kept or reported here (datumaro 1.13, supervision 0.31):

- datumaro skips an object or an image that it cannot read with a log line. It does not read LabelImg's folders, since
  it needs VOC's lists. It rejects YOLO lines of polygons and oriented boxes, and images without a text file. It gives
  COCO's category 0 no label, separates a polygon from its box, and drops areas, licenses and other fields. It raises
  if a CVAT project has no subsets or an image is missing. Its "labelme" is another program's XML.
- supervision keeps boxes, polygons and classes only, holds all images of a source at once, and counts VOC from 1.
- Neither reports the evidence for VOC's coordinate convention, or what it left out and how often.

Other formats that datumaro knows are read through it: ``datumaro:kitti`` (see ``datumaro_formats``).
"""

from collections.abc import Iterator
from pathlib import Path

from toolchain.annotations.types import AnnotatedImage, Annotation, Box, Collection, Conversion, Finding, Polygon
from toolchain.errors import ConfigError, DataError

__all__ = [
    "READABLE_FORMATS",
    "WRITABLE_FORMATS",
    "AnnotatedImage",
    "Annotation",
    "Box",
    "Collection",
    "Conversion",
    "Finding",
    "Polygon",
    "convert",
    "open_source",
    "report_path",
    "write",
]

READABLE_FORMATS = ("voc", "yolo", "coco", "cvat", "labelme", "via", "createml")
WRITABLE_FORMATS = ("coco", "cvat", "voc", "yolo", "createml")
SINGLE_FILE_FORMATS = ("coco", "cvat", "yolo", "via", "createml")  # that can be one file rather than a folder
SINGLE_FILE_SUFFIXES = (".json", ".xml", ".yaml", ".yml", ".data")
DATUMARO_PREFIX = "datumaro:"  # of the name of a format that datumaro reads


def open_source(
    source: Path, format_: str = "", images_dir: Path | None = None, origin: str = "", task: str = ""
) -> Collection:
    """Return the annotated images in ``source``, a folder, or a file of COCO, CVAT, VIA or Create ML, or a data.yaml.

    Args:
        source: The annotations.
        format_: One of READABLE_FORMATS, "dataset" (the toolchain's own) or "datumaro:NAME"; "": detected.
        images_dir: The images, if they are not with the annotations.
        origin: Coordinates of VOC: "zero_based", "one_based" or "shifted"; "": detected (see ``voc.reader``).
        task: Task of YOLO's lines: "detect", "segment", "obb" or "pose"; "": detected (see ``yolo.reader``).

    Raises:
        ConfigError: the format is not known.
        DataError: there are no annotations, those of several formats, or damaged files.
    """
    from toolchain.annotations.format_detection import DATASET, detect

    if not source.exists():
        raise DataError(f"{source} does not exist; give a folder of annotations")
    format_ = format_ or detect(source)
    if format_.startswith(DATUMARO_PREFIX):
        from toolchain.annotations import datumaro_formats

        return datumaro_formats.read(source, format_.removeprefix(DATUMARO_PREFIX))
    if format_ == DATASET:
        from toolchain.annotations import rows
        from toolchain.artifacts.dataset import open_dataset

        return rows.read(open_dataset(source))
    if format_ not in READABLE_FORMATS:
        raise ConfigError(f"format {format_!r} is not known; give one of {', '.join(READABLE_FORMATS)}, datumaro:NAME")
    if source.is_file() and format_ not in SINGLE_FILE_FORMATS:
        raise DataError(f"{source} is a file; {format_} needs the folder of all its files")
    return _with_skipped(_read(source, format_, images_dir, origin, task), source, images_dir)


def _read(source: Path, format_: str, images_dir: Path | None, origin: str, task: str) -> Collection:
    from toolchain.annotations import createml, labelme, via
    from toolchain.annotations.coco import reader as coco
    from toolchain.annotations.cvat import reader as cvat
    from toolchain.annotations.splits import with_splits
    from toolchain.annotations.voc import reader as voc
    from toolchain.annotations.yolo import reader as yolo

    if format_ == "yolo":
        return yolo.read(source, images_dir, task)
    if format_ == "voc":
        return with_splits(voc.read(source, images_dir, origin), source, images_dir)
    readers = {
        "coco": coco.read,
        "cvat": cvat.read,
        "labelme": labelme.read,
        "via": via.read,
        "createml": createml.read,
    }
    return with_splits(readers[format_](source, images_dir), source, images_dir)


def _with_skipped(collection: Collection, source: Path, images_dir: Path | None) -> Collection:
    """Return ``collection`` with findings of the links and folders that could not be read."""
    from dataclasses import replace

    from toolchain.image_files import BROKEN_LINK, FORBIDDEN, list_files

    skipped = [list_files(folder).skipped for folder in (source, images_dir) if folder]
    paths = {
        reason: [str(p) for found in skipped for p in found.get(reason, [])] for reason in (BROKEN_LINK, FORBIDDEN)
    }
    findings = (Finding.of(f"{reason} (left out)", cases) for reason, cases in paths.items() if cases)
    return replace(collection, findings=(*collection.findings, *findings))


def write(folder: Path, collection: Collection, images: Iterator[AnnotatedImage], format_: str, task: str = "") -> None:
    """Write the annotations of ``images`` of ``collection`` to ``folder`` in ``format_``, one of WRITABLE_FORMATS.

    Image files are not copied: ``image_path`` of the format's module returns where they belong. ``task`` is YOLO's.

    Raises:
        DataError: a label is not in the collection's list, or a name cannot be used in the format.
    """
    from toolchain.annotations import createml
    from toolchain.annotations.coco import writer as coco
    from toolchain.annotations.cvat import writer as cvat
    from toolchain.annotations.voc import writer as voc
    from toolchain.annotations.yolo import writer as yolo

    folder.mkdir(parents=True, exist_ok=True)
    checked = map(_check_name, images)
    writers = {"coco": coco.write, "cvat": cvat.write, "voc": voc.write, "createml": createml.write}
    if format_ == "yolo":
        yolo.write(folder, collection, checked, task or yolo.detect_task(collection.images()))
    else:
        writers[format_](folder, collection, checked)


def _check_name(image: AnnotatedImage) -> AnnotatedImage:
    from toolchain.annotations.files import safe_name

    if not image.name or safe_name(image.name) != image.name:
        raise DataError(f"image name {image.name!r} leads out of its folder; rename the image in the source")
    return image


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
    """Write the annotated images at ``source`` to the folder ``target`` in ``format_``, whole or not at all.

    What the target format cannot represent is written to ``report_path(target)``, too. See
    ``conversion.convert_collection`` for what is kept and left out, and ``open_source`` for the other arguments.

    Args:
        source: A folder, a file of COCO or CVAT, package:NAME/FOLDER, or an archive at a path, s3:// or https://.
        target: A new folder.
        format_: One of WRITABLE_FORMATS.
        source_format: As ``format_`` of ``open_source``.
        images: The location of the images, like ``source``, if they are not with the annotations.
        origin: Coordinates of VOC.
        task: Task of YOLO's lines, of the source and the target.
        fix: Fix annotations that are not valid, as the step data.annotations does by default, rather than keep them.
        invalid_shape: What to do with an object whose shape cannot be read: "fix", "drop" or "fail".
    """
    import tempfile

    from toolchain.annotations.conversion import convert_collection
    from toolchain.services.folders import fetch_folder
    from toolchain.services.locations import local_path

    with tempfile.TemporaryDirectory(prefix="convert-") as scratch:
        path = local_path(source)
        if path is None or not (path.is_file() and path.suffix.lower() in SINGLE_FILE_SUFFIXES):
            path = fetch_folder(source, Path(scratch) / "source").path
        images_dir = fetch_folder(images, Path(scratch) / "images").path if images else None
        collection = open_source(path, source_format, images_dir, origin, task)
        return convert_collection(collection, target, format_, task, fix, invalid_shape)


def report_path(target: Path) -> Path:
    """Return the path of the report on the conversion to ``target``."""
    return target.with_name(f"{target.name}.conversion.json")
