"""Draw images of a dataset for the report: thumbnails, true and predicted boxes, heatmaps, a contact sheet."""

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from toolchain.artifacts.dataset import IMAGE, LABEL, OBJECTS, ROW, Dataset
from toolchain.image_decoding import decode
from toolchain.release.report.fonts import font_for

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

TRUE, PREDICTED = "#e0b060", "#4da3ff"  # colours of boxes: visible on grass, skin and paper
PAPER, INK = "#20252a", "#e6e9eb"  # of a contact sheet
HOT = (230, 60, 30)  # of a salient part
SMALL, LARGE = 112, 420  # pixels of the longer side: of a thumbnail, and of an image with boxes
SHEET_WIDTH = 1392  # pixels, twice the page's width
MAX_CELLS, MAX_SCENES = 60, 12  # on a contact sheet: images with one class, and images with boxes
CAPTION, FONT_SIZE = 24, 19  # pixels: height of the strip under a cell, and of its text; the page shows half of it
MAX_BOXES = 96  # drawn in one image

Box = Sequence[float]  # left, top, right, bottom in pixels of the stored image


@dataclass(frozen=True)
class Mark:
    """A box to draw."""

    box: Box
    text: str
    colour: str


def contact_sheet(dataset: Dataset, split: str) -> tuple[bytes, int]:
    """Return one image (JPEG) of many images of ``split``, with their classes or boxes, and their number.

    Rows are sampled evenly over the split; of a dataset with classes, equally many of each where there are enough.
    """
    from PIL import Image

    side = 2 * SMALL if OBJECTS in dataset.schema.names else SMALL
    cells = [_cell(row, dataset.labels, side) for row in _sample(dataset, split)]
    columns = max(1, min(len(cells), SHEET_WIDTH // (side + 4)))
    lines = max(1, -(-len(cells) // columns))
    sheet = Image.new("RGB", (columns * (side + 4), lines * (side + CAPTION + 4)), PAPER)
    for index, cell in enumerate(cells):
        sheet.paste(cell, ((index % columns) * (side + 4) + 2, (index // columns) * (side + CAPTION + 4) + 2))
    return _jpeg(sheet), len(cells)


def rows_of(dataset: Dataset, split: str, rows: set[int]) -> dict[int, dict[str, Any]]:
    """Return the rows of ``split`` with the numbers ``rows``, by number."""
    found: dict[int, dict[str, Any]] = {}
    for batch in dataset.batches(split) if rows else ():
        numbers = batch.column(ROW).to_pylist()
        found |= {
            number: batch.slice(index, 1).to_pylist()[0] for index, number in enumerate(numbers) if number in rows
        }
    return found


def thumbnail(row: Mapping[str, Any], side: int = SMALL, marks: Sequence[Mark] = ()) -> str:
    """Return the image of ``row`` as a data URI, its longer side of ``side`` pixels, with ``marks``."""
    return _uri(_drawn(row, side, marks))


def heatmap(row: Mapping[str, Any], parts: Sequence[Sequence[float]], side: int = SMALL) -> str:
    """Return the image of ``row`` as a data URI, redder where a prediction depends on it.

    ``parts`` are rows of shares, as evaluate.accuracy measures them; negative ones are left out.
    """
    from PIL import Image

    image = _drawn(row, side, ())
    weights = np.clip(np.array(parts, np.float64), 0, None)
    shades = (255 * 0.7 * weights / max(float(weights.max()), 1e-9)).astype(np.uint8)
    mask = Image.fromarray(shades).resize(image.size, Image.Resampling.BICUBIC)
    return _uri(Image.composite(Image.new("RGB", image.size, HOT), image.convert("L").convert("RGB"), mask))


def true_boxes(row: Mapping[str, Any], labels: Sequence[str]) -> list[Mark]:
    """Return the boxes of the objects of ``row``."""
    return [Mark(entry["box"], labels[entry[LABEL]], TRUE) for entry in row[OBJECTS][:MAX_BOXES]]


def predicted_boxes(
    boxes: NDArray[Any], scores: NDArray[Any], labels: NDArray[Any], names: Sequence[str], threshold: float
) -> list[Mark]:
    """Return a detector's boxes with a score of at least ``threshold``."""
    return [
        Mark(box, f"{names[label]} {score:.2f}", PREDICTED)
        for box, score, label in zip(boxes, scores, labels, strict=True)
        if score >= threshold
    ][:MAX_BOXES]


def _sample(dataset: Dataset, split: str) -> list[dict[str, Any]]:
    """Return sampled rows for a contact sheet."""
    if LABEL not in dataset.schema.names:
        wanted = set(np.unique(np.linspace(0, max(0, dataset.rows(split) - 1), MAX_SCENES).astype(int)).tolist())
    else:
        labels = np.concatenate(
            [b.column(LABEL).to_numpy(zero_copy_only=False) for b in dataset.batches(split, [LABEL])]
        )
        each = max(1, MAX_CELLS // max(1, len(dataset.labels)))
        wanted = {int(p) for label in np.unique(labels)[:MAX_CELLS] for p in np.flatnonzero(labels == label)[:each]}
    rows = [row for row in _rows(dataset, split, wanted) if row is not None]
    return sorted(rows, key=lambda row: row.get(LABEL, 0))


def _rows(dataset: Dataset, split: str, wanted: set[int]) -> Iterator[dict[str, Any] | None]:
    first = 0
    for batch in dataset.batches(split):
        for index in range(batch.num_rows):
            yield batch.slice(index, 1).to_pylist()[0] if first + index in wanted else None
        first += batch.num_rows


def _cell(row: Mapping[str, Any], labels: Sequence[str], side: int) -> "Image":
    from PIL import Image, ImageDraw

    marks = true_boxes(row, labels) if OBJECTS in row else []
    image = _drawn(row, side, marks, text=False)
    cell = Image.new("RGB", (side, side + CAPTION), PAPER)
    cell.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    caption = labels[row[LABEL]] if LABEL in row else f"{len(row.get(OBJECTS, []))} objects"
    caption = _shorten(caption, side - 4)
    ImageDraw.Draw(cell).text((4, side), caption, INK, font_for(caption, FONT_SIZE))
    return cell


def _drawn(row: Mapping[str, Any], side: int, marks: Sequence[Mark], text: bool = True) -> "Image":
    from PIL import Image, ImageDraw

    source = Image.fromarray(decode(row[IMAGE]["bytes"], row[IMAGE]["path"] or f"row {row[ROW]}"))
    scale = side / max(source.size)
    size = tuple(max(1, round(length * scale)) for length in source.size)
    image = source.resize((size[0], size[1]), Image.Resampling.NEAREST if scale > 2 else Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(image)
    for mark in marks:
        _draw(draw, mark, scale, text)
    return image


def _draw(draw: "ImageDraw", mark: Mark, scale: float, text: bool) -> None:
    left, top, right, bottom = (value * scale for value in mark.box)
    draw.rectangle((left, top, max(right, left + 1), max(bottom, top + 1)), outline=mark.colour, width=2 if text else 1)
    if text and right - left > 40:  # on a smaller box the text would hide the object
        draw.text((left + 3, top + 1), mark.text, mark.colour, font_for(mark.text, 10))


def _shorten(text: str, width: int) -> str:
    """Return ``text``, cut to at most ``width`` pixels."""
    font = font_for(text, FONT_SIZE)
    if font.getlength(text) <= width:
        return text
    cuts = (text[:letters] + "…" for letters in range(len(text) - 1, 0, -1))
    return next((cut for cut in cuts if font.getlength(cut) <= width), "…")


def _jpeg(image: "Image") -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()


def _uri(image: "Image") -> str:
    return data_uri(_jpeg(image))


def data_uri(jpeg: bytes) -> str:
    """Return ``jpeg`` as a data URI."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
