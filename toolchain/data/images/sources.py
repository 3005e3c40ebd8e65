"""Sources: pictures with their classes as they lie in folders, in arrays (IDX, rows of pixels) and in Parquet."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from toolchain.artifacts.dataset import UNSPLIT
from toolchain.artifacts.texts import as_text
from toolchain.data.images.class_folders import AUTO, ORDER, Found, Opened, open_class_folders
from toolchain.errors import DataError
from toolchain.image_decoding import encode
from toolchain.image_files import files_in, files_under
from toolchain.json_text import loads
from toolchain.services.compression import damage_reported, open_uncompressed
from toolchain.split_names import TEST, split_in

IDX_PICTURES, IDX_CLASSES = 0x803, 0x801  # first four bytes: unsigned bytes in three dimensions, and in one
PARQUET_ROWS = 64  # read at once: pictures may be large
COLUMNS = ("image", "label")  # of Parquet, as the hub's data sets call them


def open_folder(folder: Path, uri: str, split_folders: str = AUTO, columns: tuple[str, str] = COLUMNS) -> Opened:
    """Return the pictures of ``folder``: IDX files, Parquet files, or one folder for each class, in splits or not.

    Args:
        folder: Where they are.
        uri: What the folder is called in errors.
        split_folders: Whether folders with names of splits are splits: "yes", "no" (they are classes) or "auto".
        columns: Of Parquet: that of the images, and that of the classes.

    Raises:
        DataError: it holds none of these, a class folder is empty, or it cannot be known what is a split.
    """
    files = files_in(folder)
    if idx := [file for file in files if "idx3" in file.name]:
        return Opened(lambda: _idx_pairs(idx, uri))
    if parquet := files_under(folder, ".parquet"):
        return Opened(lambda: _parquet_parts(parquet, uri, *columns))
    return open_class_folders(folder, uri, split_folders)


def open_file(file: Path, uri: str, image_column: str, label_column: str) -> Opened:
    """Return the pictures in ``file``: Parquet with pictures, or a CSV whose rows are pixels and a class.

    Raises:
        DataError: it is neither, or lacks a column.
    """
    with file.open("rb") as opened:
        head = opened.read(4)
    if head == b"PAR1":
        return Opened(lambda: _parquet_rows([file], uri, image_column, label_column))
    if ".csv" in uri.lower() or ".csv" in file.name.lower():
        return Opened(lambda: _pixel_rows(file, uri))
    raise DataError(f"{uri} is neither a folder, an archive, Parquet nor a CSV of pixels; give one of these")


def open_parquet(files: tuple[Path, ...], uri: str, image_column: str, label_column: str) -> Opened:
    """Return the pictures in Parquet ``files``, as the hub keeps its data sets."""
    return Opened(lambda: _parquet_rows(list(files), uri, image_column, label_column))


# --- arrays ---


def _idx_pairs(files: list[Path], uri: str) -> Iterator[Found]:
    splits = {_idx_split(file): file for file in files}
    for split in [name for name in ORDER if name in splits]:
        file = splits[split]
        beside = file.with_name(file.name.replace("images", "labels").replace("idx3", "idx1"))
        if not beside.is_file():
            raise DataError(f"{uri} has {file.name} but no {beside.name}, which says their classes")
        pictures, classes = _read_idx(file, IDX_PICTURES), _read_idx(beside, IDX_CLASSES)
        if len(pictures) != len(classes):
            raise DataError(
                f"{uri}: {file.name} has {len(pictures):,} pictures, {beside.name} {len(classes):,} classes"
            )
        for number, (pixels, label) in enumerate(zip(pictures, classes, strict=True)):
            yield Found(split, str(label), f"{file.name}#{number}", partial(encode, pixels[:, :, None]), made=True)


def _idx_split(file: Path) -> str:
    """Return the split in a name such as train-images-idx3-ubyte.gz; MNIST calls its test "t10k"."""
    return TEST if file.name.startswith("t10k") else split_in(file.name.partition("-")[0]) or UNSPLIT


def _read_idx(file: Path, magic: int) -> NDArray[np.uint8]:
    """Return the array in an IDX file (LeCun's MNIST page): magic number, sizes as big-endian 32 bits, bytes."""
    with _unzipped(file) as opened:
        content = opened.read()
    dimensions = content[3] if len(content) > 3 else 0
    sizes = [int.from_bytes(content[4 * n : 4 * n + 4], "big") for n in range(1, 1 + dimensions)]
    begin = 4 + 4 * dimensions
    if int.from_bytes(content[:4], "big") != magic or len(content) - begin != int(np.prod(sizes)):
        raise DataError(f"{file.name} is not a whole IDX file of bytes; get it again")
    return np.frombuffer(content, np.uint8, offset=begin).reshape(sizes)


def _pixel_rows(file: Path, uri: str) -> Iterator[Found]:
    """Yield rows of as many pixels (0..255) as a square has, and one class."""
    header, place, columns = _layout(file, uri)
    side = round((columns - 1) ** 0.5)
    if side * side != columns - 1:
        raise DataError(f"{uri} has {columns - 1:,} pixels a row, which is no square; give pictures as files instead")
    with _unzipped(file) as opened:
        rows = csv.reader(line.decode("utf-8") for line in opened if line.strip())
        for number, row in enumerate(islice(rows, int(header), None)):
            pixels = _pixels(row, place, columns, number, uri)
            load = partial(encode, pixels.reshape(side, side, 1))
            yield Found(UNSPLIT, row[place], f"row {number}", load, made=True)


def _layout(file: Path, uri: str) -> tuple[bool, int, int]:
    """Return whether the CSV has a header, where its class stands, and how many columns it has.

    A header says where the class is. Without one it is the first or the last column, whichever has more kinds of
    values: the other one is a corner of the pictures, which is seldom anything but background.
    """
    with _unzipped(file) as opened:
        lines = (line.decode("utf-8", "replace").strip() for line in opened)
        head = next((line for line in lines if line), "").split(",")
        if any(not _is_number(value) for value in head):
            if "label" not in head:
                raise DataError(f"{uri} has no column 'label' among its {len(head):,}; call the class's column so")
            return True, head.index("label"), len(head)
        ends = {(line.partition(",")[0], line.rpartition(",")[2]) for line in chain([",".join(head)], lines) if line}
    first, last = (len({pair[side] for pair in ends}) for side in (0, 1))
    return False, 0 if first > last else -1, len(head)


def _pixels(row: list[str], place: int, columns: int, number: int, uri: str) -> NDArray[np.uint8]:
    try:
        values = np.array([float(value) for value in row], np.float64)
    except ValueError as error:
        raise DataError(f"{uri}: row {number} holds what is no number ({error}); pixels are 0 to 255") from error
    pixels = np.delete(values, place)
    if len(row) != columns or pixels.min() < 0 or pixels.max() > 255 or (pixels % 1).any():
        raise DataError(f"{uri}: row {number} is not {columns - 1:,} whole numbers from 0 to 255 and a class")
    return pixels.astype(np.uint8)


def _is_number(text: str) -> bool:
    return text.isascii() and text.replace(".", "", 1).isdigit()


@contextmanager
def _unzipped(file: Path) -> Iterator[IO[bytes]]:
    with damage_reported(file.name), open_uncompressed(file, file.name) as opened:
        yield opened


# --- Parquet ---


def _parquet_parts(files: list[Path], uri: str, image_column: str, label_column: str) -> Iterator[Found]:
    """Yield the rows of files whose names say their split, as the hub's do: train-00000-of-00002.parquet."""
    splits: dict[str, list[Path]] = {}
    for file in files:
        splits.setdefault(split_in(file.stem) or split_in(file.parent.name) or UNSPLIT, []).append(file)
    if UNSPLIT in splits and len(splits) > 1:
        raise DataError(f"{uri}: {splits[UNSPLIT][0].name} does not say its split as other files there do; rename it")
    for split in [name for name in ORDER if name in splits]:
        yield from _parquet_rows(splits[split], uri, image_column, label_column, split)


def _parquet_rows(
    files: list[Path], uri: str, image_column: str, label_column: str, split: str = UNSPLIT
) -> Iterator[Found]:
    number = 0
    for file in files:
        try:
            opened = pq.ParquetFile(file)
        except pa.ArrowInvalid as error:
            raise DataError(f"{uri} is not whole Parquet: {error}; get it again") from error
        with opened:
            _check_columns(opened.schema_arrow, uri, image_column, label_column)
            names = _class_names(opened.schema_arrow, label_column)
            for batch in opened.iter_batches(PARQUET_ROWS, columns=[image_column, label_column]):
                labels = _labels(batch.column(1), names, f"{uri}: column {label_column!r}", number)
                for picture, label in zip(batch.column(0).to_pylist(), labels, strict=True):
                    yield _from_row(picture, label, number, split)
                    number += 1


def _check_columns(schema: pa.Schema, uri: str, image_column: str, label_column: str) -> None:
    for column, setting in ((image_column, "image_column"), (label_column, "label_column")):
        if column not in schema.names:
            raise DataError(f"{uri} has no column {column!r}; it has {', '.join(schema.names)}: set {setting}")
    kind = schema.field(image_column).type
    holds = pa.types.is_binary(kind) or (pa.types.is_struct(kind) and "bytes" in {part.name for part in kind})
    if not holds:
        raise DataError(f"{uri}: column {image_column!r} holds {kind}, not pictures' files; set image_column")


def _class_names(schema: pa.Schema, column: str) -> list[str]:
    metadata = loads((schema.metadata or {}).get(b"huggingface", b"{}").decode("utf-8", "replace"))
    return list(metadata.get("info", {}).get("features", {}).get(column, {}).get("names") or [])


def _labels(values: pa.Array, names: list[str], what: str, first: int) -> list[str | None]:
    """Return the class of each row as its text, or as the name that the file gives its number."""
    texts: list[str | None] = as_text(values, what, first, "set label_column to another").to_pylist()
    if not names or not pa.types.is_integer(values.type):
        return texts
    known = {str(number): name for number, name in enumerate(names)}
    return [None if text is None else known.get(text, text) for text in texts]


def _from_row(picture: Any, label: str | None, number: int, split: str) -> Found:
    told = isinstance(picture, dict)
    data, path = (picture.get("bytes"), picture.get("path")) if told else (picture, None)
    return Found(split, label or "", path or f"row {number}", lambda: data or b"")
