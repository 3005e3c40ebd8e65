"""Select rows that the report shows, as texts or images: wrong predictions, disagreements, detected boxes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from toolchain.artifacts.dataset import IMAGE, ROW, TEXT
from toolchain.inference.tasks import TASKS, Output
from toolchain.release.report import gallery

if TYPE_CHECKING:
    from toolchain.release.report import Findings

Data = Mapping[str, Any]
PREDICTIONS = "predictions.parquet"  # beside the measurement of accuracy
MAX_TEXTS = 6  # in each list
MAX_IMAGES = 12  # in each list; images are quicker to review than texts
MAX_OVERLAYS = 6  # images with boxes


def flips(winner: str, found: "Findings") -> list[dict[str, Any]]:
    """Return a few rows that the winner and the reference predict differently, with their texts or images."""
    chosen = found.parity.data["variants"][winner]["flips"][:MAX_TEXTS]
    shown = contents(found, {flip["row"] for flip in chosen})
    return [{**flip, **shown[flip["row"]]} for flip in chosen if flip["row"] in shown]


def worst(name: str, found: "Findings") -> list[dict[str, Any]]:
    """Return the wrong predictions of ``name`` with the highest confidence, with their texts or images."""
    count = MAX_IMAGES if IMAGE in found.dataset.schema.names else MAX_TEXTS
    mistakes = _output(found).mistakes(_predictions(found, name), found.accuracy.data["labels"], count)
    shown = contents(found, {mistake["row"] for mistake in mistakes})
    return [{**mistake, **shown[mistake["row"]]} for mistake in mistakes if mistake["row"] in shown]


def saliency(found: "Findings") -> list[dict[str, Any]]:
    """Return the images with a saliency map, each with its map."""
    explained = found.accuracy.data.get("saliency", [])
    rows = gallery.rows_of(found.dataset, found.accuracy.data["split"], {entry["row"] for entry in explained})
    return [
        {
            "row": entry["row"],
            "image": gallery.thumbnail(rows[entry["row"]], 160),
            "heatmap": gallery.heatmap(rows[entry["row"]], entry["parts"], 160),
        }
        for entry in explained
        if entry["row"] in rows
    ]


def overlays(name: str, found: "Findings") -> list[dict[str, Any]]:
    """Return images with the true boxes and those of the detector ``name``, those with most mistakes first."""
    threshold, names = found.accuracy.data.get("threshold", 0.5), found.accuracy.data["labels"]
    predicted = _output(found).overlays(_predictions(found, name), threshold, MAX_OVERLAYS)
    if not predicted:
        return []
    rows = gallery.rows_of(found.dataset, found.accuracy.data["split"], {row[ROW] for row in predicted})
    shown = []
    for row in predicted:
        found_boxes = gallery.predicted_boxes(row["boxes"], row["scores"], row["labels"], names, threshold)
        true_boxes = gallery.true_boxes(rows[row[ROW]], names)
        image = gallery.thumbnail(rows[row[ROW]], gallery.LARGE, [*true_boxes, *found_boxes])
        shown.append({"row": row[ROW], "image": image, "objects": len(true_boxes), "boxes": len(found_boxes)})
    return shown


def contents(found: "Findings", rows: set[int]) -> dict[int, dict[str, str]]:
    """Return the text or image of each of ``rows`` of the measured split, by number; {} where none was kept."""
    dataset, split = found.dataset, found.accuracy.data["split"]
    if not rows or ROW not in dataset.schema.names or split not in dataset.splits:
        return {}
    if IMAGE in dataset.schema.names:
        whole = gallery.rows_of(dataset, split, rows)
        return {number: {"image": gallery.thumbnail(row)} for number, row in whole.items()}
    if TEXT not in dataset.schema.names:
        return {}
    batches = (batch.to_pydict() for batch in dataset.batches(split, [ROW, TEXT]))
    return {
        row: {"text": text}
        for batch in batches
        for row, text in zip(batch[ROW], batch[TEXT], strict=True)
        if row in rows
    }


def _predictions(found: "Findings", name: str) -> Any:
    table = pq.read_table(found.accuracy.path / PREDICTIONS)
    return table.filter(pc.equal(table.column("variant"), name))


def _output(found: "Findings") -> type[Output]:
    return TASKS[found.accuracy.data["task"]].output_type
