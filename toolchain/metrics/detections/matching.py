"""Matching: which predictions are correct, and the metrics of object detection that follow, by COCO's rules.

A prediction is correct when it overlaps an object of its class, not matched by a better prediction, by at least a share
of their union (IoU). Average precision (AP) is the mean precision at recalls 0, .01, ... 1 (Lin et al. 2014, arXiv
1405.0312; pycocotools' COCOeval). pycocotools matches; the curves are computed here, for many draws of the images at
once.
"""

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.metrics.detections import Detections, Flags, Floats, Ints, Objects

OVERLAPS: Floats = np.linspace(0.5, 0.95, 10)  # of COCO: mAP is the mean over these, mAP50 is at the first
RECALLS: Floats = np.linspace(0, 1, 101)
ALL = "all"
# Areas in square pixels, as COCO has them: below 32 x 32 is small, above 96 x 96 is large.
SIZES = {ALL: (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
MAX_PREDICTIONS = 1000  # predictions of an image that count for each class: more than any detector gives
MAX_CELLS = 4_000_000  # of draws times predictions: 32 MB
TINY = np.spacing(1.0)  # keeps 0 / 0 a 0, as COCOeval has it

Weights = NDArray[np.float64] | NDArray[np.int64]  # (draws, images): how often each image was drawn


@dataclass(frozen=True)
class Matches:
    """The predictions for some images, matched to their objects of one range of sizes."""

    image: Ints  # int64 (predictions,): index of the image of each prediction
    label: Ints  # int64 (predictions,)
    score: Floats  # float64 (predictions,)
    partner: Ints  # int64 (overlaps, predictions): index of the matched one among all objects, -1 for none
    counted: Flags  # bool (overlaps, predictions): false if it matches a neutral object, or has another size
    expected: Ints  # int64 (images, classes): objects that count

    @property
    def right(self) -> Flags:
        """bool (overlaps, predictions)."""
        return (self.partner >= 0) & self.counted

    @property
    def wrong(self) -> Flags:
        """bool (overlaps, predictions)."""
        return (self.partner < 0) & self.counted


def match(
    predictions: Sequence[Detections], truth: Sequence[Objects], classes: int, overlaps: Floats = OVERLAPS
) -> dict[str, Matches]:
    """Return the matches of ``predictions`` to the objects ``truth`` of the same images, by range of SIZES.

    ``overlaps`` are the shares (IoU) that a match must have, rising.
    """
    evaluator = _evaluator(predictions, truth, classes, overlaps)
    with redirect_stdout(io.StringIO()):
        evaluator.evaluate()
    shape = (classes, len(SIZES), len(truth))
    found = np.empty(shape, object)
    for position, entry in enumerate(evaluator.evalImgs):
        found.flat[position] = entry
    return {name: _gathered(found[:, position, :], len(overlaps)) for position, name in enumerate(SIZES)}


def average_precision(matches: Matches, weights: Weights, overlaps: int | None = None) -> Floats:
    """Return AP by draw, overlap and class, float64 (draws, overlaps, classes); NaN where a draw has no such object.

    Args:
        weights: (draws, images): how often each image was drawn; ones for the metric itself.
        overlaps: Number of overlaps, from the first; None: all.
    """
    count, classes = overlaps or len(matches.partner), matches.expected.shape[1]
    result = np.full((len(weights), count, classes), np.nan)
    for label in range(classes):
        chosen = np.flatnonzero(matches.label == label)
        chosen = chosen[np.argsort(-matches.score[chosen], kind="stable")]
        step = max(1, MAX_CELLS // max(1, len(chosen)))
        for start in range(0, len(weights), step):
            part = np.asarray(weights[start : start + step], np.float64)
            total = part @ matches.expected[:, label]
            drawn = part[:, matches.image[chosen]]
            for overlap in range(count):
                right, wrong = matches.right[overlap, chosen], matches.wrong[overlap, chosen]
                result[start : start + step, overlap, label] = _area(drawn * right, drawn * wrong, total)
    return result


def mean(values: Floats) -> Floats:
    """Return the mean over all axes but the first, without NaN; NaN where all values are."""
    flat = values.reshape(len(values), -1)
    there = ~np.isnan(flat)
    sums, counts = np.where(there, flat, 0).sum(axis=1), there.sum(axis=1)
    return np.where(counts, sums / np.maximum(counts, 1), np.nan)


def counts_above(matches: Matches, threshold: float) -> tuple[Ints, Ints]:
    """Return right and wrong predictions with a score of at least ``threshold``, at the first overlap: each int64
    (images, classes)."""
    shape = matches.expected.shape
    cells = matches.image * shape[1] + matches.label
    sides = (matches.right[0], matches.wrong[0])
    right, wrong = (np.bincount(cells[side & (matches.score >= threshold)], minlength=np.prod(shape)) for side in sides)
    return right.reshape(shape), wrong.reshape(shape)


def f1(right: NDArray[Any], wrong: NDArray[Any], expected: NDArray[Any]) -> Floats:
    """Return F1 from counts of right and wrong predictions and of expected objects; NaN where all are 0."""
    total = np.asarray(right + wrong + expected, np.float64)
    return np.where(total > 0, 2 * right / np.maximum(total, 1), np.nan)


def best_threshold(matches: Matches) -> float:
    """Return the score with the highest F1 of all predictions, at the first overlap; 0.5 without correct ones."""
    order = np.argsort(-matches.score, kind="stable")
    right, wrong = np.cumsum(matches.right[0][order]), np.cumsum(matches.wrong[0][order])
    if not len(order) or not right[-1]:
        return 0.5
    return float(matches.score[order][int(np.nanargmax(f1(right, wrong, matches.expected.sum())))])


def _area(right: Floats, wrong: Floats, total: Floats) -> Floats:
    """Return AP of each draw from the counts of right and wrong predictions, the best first, (draws, predictions)."""
    if not right.shape[1]:
        return np.where(total > 0, 0.0, np.nan)
    hits = right.cumsum(axis=1)
    precision = hits / (hits + wrong.cumsum(axis=1) + TINY)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    envelope = np.concatenate([envelope, np.zeros((len(envelope), 1))], axis=1)  # recalls never reached
    recall = hits / np.maximum(total, 1)[:, None]
    indices = np.stack([np.searchsorted(row, RECALLS, side="left") for row in recall])
    return np.where(total > 0, np.take_along_axis(envelope, indices, axis=1).mean(axis=1), np.nan)


def _evaluator(predictions: Sequence[Detections], truth: Sequence[Objects], classes: int, overlaps: Floats) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    class Evaluator(COCOeval):  # type: ignore[misc]  # pycocotools has no types
        def _prepare(self) -> None:
            super()._prepare()  # which lets crowds alone be ignored
            for entry in (entry for entries in self._gts.values() for entry in entries):
                entry["ignore"] = entry["neutral"]

    with redirect_stdout(io.StringIO()):
        sides = [COCO(), COCO()]
        for side, entries in zip(sides, (_expected(truth), _predicted(predictions)), strict=True):
            side.dataset = {
                "images": [{"id": position} for position in range(len(truth))],
                "categories": [{"id": label} for label in range(classes)],
                "annotations": entries,
            }
            side.createIndex()
        evaluator = Evaluator(*sides, iouType="bbox")
    evaluator.params.iouThrs, evaluator.params.maxDets = overlaps, [MAX_PREDICTIONS]
    evaluator.params.areaRng, evaluator.params.areaRngLbl = list(SIZES.values()), list(SIZES)
    return evaluator


def _expected(truth: Sequence[Objects]) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for position, objects in enumerate(truth):
        for box, label, neutral, crowd in zip(
            objects.boxes, objects.labels, objects.neutral, objects.crowd, strict=True
        ):
            kind = {"neutral": int(neutral), "iscrowd": int(crowd)}
            entries.append({"id": len(entries) + 1, **_entry(position, box, label), **kind})  # an id of 0 is no match
    return entries


def _predicted(predictions: Sequence[Detections]) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for position, prediction in enumerate(predictions):
        for box, label, score in zip(prediction.boxes, prediction.labels, prediction.scores, strict=True):
            entries.append({"id": len(entries) + 1, **_entry(position, box, label), "score": float(score)})
    return entries


def _entry(image: int, box: Floats, label: np.int64) -> dict[str, Any]:
    left, top, right, bottom = (float(value) for value in box)
    area = (right - left) * (bottom - top)
    bbox = [left, top, right - left, bottom - top]
    return {"image_id": image, "category_id": int(label), "bbox": bbox, "area": area}


def _gathered(found: NDArray[np.object_], overlaps: int) -> Matches:
    """Return the matches from COCOeval's result for each class and image, (classes, images)."""
    entries: list[list[dict[str, Any] | None]] = found.tolist()
    there = [(label, image, entry) for label, row in enumerate(entries) for image, entry in enumerate(row) if entry]
    expected = np.zeros(found.shape[::-1], np.int64)
    for label, image, entry in there:
        expected[image, label] = int((np.asarray(entry["gtIgnore"]) == 0).sum())
    sizes = [len(entry["dtScores"]) for _, _, entry in there]
    empty = np.empty((overlaps, 0))
    return Matches(
        image=np.repeat(np.array([image for _, image, _ in there], np.int64), sizes),
        label=np.repeat(np.array([label for label, _, _ in there], np.int64), sizes),
        score=np.array([score for _, _, entry in there for score in entry["dtScores"]], np.float64),
        partner=np.concatenate([empty, *(entry["dtMatches"] for _, _, entry in there)], axis=1).astype(np.int64) - 1,
        counted=~np.concatenate([empty, *(entry["dtIgnore"] for _, _, entry in there)], axis=1).astype(bool),
        expected=expected,
    )
