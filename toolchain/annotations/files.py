"""Files of annotations: hostile XML is refused, names never lead out of their folder, errors name the file."""

import codecs
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from toolchain.errors import DataError
from toolchain.image_files import IMAGE_ENDINGS, descendant
from toolchain.json_text import loads

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from defusedxml.ElementTree import DefusedXMLParser

PICTURE_ENDINGS = IMAGE_ENDINGS
MOST_BYTES = 2 * 1024**3  # of one annotation file that is read whole; COCO's largest has 0.5 GB
DECLARED = re.compile(rb"""^\s*<\?xml[^>]*?\bencoding\s*=\s*["']([\w.:-]+)["']""")
FIRST_ELEMENT = re.compile(rb"<([A-Za-z_][\w.-]*)")
HEAD_BYTES = 4096  # of an XML file: its first element stands in them
OF_EXPAT = ("utf-8", "utf-16", "iso8859-1", "ascii")  # encodings that XML is read in as it is
SUPERSETS = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949"}  # what programs write
MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))

KEYS = {  # that stand in a JSON file of each format
    "labelme": (b'"shapes"', b'"imagePath"'),
    "coco": (b'"images"', b'"categories"'),
    "via": (b'"shape_attributes"', b'"filename"'),
    "createml": (b'"annotations"', b'"image'),  # in a list, which no other is
}


def parse_xml(path: Path) -> "Element":
    """Return the root of the XML file ``path``, which can be in any encoding that Python knows.

    Raises:
        DataError: it is no XML, or has entities, which can read files or fill the memory.
    """
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import parse

    _check_size(path)
    try:
        with _opened_xml(path) as (file, parser):
            root = parse(file, parser).getroot()
    except DefusedXmlException as error:
        raise DataError(f"{path} is refused: its XML declares entities, which annotations never need") from error
    except (ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path} is not XML: {error}; export the annotations again") from error
    if root is None:
        raise DataError(f"{path} is empty; export the annotations again")
    if root.tag.startswith("{"):  # a namespace, which no format of annotations has
        for element in root.iter():
            element.tag = element.tag.rpartition("}")[2]
    return root


def stream_xml(path: Path) -> Iterator[tuple[str, "Element"]]:
    """Yield ("start" or "end", element) of the XML file ``path`` while it is read; errors as ``parse_xml``."""
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import iterparse

    try:
        with _opened_xml(path) as (file, parser):
            yield from iterparse(file, events=("start", "end"), parser=parser)
    except DefusedXmlException as error:
        raise DataError(f"{path} is refused: its XML declares entities, which annotations never need") from error
    except (ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path} is not XML: {error}; export the annotations again") from error


def root_of(path: Path) -> str:
    """Return the name of the first element of the XML file ``path``, even if the rest is damaged; "": it has none."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        head = head.decode("utf-16", "replace").encode()
    found = FIRST_ELEMENT.search(re.sub(rb"<!--.*?-->", b"", head, flags=re.DOTALL))
    return found[1].decode() if found else ""


@contextmanager
def _opened_xml(path: Path) -> Iterator[tuple[IO[bytes], "DefusedXMLParser"]]:
    """Yield the file ``path`` and a parser for it, recoded where expat does not know the encoding that it declares."""
    from defusedxml.ElementTree import DefusedXMLParser

    with path.open("rb") as file:
        declared = DECLARED.match(file.read(HEAD_BYTES))
        file.seek(0)
        encoding = codecs.lookup(declared[1].decode()).name if declared else OF_EXPAT[0]
        if encoding in OF_EXPAT:
            yield file, DefusedXMLParser()
            return
        _check_size(path)
        text = file.read().decode(SUPERSETS.get(encoding, encoding))
        yield io.BytesIO(text.encode()), DefusedXMLParser(encoding="utf-8")


def parse_json(path: Path) -> Any:
    """Return the value of the JSON file ``path``; DataError when it is none.

    NaN and Infinity, which Python's json and pandas write though JSON has neither, are read as null.
    """
    _check_size(path)
    try:
        return loads(path.read_bytes().decode("utf-8-sig"), parse_constant=lambda name: None)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}; export the annotations again") from error


def kind_of_json(path: Path) -> str | None:
    """Return the format of the JSON file ``path`` by its keys: one of KEYS; it is not parsed, for it can be large."""
    data = path.read_bytes()
    found = next((kind for kind, keys in KEYS.items() if all(key in data for key in keys)), None)
    return None if found == "createml" and not data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[") else found


def parse_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in the YAML file ``path``; DataError when it is none."""
    import yaml

    try:
        value = yaml.safe_load(text_of(path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date of month 13
        reason = str(error).replace("\n", " ")
        raise DataError(f"{path} is not YAML: {reason}") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} holds {type(value).__name__}, not keys with values")
    return value


def text_of(path: Path) -> str:
    """Return the text of ``path``: UTF-8, or UTF-16 with its mark; DataError when it is neither."""
    data = path.read_bytes()
    try:
        return data.decode(next((encoding for mark, encoding in MARKS if data.startswith(mark)), "utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}; save it as UTF-8") from error


def lines_of(path: Path) -> list[str]:
    """Return the lines of the text file ``path`` that hold something."""
    return [line.strip() for line in text_of(path).splitlines() if line.strip()]


def inside(folder: Path, name: str) -> Path | None:
    """Return the file ``name`` in ``folder``, or None when there is none or it would lie outside.

    A file whose name differs only in capitals, in Unicode's form or in its encoding is found where there is one alone.
    """
    relative = _inner(name)
    if relative is None:
        return None
    found = path if (path := folder / relative).is_file() else descendant(folder, relative)
    return found if found and found.is_file() else None


def first_inside(folders: list[Path], name: str) -> Path | None:
    """Return the file ``name`` in the first of ``folders`` that has it; one that has exactly that name comes first."""
    relative = _inner(name)
    exact = (folder / relative for folder in folders) if relative is not None else ()
    return next((path for path in exact if path.is_file()), None) or next(
        (found for folder in folders if (found := inside(folder, name))), None
    )


def _inner(name: str) -> str | None:
    """Return ``name`` as a path below a folder, None where it leads out of that."""
    relative = os.path.normpath(name.replace("\\", "/"))
    return None if os.path.isabs(relative) or relative.split(os.sep)[0] == os.pardir else relative


def real_size(path: Path) -> tuple[int, int]:
    """Return width and height of the picture ``path`` as it is seen, turned as its EXIF asks.

    Raises:
        DataError: it is no picture.
    """
    from toolchain.image_decoding import TURNED, inspect

    facts = inspect(path.read_bytes(), path.name, max_pixels=2**62)  # nothing is decoded here
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
