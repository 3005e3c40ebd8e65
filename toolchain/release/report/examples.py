"""Select rows that the report shows, as texts or images: wrong predictions, disagreements, detected boxes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from toolchain.artifacts.dataset import IMAGE, ROW, TEXT
from toolchain.inference.box_output import BoxOutput
from toolchain.inference.tasks import TASKS
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
    if detects(found):
        return []
    table = _predictions(found, name)
    wrong = table.filter(pc.not_equal(table.column("label"), table.column("predicted")))
    if not wrong.num_rows:
        return []
    logits = np.array(wrong.column("logits").to_pylist(), np.float64).reshape(len(wrong), -1)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    confidence = (shares / shares.sum(axis=1, keepdims=True)).max(axis=1, initial=0.0)
    order = np.argsort(-confidence, kind="stable")[: MAX_IMAGES if IMAGE in found.dataset.schema.names else MAX_TEXTS]
    rows, labels, predicted = (wrong.column(column).to_pylist() for column in (ROW, "label", "predicted"))
    shown, names = contents(found, {rows[index] for index in order}), found.accuracy.data["labels"]
    return [
        {
            "row": rows[index],
            "label": names[labels[index]],
            "predicted": names[predicted[index]],
            "confidence": float(confidence[index]),
            **shown[rows[index]],
        }
        for index in order
        if rows[index] in shown
    ]


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
    if not detects(found):
        return []
    threshold, names = found.accuracy.data["threshold"], found.accuracy.data["labels"]
    predicted = sorted(_predictions(found, name).to_pylist(), key=lambda row: -_mistakes(row, threshold))[:MAX_OVERLAYS]
    rows = gallery.rows_of(found.dataset, found.accuracy.data["split"], {row[ROW] for row in predicted})
    shown = []
    for row in predicted:
        found_boxes = gallery.predicted_boxes(row["boxes"], row["scores"], row["labels"], names, threshold)
        true_boxes = gallery.true_boxes(rows[row[ROW]], names)
        image = gallery.thumbnail(rows[row[ROW]], gallery.LARGE, [*true_boxes, *found_boxes])
        shown.append({"row": row[ROW], "image": image, "objects": len(true_boxes), "boxes": len(found_boxes)})
    return shown


def detects(found: "Findings") -> bool:
    return TASKS[found.accuracy.data["task"]].output_type is BoxOutput


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


def _mistakes(row: Data, threshold: float) -> int:
    """Return the difference between the numbers of predicted boxes and objects: a rough order for display."""
    found = sum(1 for score in row["scores"] if score >= threshold)
    return abs(found - len(row["expected_labels"]))
