"""Detect the annotation format of a source from its files."""

from itertools import islice
from pathlib import Path

from toolchain.annotations.files import json_format, parse_json, root_name
from toolchain.annotations.yolo.classes import DARKNET, YAML, find_class_lists, find_configs, is_config
from toolchain.annotations.yolo.label_files import has_yolo_lines
from toolchain.artifacts.dataset import FORMAT
from toolchain.errors import DataError
from toolchain.image_files import files_in, files_under

DATASET_FILE = "dataset.json"  # of a dataset of the toolchain; other programs use the name, too
DATASET = "dataset"  # the toolchain's own format
COCO_KEYS = ("images", "annotations", "categories")
XML_FORMATS = {"annotation": "voc", "annotations": "cvat"}  # by the root element
PER_IMAGE_FORMATS = ("voc", "labelme")  # with one annotation file per image: a single file is not a source
MAX_FILES_CHECKED = 200  # of each type: an annotation file would have turned up among that many unrelated ones


def detect(source: Path) -> str:
    """Return the format of ``source``, a file or a folder: "dataset", "voc", "yolo", "coco", "cvat", ...

    Raises:
        DataError: there are no annotations, or those of several formats.
    """
    if (source / DATASET_FILE).is_file() and _is_dataset(source / DATASET_FILE):
        return DATASET
    evidence = _in_file(source) if source.is_file() else {**_in_xml(source), **_in_json(source), **_in_yolo(source)}
    if not evidence and source.is_dir() and (configs := find_configs(source)):  # in subfolders
        evidence = {"yolo": configs[0].path}
    if not evidence:
        _check_incomplete_coco([source] if source.is_file() else files_under(source, ".json")[:MAX_FILES_CHECKED])
        raise DataError(
            f"{source} has no annotations in a known format: no VOC, CVAT or LabelImg XML, no JSON of COCO, labelme, "
            f"VIA or Create ML, and no YOLO with data.yaml, obj.data or classes.txt; give the folder that holds them"
        )
    if len(evidence) > 1:
        found = ", ".join(f"{format_} ({file.name})" for format_, file in sorted(evidence.items()))
        raise DataError(
            f"{source} has annotations of several formats: {found}; choose one with format=NAME in a "
            f"pipeline or --from NAME in convert"
        )
    return next(iter(evidence))


def _is_dataset(path: Path) -> bool:
    try:
        value = parse_json(path)
    except DataError:
        return False
    return isinstance(value, dict) and value.get("format") == FORMAT


def _check_incomplete_coco(files: list[Path]) -> None:
    """Raise DataError if one of ``files`` lacks only one of COCO's keys."""
    for path in files:
        data = path.read_bytes()
        missing = [key for key in COCO_KEYS if f'"{key}"'.encode() not in data]
        if len(missing) == 1:
            raise DataError(f"{path} appears to be COCO JSON but has no list of {missing[0]}; export all parts")


def _in_file(path: Path) -> dict[str, Path]:
    detectors = {".xml": _xml_format, ".json": json_format, **dict.fromkeys((*YAML, DARKNET), _config_format)}
    suffix = path.suffix.lower()
    found = detectors[suffix](path) if suffix in detectors else None
    if found in PER_IMAGE_FORMATS:
        raise DataError(f"{path} holds the annotations of a single image; give its folder")
    return {found: path} if found else {}


def _in_xml(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in files_under(folder, ".xml")[:MAX_FILES_CHECKED]:
        if format_ := _xml_format(path):
            found.setdefault(format_, path)
    return found


def _xml_format(path: Path) -> str | None:
    return XML_FORMATS.get(root_name(path))


def _config_format(path: Path) -> str | None:
    return "yolo" if is_config(path) else None


def _in_json(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in files_under(folder, ".json")[:MAX_FILES_CHECKED]:
        if format_ := json_format(path):
            found.setdefault(format_, path)
    return found


def _in_yolo(folder: Path) -> dict[str, Path]:
    if config := next((path for path in files_in(folder, *YAML, DARKNET) if is_config(path)), None):
        return {"yolo": config}
    lists = find_class_lists(folder)
    texts = (path for path in files_under(folder, ".txt") if path not in lists)
    is_yolo = lists and any(has_yolo_lines(path) for path in islice(texts, MAX_FILES_CHECKED))
    return {"yolo": lists[0]} if is_yolo else {}
