"""Annotation files: parse XML (without entities), JSON, YAML and text, and find files by the names that they give.

Names never lead out of their folder, and each error names the file.
"""

import codecs
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from toolchain.errors import DataError
from toolchain.image_files import IMAGE_SUFFIXES, descendant
from toolchain.json_text import loads

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from defusedxml.ElementTree import DefusedXMLParser

MAX_FILE_BYTES = 2 * 1024**3  # of one annotation file that is read whole; COCO's largest has 0.5 GB
XML_ENCODING = re.compile(rb"""^\s*<\?xml[^>]*?\bencoding\s*=\s*["']([\w.:-]+)["']""")
XML_ELEMENT = re.compile(rb"<([A-Za-z_][\w.-]*)")
XML_COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)
XML_HEAD_BYTES = 4096  # of an XML file: the declaration and the first element are in them
EXPAT_ENCODINGS = ("utf-8", "utf-16", "iso8859-1", "ascii")  # that the XML parser decodes itself
SUPERSETS = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949"}  # what programs write
BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))

JSON_KEYS = {  # that identify a JSON file of each format
    "labelme": (b'"shapes"', b'"imagePath"'),
    "coco": (b'"images"', b'"categories"'),
    "via": (b'"shape_attributes"', b'"filename"'),
    "createml": (b'"annotations"', b'"image'),  # in a list, unlike all others
}


def parse_xml(path: Path) -> "Element":
    """Return the root of the XML file ``path``, which can have any encoding that Python knows.

    Raises:
        DataError: it is not XML, or declares entities, which can read files or exhaust the memory.
    """
    from defusedxml.ElementTree import parse

    _check_size(path)
    with _xml_errors(path), _open_xml(path) as (file, parser):
        root = parse(file, parser).getroot()
    if root is None:
        raise DataError(f"{path} is empty; export the annotations again")
    if root.tag.startswith("{"):  # a namespace, which no annotation format uses
        for element in root.iter():
            element.tag = element.tag.rpartition("}")[2]
    return root


def stream_xml(path: Path) -> Iterator[tuple[str, "Element"]]:
    """Yield ("start" or "end", element) of the XML file ``path`` while it is read; errors as ``parse_xml``."""
    from defusedxml.ElementTree import iterparse

    with _xml_errors(path), _open_xml(path) as (file, parser):
        yield from iterparse(file, events=("start", "end"), parser=parser)


def root_name(path: Path) -> str:
    """Return the name of the first element of the XML file ``path``, even if the rest is damaged; "" for none."""
    with path.open("rb") as file:
        head = file.read(XML_HEAD_BYTES)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        head = head.decode("utf-16", "replace").encode()
    found = XML_ELEMENT.search(XML_COMMENT.sub(b"", head))
    return found[1].decode() if found else ""


def xml_text(element: "Element") -> str:
    """Return ``element`` as XML."""
    from xml.etree.ElementTree import tostring

    element.tail = None
    return tostring(element, encoding="unicode").strip()


@contextmanager
def _xml_errors(path: Path) -> Iterator[None]:
    """Raise the parser's errors as DataError."""
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException

    try:
        yield
    except DefusedXmlException as error:
        raise DataError(f"{path} declares XML entities, which are not supported; remove the declaration") from error
    except (ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path} is not XML: {error}; export the annotations again") from error


@contextmanager
def _open_xml(path: Path) -> Iterator[tuple[IO[bytes], "DefusedXMLParser"]]:
    """Yield the file ``path`` and a parser for it; transcode it if the parser does not know its encoding."""
    from defusedxml.ElementTree import DefusedXMLParser

    with path.open("rb") as file:
        declared = XML_ENCODING.match(file.read(XML_HEAD_BYTES))
        file.seek(0)
        encoding = codecs.lookup(declared[1].decode()).name if declared else EXPAT_ENCODINGS[0]
        if encoding in EXPAT_ENCODINGS:
            yield file, DefusedXMLParser()
            return
        _check_size(path)
        text = file.read().decode(SUPERSETS.get(encoding, encoding))
        yield io.BytesIO(text.encode()), DefusedXMLParser(encoding="utf-8")


def parse_json(path: Path) -> Any:
    """Return the value of the JSON file ``path``.

    NaN and Infinity, which Python's json and pandas write although JSON has neither, are read as null.

    Raises:
        DataError: it is not JSON.
    """
    _check_size(path)
    try:
        return loads(path.read_bytes().decode("utf-8-sig"), parse_constant=lambda name: None)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}; export the annotations again") from error


def json_format(path: Path) -> str | None:
    """Return the format of the JSON file ``path``, one of JSON_KEYS; the file is searched for keys, not parsed."""
    data = path.read_bytes()
    found = next((name for name, keys in JSON_KEYS.items() if all(key in data for key in keys)), None)
    return None if found == "createml" and not data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[") else found


def parse_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in the YAML file ``path``; DataError if it is not one."""
    import yaml

    try:
        value = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date of month 13
        reason = str(error).replace("\n", " ")
        raise DataError(f"{path} is not YAML: {reason}") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} holds {type(value).__name__}, not keys with values")
    return value


def read_text(path: Path) -> str:
    """Return the text of ``path``: UTF-8, or UTF-16 with a byte order mark; DataError for other encodings."""
    data = path.read_bytes()
    try:
        return data.decode(next((name for mark, name in BYTE_ORDER_MARKS if data.startswith(mark)), "utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}; save it as UTF-8") from error


def read_lines(path: Path) -> list[str]:
    """Return the lines of the text file ``path`` that are not blank."""
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def find_file(folder: Path, name: str) -> Path | None:
    """Return the file ``name`` in ``folder``, or None if there is none or it would lie outside.

    A name that differs only in case, in Unicode normalization or in encoding matches if it is the only such file.
    """
    relative = _relative_path(name)
    if relative is None:
        return None
    found = path if (path := folder / relative).is_file() else descendant(folder, relative)
    return found if found and found.is_file() else None


def find_in_folders(folders: list[Path], name: str) -> Path | None:
    """Return the file ``name`` in the first of ``folders`` that has it; an exact match in any folder goes first."""
    relative = _relative_path(name)
    exact = (folder / relative for folder in folders) if relative is not None else ()
    return next((path for path in exact if path.is_file()), None) or next(
        (found for folder in folders if (found := find_file(folder, name))), None
    )


def _relative_path(name: str) -> str | None:
    """Return ``name`` as a path below a folder, None if it leads out of the folder."""
    relative = os.path.normpath(name.replace("\\", "/"))
    return None if os.path.isabs(relative) or relative.split(os.sep)[0] == os.pardir else relative


def upright_size(path: Path) -> tuple[int, int]:
    """Return width and height of the image ``path`` after its EXIF rotation.

    Raises:
        DataError: it is not an image.
    """
    from toolchain.image_decoding import TURNED, inspect

    facts = inspect(path.read_bytes(), path.name, max_pixels=2**62)  # nothing is decoded here
    return (facts.height, facts.width) if facts.orientation in TURNED else (facts.width, facts.height)


def parse_number(text: object, where: str) -> float:
    """Return ``text`` as a finite number; ``where`` begins the error message."""
    try:
        value = float(str(text))
    except ValueError as error:
        raise DataError(f"{where}: {text!r} is not a number") from error
    if value != value or value in (float("inf"), float("-inf")):
        raise DataError(f"{where}: {text!r} is not a finite number")
    return value


def number_text(value: float) -> str:
    """Return ``value`` as text that reads back exactly, integers without a decimal point."""
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(float(value))


def compact_number(value: float) -> float | int:
    """Return ``value`` as an int if it is integral, so that JSON has 5 and not 5.0."""
    return int(value) if value == int(value) and abs(value) < 2**53 else float(value)


def _check_size(path: Path) -> None:
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise DataError(f"{path} has {size:,} bytes, more than the limit of {MAX_FILE_BYTES:,} for one file")


def safe_name(name: str) -> str:
    """Return ``name`` with "/" between folders; only its last part if it is absolute or has ".."."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    leads_outside = name.startswith(("/", "\\")) or ".." in parts or (parts and parts[0].endswith(":")) or "://" in name
    return parts[-1] if parts and leads_outside else "/".join(parts)


def without_image_suffix(name: str) -> str:
    """Return ``name`` without the suffix of an image file, if it has one: "a/b.1.jpg" and "a/b.1" become "a/b.1"."""
    suffix = next((suffix for suffix in IMAGE_SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)] if suffix else name
