"""Files of annotations: hostile XML is refused, names never lead out of their folder, errors name the file."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.errors import DataError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
MOST_BYTES = 2 * 1024**3  # of one annotation file that is read whole; COCO's largest has 0.5 GB


def parse_xml(path: Path) -> "Element":
    """Return the root of the XML file ``path``.

    Raises:
        DataError: it is no XML, or has entities, which can read files or fill the memory.
    """
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import parse

    _check_size(path)
    try:
        root = parse(path, forbid_dtd=False).getroot()
    except DefusedXmlException as error:
        raise DataError(f"{path} is refused: its XML declares entities, which annotations never need") from error
    except (ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path} is not XML: {error}; export the annotations again") from error
    if root is None:
        raise DataError(f"{path} is empty; export the annotations again")
    return root


def stream_xml(path: Path) -> Iterator[tuple[str, "Element"]]:
    """Yield ("start" or "end", element) of the XML file ``path`` while it is read; errors as ``parse_xml``."""
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import iterparse

    try:
        yield from iterparse(path, events=("start", "end"))
    except DefusedXmlException as error:
        raise DataError(f"{path} is refused: its XML declares entities, which annotations never need") from error
    except (ParseError, LookupError) as error:
        raise DataError(f"{path} is not XML: {error}; export the annotations again") from error


def parse_json(path: Path) -> Any:
    """Return the value of the JSON file ``path``; DataError when it is none."""
    _check_size(path)
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"), parse_constant=_refuse_constant)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}; export the annotations again") from error


def parse_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in the YAML file ``path``; DataError when it is none."""
    import yaml

    try:
        value = yaml.safe_load(text_of(path))
    except yaml.YAMLError as error:
        reason = str(error).replace("\n", " ")
        raise DataError(f"{path} is not YAML: {reason}") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} holds {type(value).__name__}, not keys with values")
    return value


def text_of(path: Path) -> str:
    """Return the text of ``path``, which is UTF-8; DataError when it is not."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}; save it as UTF-8") from error


def lines_of(path: Path) -> list[str]:
    """Return the lines of the text file ``path`` that hold something."""
    return [line.strip() for line in text_of(path).splitlines() if line.strip()]


def inside(folder: Path, name: str) -> Path | None:
    """Return the file ``name`` in ``folder``, or None when there is none or it would lie outside."""
    relative = os.path.normpath(name.replace("\\", "/"))
    if os.path.isabs(relative) or relative.split(os.sep)[0] == os.pardir:
        return None
    return path if (path := folder / relative).is_file() else None


def first_inside(folders: list[Path], name: str) -> Path | None:
    """Return the file ``name`` in the first of ``folders`` that has it."""
    return next((found for folder in folders if (found := inside(folder, name))), None)


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def is_picture(path: Path) -> bool:
    """Return whether the name of ``path`` ends as a picture's does."""
    return path.suffix.lower() in PICTURE_ENDINGS


def files_under(folder: Path, *endings: str) -> list[Path]:
    """Return the files in ``folder`` and below whose names end so, in the order of their names.

    Hidden folders, such as .git, are left out, and what macOS puts beside files under names that begin with "._".
    """
    found = [path for path in folder.rglob("*") if path.suffix.lower() in endings and path.is_file()]
    return sorted(path for path in found if not path.name.startswith("._") and not _is_hidden(path.parent, folder))


def real_size(path: Path) -> tuple[int, int]:
    """Return width and height of the picture ``path`` as it is seen, turned as its EXIF asks.

    Raises:
        DataError: it is no picture.
    """
    from toolchain.pictures import TURNED, inspect

    facts = inspect(path.read_bytes(), path.name, most_pixels=2**62)  # nothing is decoded here
    return (facts.height, facts.width) if facts.orientation in TURNED else (facts.width, facts.height)


def number(text: object, where: str) -> float:
    """Return the finite number that ``text`` says; ``where`` is for the error."""
    try:
        value = float(str(text))
    except ValueError as error:
        raise DataError(f"{where}: {text!r} is not a number") from error
    if value != value or value in (float("inf"), float("-inf")):
        raise DataError(f"{where}: {text!r} is not a finite number")
    return value


def plain(value: float) -> str:
    """Return ``value`` as text that reads back to the last bit, whole numbers without a point."""
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(float(value))


def slim(value: float) -> float | int:
    """Return ``value`` as an int where it is whole, so that JSON shows 5 and not 5.0."""
    return int(value) if value == int(value) and abs(value) < 2**53 else float(value)


def _check_size(path: Path) -> None:
    if path.stat().st_size > MOST_BYTES:
        raise DataError(f"{path} has {path.stat().st_size:,} bytes, more than the {MOST_BYTES:,} that are read whole")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def tidy(name: str) -> str:
    """Return ``name`` with "/" between folders; of one that leads elsewhere (absolute, "..") the last part."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    leads_elsewhere = (
        name.startswith(("/", "\\")) or ".." in parts or (parts and parts[0].endswith(":")) or "://" in name
    )
    return parts[-1] if parts and leads_elsewhere else "/".join(parts)


def stem_of(name: str) -> str:
    """Return ``name`` without the ending of a picture, if it has one: "a/b.1.jpg" becomes "a/b.1", which stays."""
    ending = next((end for end in PICTURE_ENDINGS if name.lower().endswith(end)), "")
    return name[: len(name) - len(ending)] if ending else name
