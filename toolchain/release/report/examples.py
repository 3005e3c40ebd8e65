"""Examples: single rows that a page shows, as texts or as pictures: answered wrongly, answered otherwise, or found."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from toolchain.artifacts.dataset import IMAGE, ROW, TEXT
from toolchain.release.report import gallery

if TYPE_CHECKING:
    from toolchain.release.report import Findings

Data = Mapping[str, Any]
PREDICTIONS = "predictions.parquet"  # beside the measurement of accuracy
EXAMPLES = 6  # of each kind of row that is shown: what a person reads, and no more
PICTURES = 12  # likewise of pictures, which are seen at a glance
OVERLAYS = 6  # pictures with boxes


def flips(winner: str, found: "Findings") -> list[dict[str, Any]]:
    """Return a few rows that the winner answers otherwise than the reference, with their texts or pictures."""
    chosen = found.parity.data["variants"][winner]["flips"][:EXAMPLES]
    shown = contents(found, {flip["row"] for flip in chosen})
    return [{**flip, **shown[flip["row"]]} for flip in chosen if flip["row"] in shown]


def worst(name: str, found: "Findings") -> list[dict[str, Any]]:
    """Return the rows that ``name`` answers wrongly and most surely, surest first, with their texts or pictures."""
    if detects(found):
        return []
    table = _answers(found, name)
    wrong = table.filter(pc.not_equal(table.column("label"), table.column("predicted")))
    logits = np.array(wrong.column("logits").to_pylist(), np.float64).reshape(len(wrong), -1)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    sure = (shares / shares.sum(axis=1, keepdims=True)).max(axis=1, initial=0.0)
    order = np.argsort(-sure, kind="stable")[: PICTURES if IMAGE in found.dataset.schema.names else EXAMPLES]
    rows, labels, said = (wrong.column(column).to_pylist() for column in (ROW, "label", "predicted"))
    shown, names = contents(found, {rows[place] for place in order}), found.accuracy.data["labels"]
    return [
        {
            "row": rows[place],
            "label": names[labels[place]],
            "answered": names[said[place]],
            "sure": float(sure[place]),
            **shown[rows[place]],
        }
        for place in order
        if rows[place] in shown
    ]


def saliency(found: "Findings") -> list[dict[str, Any]]:
    """Return the pictures whose answers were explained, each as it is and with what its answer rests on."""
    explained = found.accuracy.data.get("saliency", [])
    rows = gallery.pictures_of(found.dataset, found.accuracy.data["split"], {entry["row"] for entry in explained})
    return [
        {
            "row": entry["row"],
            "picture": gallery.thumbnail(rows[entry["row"]], 160),
            "heat": gallery.heat(rows[entry["row"]], entry["parts"], 160),
        }
        for entry in explained
        if entry["row"] in rows
    ]


def overlays(name: str, found: "Findings") -> list[dict[str, Any]]:
    """Return pictures with what is there and what the detector ``name`` found, those with most mistakes first."""
    if not detects(found):
        return []
    threshold, names = found.accuracy.data["threshold"], found.accuracy.data["labels"]
    answered = sorted(_answers(found, name).to_pylist(), key=lambda row: -_mistakes(row, threshold))[:OVERLAYS]
    rows = gallery.pictures_of(found.dataset, found.accuracy.data["split"], {row[ROW] for row in answered})
    shown = []
    for row in answered:
        marks = gallery.answers_marked(row["boxes"], row["scores"], row["labels"], names, threshold)
        there = gallery.objects_marked(rows[row[ROW]], names)
        picture = gallery.thumbnail(rows[row[ROW]], gallery.LARGE, [*there, *marks])
        shown.append({"row": row[ROW], "picture": picture, "objects": len(there), "boxes": len(marks)})
    return shown


def detects(found: "Findings") -> bool:
    return bool(found.accuracy.data.get("task") == "object-detection")


def contents(found: "Findings", rows: set[int]) -> dict[int, dict[str, str]]:
    """Return the text or the picture of each of ``rows`` of the measured split, by number; none where none is kept."""
    dataset, split = found.dataset, found.accuracy.data["split"]
    if not rows or ROW not in dataset.schema.names or split not in dataset.splits:
        return {}
    if IMAGE in dataset.schema.names:
        whole = gallery.pictures_of(dataset, split, rows)
        return {number: {"picture": gallery.thumbnail(row)} for number, row in whole.items()}
    if TEXT not in dataset.schema.names:
        return {}
    batches = (batch.to_pydict() for batch in dataset.batches(split, [ROW, TEXT]))
    return {
        row: {"text": text}
        for batch in batches
        for row, text in zip(batch[ROW], batch[TEXT], strict=True)
        if row in rows
    }


def _answers(found: "Findings", name: str) -> Any:
    table = pq.read_table(found.accuracy.path / PREDICTIONS)
    return table.filter(pc.equal(table.column("variant"), name))


def _mistakes(row: Data, threshold: float) -> int:
    """Return how far the number of boxes found is from the number of objects: a rough order for the eye."""
    found = sum(1 for score in row["scores"] if score >= threshold)
    return abs(found - len(row["expected_labels"]))
