"""Which format a source has, from its files."""

from itertools import islice
from pathlib import Path

from toolchain.annotations.files import kind_of_json, parse_json, root_of
from toolchain.annotations.yolo_classes import DARKNET, YAML, class_lists, configs_of, is_config
from toolchain.annotations.yolo_texts import holds_yolo
from toolchain.artifacts.dataset import FORMAT
from toolchain.errors import DataError
from toolchain.image_files import files_in, files_under

DESCRIPTION = "dataset.json"  # of a dataset of the toolchain; others call files so, too
DATASET = "dataset"  # one of the toolchain's own
COCO_PARTS = ("images", "annotations", "categories")
FORMATS = ("voc", "yolo", "coco", "cvat", "labelme", "via", "createml")
MOST_LOOKED_AT = 200  # files of one ending: among so many of another purpose, one of annotations would have turned up


def detect(source: Path) -> str:
    """Return the format of ``source``, a file or a folder: one of FORMATS, or "dataset".

    Raises:
        DataError: there are no annotations, or those of several formats.
    """
    if (source / DESCRIPTION).is_file() and _is_dataset(source / DESCRIPTION):
        return DATASET
    evidence = _of_file(source) if source.is_file() else {**_of_xml(source), **_of_json(source), **_of_yolo(source)}
    if not evidence and source.is_dir() and (configs := configs_of(source)):  # in folders below
        evidence = {"yolo": configs[0].path}
    if not evidence:
        _check_almost_coco([source] if source.is_file() else files_under(source, ".json")[:MOST_LOOKED_AT])
        raise DataError(
            f"{source} has no annotations that are known: no VOC, CVAT or LabelImg XML, no JSON of COCO, labelme, VIA "
            f"or Create ML, and no YOLO with data.yaml, obj.data or classes.txt; give the folder that holds them"
        )
    if len(evidence) > 1:
        seen = ", ".join(f"{format_} ({file.name})" for format_, file in sorted(evidence.items()))
        raise DataError(
            f"{source} has annotations of several formats: {seen}; say which, with format=NAME in a "
            f"pipeline and --from NAME in convert"
        )
    return next(iter(evidence))


def _is_dataset(path: Path) -> bool:
    try:
        value = parse_json(path)
    except DataError:
        return False
    return isinstance(value, dict) and value.get("format") == FORMAT


def _check_almost_coco(files: list[Path]) -> None:
    """Raise DataError when one of ``files`` lacks nothing but one of COCO's parts."""
    for path in files:
        data = path.read_bytes()
        missing = [key for key in COCO_PARTS if f'"{key}"'.encode() not in data]
        if len(missing) == 1:
            raise DataError(f"{path} looks like COCO's JSON and has no list of {missing[0]}; export it with all parts")


def _of_file(path: Path) -> dict[str, Path]:
    kinds = {".xml": _of_one_xml, ".json": kind_of_json, **dict.fromkeys((*YAML, DARKNET), _of_one_config)}
    found = kinds[path.suffix.lower()](path) if path.suffix.lower() in kinds else None
    if found in ("voc", "labelme"):
        raise DataError(f"{path} tells of one picture only; give its folder")
    return {found: path} if found else {}


def _of_xml(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in files_under(folder, ".xml")[:MOST_LOOKED_AT]:
        if format_ := _of_one_xml(path):
            found.setdefault(format_, path)
    return found


def _of_one_xml(path: Path) -> str | None:
    return {"annotation": "voc", "annotations": "cvat"}.get(root_of(path))


def _of_one_config(path: Path) -> str | None:
    return "yolo" if is_config(path) else None


def _of_json(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in files_under(folder, ".json")[:MOST_LOOKED_AT]:
        if format_ := kind_of_json(path):
            found.setdefault(format_, path)
    return found


def _of_yolo(folder: Path) -> dict[str, Path]:
    if config := next((path for path in files_in(folder, *YAML, DARKNET) if is_config(path)), None):
        return {"yolo": config}
    lists = class_lists(folder)
    texts = (path for path in files_under(folder, ".txt") if path not in lists)
    return {"yolo": lists[0]} if lists and any(holds_yolo(path) for path in islice(texts, MOST_LOOKED_AT)) else {}
