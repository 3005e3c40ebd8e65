"""Which format a source has, from its files."""

from pathlib import Path

from toolchain.annotations.cvat import root_of
from toolchain.annotations.files import files_under, lines_of, parse_yaml
from toolchain.annotations.yolo_folders import CLASS_LISTS, is_yolo
from toolchain.errors import DataError

DATASET = "dataset"  # one of the toolchain's own
FORMATS = ("voc", "yolo", "coco", "cvat", "labelme")
MOST_LOOKED_AT = 200  # files of one ending: among so many of another purpose, one of annotations would have turned up


def detect(source: Path) -> str:
    """Return the format of ``source``, a file or a folder: one of FORMATS, or "dataset".

    Raises:
        DataError: there are no annotations, or those of several formats.
    """
    if (source / "dataset.json").is_file():
        return DATASET
    evidence = _of_file(source) if source.is_file() else {**_of_xml(source), **_of_json(source), **_of_yolo(source)}
    if not evidence:
        raise DataError(
            f"{source} has no annotations that are known: no VOC, CVAT or LabelImg XML, no COCO or labelme JSON, "
            f"and no YOLO with data.yaml, obj.data or classes.txt; give the folder that holds them"
        )
    if len(evidence) > 1:
        seen = ", ".join(f"{format_} ({file.name})" for format_, file in sorted(evidence.items()))
        raise DataError(f"{source} has annotations of several formats: {seen}; say which, as in --from {min(evidence)}")
    return next(iter(evidence))


def _of_file(path: Path) -> dict[str, Path]:
    kinds = {".xml": _of_one_xml, ".json": _of_one_json}
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


def _of_json(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in files_under(folder, ".json")[:MOST_LOOKED_AT]:
        if format_ := _of_one_json(path):
            found.setdefault(format_, path)
    return found


def _of_one_json(path: Path) -> str | None:
    """Return the format by the keys that stand in the file; it is not parsed, for it can be large."""
    data = path.read_bytes()
    if b'"shapes"' in data and b'"imagePath"' in data:
        return "labelme"
    return "coco" if b'"images"' in data and b'"categories"' in data else None


def _of_yolo(folder: Path) -> dict[str, Path]:
    for path in [*sorted(folder.glob("*.yaml")), *sorted(folder.glob("*.yml"))]:
        if "names" in parse_yaml(path):
            return {"yolo": path}
    for path in sorted(folder.glob("*.data")):
        if any(line.replace(" ", "").startswith("names=") for line in lines_of(path)):
            return {"yolo": path}
    lists = [path for path in files_under(folder, ".txt", ".names") if path.name in CLASS_LISTS]
    return (
        {"yolo": lists[0]}
        if lists
        and any(
            p.name not in CLASS_LISTS and lines_of(p) and is_yolo(p)
            for p in files_under(folder, ".txt")[:MOST_LOOKED_AT]
        )
        else {}
    )
