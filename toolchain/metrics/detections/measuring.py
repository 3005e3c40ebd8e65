"""Compute the metrics of a detector: average precision, by class and by size of objects, by COCO's rules."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolchain.errors import ArtifactError, DataError
from toolchain.metrics.bootstrap import Bootstrap, Counts, Floats
from toolchain.metrics.detections import AnnotatedImage, Detections
from toolchain.metrics.detections.matching import (
    ALL,
    SIZES,
    Matches,
    average_precision,
    best_threshold,
    counts_above,
    f1,
    match,
    mean,
)

MAX_CURVE_POINTS = 100  # more are indistinguishable in a plot
SLICE_NAMES = {
    "small": "small objects (below 32 x 32 pixels)",
    "medium": "medium objects (32 x 32 to 96 x 96 pixels)",
    "large": "large objects (above 96 x 96 pixels)",
}


def measure(
    predictions: Sequence[Detections],
    images: Sequence[AnnotatedImage],
    names: Sequence[str],
    bootstrap: Bootstrap,
    threshold: float | None = None,
) -> dict[str, Any]:
    """Return the metrics of the ``predictions`` for ``images``.

    Args:
        names: class names; labels are indices into them.
        threshold: the lowest score that counts for precision, recall and F1; None takes the score with the highest F1
            of these predictions.

    Returns:
        accuracy, which is mAP50 (AP at an overlap of .5, mean over classes), map (mean over overlaps .5 to .95 too) and
        f1 (mean over classes, at the threshold), with intervals by a bootstrap over images; the threshold; the worst
        class by AP50; precision, recall, f1, rows (objects) and ap50 of each class; slices by the objects' size, each
        with accuracy (mAP50) and map; the curve of precision and recall of all classes. Rates are 0..1.

    Raises:
        ArtifactError: a prediction is NaN or Inf, or has a label without a name.
        DataError: there are no objects.
    """
    check_predictions(predictions, images, len(names))
    if not sum((~image.objects.neutral).sum() for image in images):
        raise DataError("the images have no labelled objects: give a split with objects")
    found = match(predictions, [image.objects for image in images], len(names))
    whole = found[ALL]
    threshold = best_threshold(whole) if threshold is None else threshold
    classes = by_class(whole, names, threshold)
    worst = min((entry for entry in classes if entry["rows"]), key=lambda entry: entry["ap50"])
    return {
        **_intervals(whole, threshold, bootstrap),
        "threshold": threshold,
        "worst_class_accuracy": worst["ap50"],
        "worst_class": worst["label"],
        "per_class": classes,
        "slices": [_slice(name, found[name]) for name in SIZES if name != ALL and found[name].expected.any()],
        "curve": curve(whole),
    }


def check_predictions(predictions: Sequence[Detections], images: Sequence[AnnotatedImage], classes: int) -> None:
    """Raise ArtifactError unless all ``predictions`` are finite and their labels below ``classes``."""
    for prediction, image in zip(predictions, images, strict=True):
        if not (np.isfinite(prediction.boxes).all() and np.isfinite(prediction.scores).all()):
            raise ArtifactError(f"the prediction for row {image.row} contains NaN or Inf; export the variant again")
        unknown = prediction.labels[(prediction.labels < 0) | (prediction.labels >= classes)]
        if len(unknown):
            raise ArtifactError(
                f"the prediction for row {image.row} has label {unknown[0]}; there are {classes} classes"
            )


def by_class(matches: Matches, names: Sequence[str], threshold: float) -> list[dict[str, Any]]:
    """Return precision, recall, F1, objects and AP50 of each class; 0 where a rate is undefined."""
    right, wrong = (counts.sum(axis=0) for counts in counts_above(matches, threshold))
    expected = matches.expected.sum(axis=0)
    precision = np.nan_to_num(average_precision(matches, _once(matches), 1)[0, 0])
    columns = (
        right / np.maximum(right + wrong, 1),
        right / np.maximum(expected, 1),
        f1(right, wrong, expected),
        precision,
    )
    rates = zip(*(np.nan_to_num(column).tolist() for column in columns), strict=True)
    return [
        {"label": name, "precision": precise, "recall": recall, "f1": both, "rows": int(rows), "ap50": area}
        for name, (precise, recall, both, area), rows in zip(names, rates, expected, strict=True)
    ]


def curve(matches: Matches) -> list[dict[str, float]]:
    """Return threshold, precision and recall of all classes together, by decreasing threshold."""
    order = np.argsort(-matches.score, kind="stable")
    right, wrong = matches.right[0][order].cumsum(), matches.wrong[0][order].cumsum()
    indices = np.unique(np.linspace(0, len(order) - 1, min(len(order), MAX_CURVE_POINTS)).round().astype(int))
    total = max(1, int(matches.expected.sum()))
    return [
        {
            "threshold": float(matches.score[order][index]),
            "precision": float(right[index] / max(1, right[index] + wrong[index])),
            "recall": float(right[index] / total),
        }
        for index in indices
    ]


def _intervals(matches: Matches, threshold: float, bootstrap: Bootstrap) -> dict[str, dict[str, float]]:
    right, wrong = counts_above(matches, threshold)

    def map50(drawn: Counts) -> Floats:
        return mean(average_precision(matches, drawn, 1))

    def map_of_all(drawn: Counts) -> Floats:
        return mean(average_precision(matches, drawn))

    def f1_of_classes(drawn: Counts) -> Floats:
        return mean(f1(drawn @ right, drawn @ wrong, drawn @ matches.expected))

    statistics = {"accuracy": map50, "map": map_of_all, "f1": f1_of_classes}
    every = np.ones(len(matches.expected), np.int64)
    return {name: bootstrap.of_counts(every, statistic).to_json() for name, statistic in statistics.items()}


def _slice(name: str, matches: Matches) -> dict[str, Any]:
    found = average_precision(matches, _once(matches))
    accuracy, over_all = float(mean(found[:, :1])[0]), float(mean(found)[0])
    return {"name": SLICE_NAMES[name], "rows": int(matches.expected.sum()), "accuracy": accuracy, "map": over_all}


def _once(matches: Matches) -> Counts:
    return np.ones((1, len(matches.expected)), np.int64)
