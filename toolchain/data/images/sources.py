"""Read images and classes from folders, arrays (IDX, CSV of pixels) and Parquet."""

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
from toolchain.data.images.class_folders import AUTO, ORDER, ImageSource, SourceImage, open_class_folders
from toolchain.errors import DataError
from toolchain.image_decoding import encode
from toolchain.image_files import files_in, files_under
from toolchain.json_text import loads
from toolchain.services.compression import damage_reported, open_uncompressed
from toolchain.split_names import TEST, split_in

IDX_IMAGES, IDX_CLASSES = 0x803, 0x801  # magic numbers: unsigned bytes in three dimensions, and in one
PARQUET_BATCH_SIZE = 64  # few, because images may be large
COLUMNS = ("image", "label")  # of Parquet, as most datasets on the Hugging Face hub name them


def open_folder(folder: Path, uri: str, split_folders: str = AUTO, columns: tuple[str, str] = COLUMNS) -> ImageSource:
    """Return the images of ``folder``: IDX files, Parquet files, or class folders, inside split folders or not.

    Args:
        folder: A local folder.
        uri: The name of the folder in errors.
        split_folders: Whether folders with names of splits are splits: "yes", "no" (they are classes) or "auto".
        columns: Of Parquet: the column of images, and the column of classes.

    Raises:
        DataError: the folder has none of these, a class folder is empty, or it is ambiguous which folders are splits.
    """
    files = files_in(folder)
    if idx := [file for file in files if "idx3" in file.name]:
        return ImageSource(lambda: _idx_pairs(idx, uri))
    if parquet := files_under(folder, ".parquet"):
        return ImageSource(lambda: _parquet_parts(parquet, uri, *columns))
    return open_class_folders(folder, uri, split_folders)


def open_file(file: Path, uri: str, image_column: str, label_column: str) -> ImageSource:
    """Return the images in ``file``: Parquet with images, or a CSV with pixels and a class in each row.

    Raises:
        DataError: it is neither, or a column is missing.
    """
    with file.open("rb") as opened:
        head = opened.read(4)
    if head == b"PAR1":
        return ImageSource(lambda: _parquet_rows([file], uri, image_column, label_column))
    if ".csv" in uri.lower() or ".csv" in file.name.lower():
        return ImageSource(lambda: _pixel_rows(file, uri))
    raise DataError(f"{uri} is not a folder, an archive, Parquet or a CSV of pixels; give one of these")


def open_parquet(files: tuple[Path, ...], uri: str, image_column: str, label_column: str) -> ImageSource:
    """Return the images in Parquet ``files``, the format of datasets on the Hugging Face hub."""
    return ImageSource(lambda: _parquet_rows(list(files), uri, image_column, label_column))


# --- arrays ---


def _idx_pairs(files: list[Path], uri: str) -> Iterator[SourceImage]:
    splits = {_idx_split(file): file for file in files}
    for split in [name for name in ORDER if name in splits]:
        file = splits[split]
        label_file = file.with_name(file.name.replace("images", "labels").replace("idx3", "idx1"))
        if not label_file.is_file():
            raise DataError(f"{uri} has {file.name} but not {label_file.name} with its classes; add this file")
        images, classes = _read_idx(file, IDX_IMAGES), _read_idx(label_file, IDX_CLASSES)
        if len(images) != len(classes):
            raise DataError(
                f"{uri}: {file.name} has {len(images):,} images, {label_file.name} has {len(classes):,} classes; "
                "download both again"
            )
        for number, (pixels, label) in enumerate(zip(images, classes, strict=True)):
            yield SourceImage(
                split, str(label), f"{file.name}#{number}", partial(encode, pixels[:, :, None]), is_generated=True
            )


def _idx_split(file: Path) -> str:
    """Return the split in a name such as train-images-idx3-ubyte.gz; MNIST's test split is named "t10k"."""
    return TEST if file.name.startswith("t10k") else split_in(file.name.partition("-")[0]) or UNSPLIT


def _read_idx(file: Path, magic: int) -> NDArray[np.uint8]:
    """Return the array in an IDX file (LeCun's MNIST page): magic number, sizes as big-endian 32 bits, bytes."""
    with _uncompressed(file) as opened:
        content = opened.read()
    dimensions = content[3] if len(content) > 3 else 0
    sizes = [int.from_bytes(content[4 * n : 4 * n + 4], "big") for n in range(1, 1 + dimensions)]
    begin = 4 + 4 * dimensions
    if int.from_bytes(content[:4], "big") != magic or len(content) - begin != int(np.prod(sizes)):
        raise DataError(f"{file.name} is not a complete IDX file of bytes; download it again")
    return np.frombuffer(content, np.uint8, offset=begin).reshape(sizes)


def _pixel_rows(file: Path, uri: str) -> Iterator[SourceImage]:
    """Yield the images of a CSV: each row has the pixels (0..255) of a square image, and a class."""
    has_header, label_index, columns = _layout(file, uri)
    side = round((columns - 1) ** 0.5)
    if side * side != columns - 1:
        raise DataError(f"{uri} has {columns - 1:,} pixels per row, not a square number; use image files instead")
    with _uncompressed(file) as opened:
        rows = csv.reader(line.decode("utf-8") for line in opened if line.strip())
        for number, row in enumerate(islice(rows, int(has_header), None)):
            pixels = _pixels(row, label_index, columns, number, uri)
            load = partial(encode, pixels.reshape(side, side, 1))
            yield SourceImage(UNSPLIT, row[label_index], f"row {number}", load, is_generated=True)


def _layout(file: Path, uri: str) -> tuple[bool, int, int]:
    """Return whether the CSV has a header, the index of the class column, and the number of columns.

    Without a header the class is the first or the last column, whichever has more distinct values: the other is a
    corner pixel, which is usually background.
    """
    with _uncompressed(file) as opened:
        lines = (line.decode("utf-8", "replace").strip() for line in opened)
        head = next((line for line in lines if line), "").split(",")
        if any(not _is_number(value) for value in head):
            if "label" not in head:
                raise DataError(f"{uri} has no column 'label' among its {len(head):,}; rename the column of classes")
            return True, head.index("label"), len(head)
        ends = {(line.partition(",")[0], line.rpartition(",")[2]) for line in chain([",".join(head)], lines) if line}
    first, last = (len({pair[side] for pair in ends}) for side in (0, 1))
    return False, 0 if first > last else -1, len(head)


def _pixels(row: list[str], label_index: int, columns: int, number: int, uri: str) -> NDArray[np.uint8]:
    try:
        values = np.array([float(value) for value in row], np.float64)
    except ValueError as error:
        raise DataError(
            f"{uri}: row {number} has a value that is not a number ({error}); pixels are 0 to 255"
        ) from error
    pixels = np.delete(values, label_index)
    if len(row) != columns or pixels.min() < 0 or pixels.max() > 255 or (pixels % 1).any():
        raise DataError(f"{uri}: row {number} is not {columns - 1:,} whole numbers from 0 to 255 and a class")
    return pixels.astype(np.uint8)


def _is_number(text: str) -> bool:
    return text.isascii() and text.replace(".", "", 1).isdigit()


@contextmanager
def _uncompressed(file: Path) -> Iterator[IO[bytes]]:
    with damage_reported(file.name), open_uncompressed(file, file.name) as opened:
        yield opened


# --- Parquet ---


def _parquet_parts(files: list[Path], uri: str, image_column: str, label_column: str) -> Iterator[SourceImage]:
    """Yield the rows of files named by their split, as on the Hugging Face hub: train-00000-of-00002.parquet."""
    splits: dict[str, list[Path]] = {}
    for file in files:
        splits.setdefault(split_in(file.stem) or split_in(file.parent.name) or UNSPLIT, []).append(file)
    if UNSPLIT in splits and len(splits) > 1:
        raise DataError(f"{uri}: the name of {splits[UNSPLIT][0].name} has no split, unlike other files; rename it")
    for split in [name for name in ORDER if name in splits]:
        yield from _parquet_rows(splits[split], uri, image_column, label_column, split)


def _parquet_rows(
    files: list[Path], uri: str, image_column: str, label_column: str, split: str = UNSPLIT
) -> Iterator[SourceImage]:
    number = 0
    for file in files:
        try:
            opened = pq.ParquetFile(file)
        except pa.ArrowInvalid as error:
            raise DataError(f"{uri} is not valid Parquet: {error}; download it again") from error
        with opened:
            _check_columns(opened.schema_arrow, uri, image_column, label_column)
            names = _class_names(opened.schema_arrow, label_column)
            for batch in opened.iter_batches(PARQUET_BATCH_SIZE, columns=[image_column, label_column]):
                labels = _labels(batch.column(1), names, f"{uri}: column {label_column!r}", number)
                for value, label in zip(batch.column(0).to_pylist(), labels, strict=True):
                    yield _from_row(value, label, number, split)
                    number += 1


def _check_columns(schema: pa.Schema, uri: str, image_column: str, label_column: str) -> None:
    for column, setting in ((image_column, "image_column"), (label_column, "label_column")):
        if column not in schema.names:
            raise DataError(f"{uri} has no column {column!r}; it has {', '.join(schema.names)}: set {setting}")
    column_type = schema.field(image_column).type
    is_image_struct = pa.types.is_struct(column_type) and "bytes" in {part.name for part in column_type}
    if not pa.types.is_binary(column_type) and not is_image_struct:
        raise DataError(f"{uri}: column {image_column!r} holds {column_type}, not image files; set image_column")


def _class_names(schema: pa.Schema, column: str) -> list[str]:
    metadata = loads((schema.metadata or {}).get(b"huggingface", b"{}").decode("utf-8", "replace"))
    return list(metadata.get("info", {}).get("features", {}).get(column, {}).get("names") or [])


def _labels(values: pa.Array, names: list[str], what: str, first: int) -> list[str | None]:
    """Return the class of each row as text, or as the name that the file's metadata gives its number."""
    texts: list[str | None] = as_text(values, what, first, "set label_column to another").to_pylist()
    if not names or not pa.types.is_integer(values.type):
        return texts
    known = {str(number): name for number, name in enumerate(names)}
    return [None if text is None else known.get(text, text) for text in texts]


def _from_row(value: Any, label: str | None, number: int, split: str) -> SourceImage:
    data, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
    return SourceImage(split, label or "", path or f"row {number}", lambda: data or b"")
