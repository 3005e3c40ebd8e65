"""Gallery: pictures of a dataset as a page shows them: small, their objects and what was answered drawn in."""

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

TRUE, ANSWERED = "#e0b060", "#4da3ff"  # colours of boxes: both are seen on grass, skin and paper, and are told in words
PAPER, INK = "#20252a", "#e6e9eb"  # of a contact sheet
HOT = (230, 60, 30)  # of a part that an answer rests on
SMALL, LARGE = 112, 420  # pixels of the longer side: of one among many, and of one whose boxes are looked at
WIDE = 1392  # pixels of a contact sheet, twice the page's width
MOST_CELLS, MOST_SCENES = 60, 12  # on a contact sheet: pictures of one thing each, and pictures full of objects
CAPTION, TYPE = 24, 19  # pixels: of the strip under a cell, and of its letters, which a page shows at half size
SIGHT = 96  # objects drawn in one picture: more are a carpet

Box = Sequence[float]  # left, top, right, bottom in pixels of the stored picture


@dataclass(frozen=True)
class Mark:
    """A box to draw."""

    box: Box
    text: str
    colour: str


def contact_sheet(dataset: Dataset, split: str) -> tuple[bytes, int]:
    """Return one picture (JPEG) of many of ``split``, with their classes or boxes, and how many it shows.

    Rows are taken evenly over the split; of a dataset with classes the same number of each where that many are there.
    """
    from PIL import Image

    side = 2 * SMALL if OBJECTS in dataset.schema.names else SMALL
    cells = [_cell(row, dataset.labels, side) for row in _spread(dataset, split)]
    columns = max(1, min(len(cells), WIDE // (side + 4)))
    lines = max(1, -(-len(cells) // columns))
    sheet = Image.new("RGB", (columns * (side + 4), lines * (side + CAPTION + 4)), PAPER)
    for place, cell in enumerate(cells):
        sheet.paste(cell, ((place % columns) * (side + 4) + 2, (place // columns) * (side + CAPTION + 4) + 2))
    return _jpeg(sheet), len(cells)


def pictures_of(dataset: Dataset, split: str, rows: set[int]) -> dict[int, dict[str, Any]]:
    """Return the whole rows of ``split`` whose numbers are ``rows``, by number."""
    found: dict[int, dict[str, Any]] = {}
    for batch in dataset.batches(split) if rows else ():
        numbers = batch.column(ROW).to_pylist()
        found |= {
            number: batch.slice(place, 1).to_pylist()[0] for place, number in enumerate(numbers) if number in rows
        }
    return found


def thumbnail(row: Mapping[str, Any], side: int = SMALL, marks: Sequence[Mark] = ()) -> str:
    """Return the picture of ``row`` as a data URI, its longer side of ``side`` pixels, with ``marks`` drawn in."""
    return _uri(_drawn(row, side, marks))


def heat(row: Mapping[str, Any], parts: Sequence[Sequence[float]], side: int = SMALL) -> str:
    """Return the middle of the picture of ``row`` as a data URI, redder where an answer rests on it.

    ``parts`` are shares by rows of parts, as evaluate.accuracy measures them; what speaks against the answer is left.
    """
    from PIL import Image

    picture = _drawn(row, side, ())
    weights = np.clip(np.array(parts, np.float64), 0, None)
    shades = (255 * 0.7 * weights / max(float(weights.max()), 1e-9)).astype(np.uint8)
    mask = Image.fromarray(shades).resize(picture.size, Image.Resampling.BICUBIC)
    return _uri(Image.composite(Image.new("RGB", picture.size, HOT), picture.convert("L").convert("RGB"), mask))


def objects_marked(row: Mapping[str, Any], labels: Sequence[str]) -> list[Mark]:
    """Return what the dataset says is in the picture of ``row``."""
    return [Mark(entry["box"], labels[entry[LABEL]], TRUE) for entry in row[OBJECTS][:SIGHT]]


def answers_marked(
    boxes: NDArray[Any], scores: NDArray[Any], labels: NDArray[Any], names: Sequence[str], threshold: float
) -> list[Mark]:
    """Return what a detector answered with at least ``threshold``."""
    return [
        Mark(box, f"{names[label]} {score:.2f}", ANSWERED)
        for box, score, label in zip(boxes, scores, labels, strict=True)
        if score >= threshold
    ][:SIGHT]


def _spread(dataset: Dataset, split: str) -> list[dict[str, Any]]:
    """Return rows for a contact sheet: their whole content."""
    if LABEL not in dataset.schema.names:
        wanted = set(np.unique(np.linspace(0, max(0, dataset.rows(split) - 1), MOST_SCENES).astype(int)).tolist())
    else:
        labels = np.concatenate(
            [b.column(LABEL).to_numpy(zero_copy_only=False) for b in dataset.batches(split, [LABEL])]
        )
        each = max(1, MOST_CELLS // max(1, len(dataset.labels)))
        wanted = {int(p) for label in np.unique(labels)[:MOST_CELLS] for p in np.flatnonzero(labels == label)[:each]}
    rows = [row for place, row in enumerate(_rows(dataset, split, wanted)) if row is not None]
    return sorted(rows, key=lambda row: row.get(LABEL, 0))


def _rows(dataset: Dataset, split: str, wanted: set[int]) -> Iterator[dict[str, Any] | None]:
    first = 0
    for batch in dataset.batches(split):
        for place in range(batch.num_rows):
            yield batch.slice(place, 1).to_pylist()[0] if first + place in wanted else None
        first += batch.num_rows


def _cell(row: Mapping[str, Any], labels: Sequence[str], side: int) -> "Image":
    from PIL import Image, ImageDraw

    marks = objects_marked(row, labels) if OBJECTS in row else []
    picture = _drawn(row, side, marks, words=False)
    cell = Image.new("RGB", (side, side + CAPTION), PAPER)
    cell.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    told = labels[row[LABEL]] if LABEL in row else f"{len(row.get(OBJECTS, []))} objects"
    told = _fitting(told, side - 4)
    ImageDraw.Draw(cell).text((4, side), told, INK, font_for(told, TYPE))
    return cell


def _drawn(row: Mapping[str, Any], side: int, marks: Sequence[Mark], words: bool = True) -> "Image":
    from PIL import Image, ImageDraw

    source = Image.fromarray(decode(row[IMAGE]["bytes"], row[IMAGE]["path"] or f"row {row[ROW]}"))
    scale = side / max(source.size)
    size = tuple(max(1, round(length * scale)) for length in source.size)
    picture = source.resize((size[0], size[1]), Image.Resampling.NEAREST if scale > 2 else Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(picture)
    for mark in marks:
        _draw(draw, mark, scale, words)
    return picture


def _draw(draw: "ImageDraw", mark: Mark, scale: float, words: bool) -> None:
    left, top, right, bottom = (value * scale for value in mark.box)
    draw.rectangle(
        (left, top, max(right, left + 1), max(bottom, top + 1)), outline=mark.colour, width=2 if words else 1
    )
    if words and right - left > 40:  # of a smaller box the word would hide the object
        draw.text((left + 3, top + 1), mark.text, mark.colour, font_for(mark.text, 10))


def _fitting(text: str, width: int) -> str:
    """Return ``text``, cut where it would be wider than ``width`` pixels."""
    font = font_for(text, TYPE)
    if font.getlength(text) <= width:
        return text
    cuts = (text[:letters] + "…" for letters in range(len(text) - 1, 0, -1))
    return next((cut for cut in cuts if font.getlength(cut) <= width), "…")


def _jpeg(picture: "Image") -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()


def _uri(picture: "Image") -> str:
    return data_uri(_jpeg(picture))


def data_uri(jpeg: bytes) -> str:
    """Return ``jpeg`` as an address that holds it."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
