"""What the answers of a detector say about it: average precision, by class and by size of objects, by COCO's rules."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolchain.errors import ArtifactError, DataError
from toolchain.metrics.bootstrap import Bootstrap, Counts, Floats
from toolchain.metrics.detections import Answer, Picture
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

CURVE_POINTS = 100  # of a curve: more cannot be told apart in a picture
NAMES = {  # of slices, for people
    "small": "small objects (below 32 x 32 pixels)",
    "medium": "medium objects (32 x 32 to 96 x 96 pixels)",
    "large": "large objects (above 96 x 96 pixels)",
}


def measure(
    answers: Sequence[Answer],
    pictures: Sequence[Picture],
    names: Sequence[str],
    bootstrap: Bootstrap,
    threshold: float | None = None,
) -> dict[str, Any]:
    """Return what ``answers`` to ``pictures`` say about the variant that gave them.

    Args:
        names: class names; labels are positions among them.
        threshold: the score from which an answer counts for precision, recall and F1, so that variants can be measured
            at the one they are used with; None takes the score where the F1 of these answers is highest.

    Returns:
        accuracy, which is mAP50 (AP at an overlap of .5, mean over classes), map (mean over overlaps .5 to .95 too) and
        f1 (mean over classes, at the threshold), with intervals by a bootstrap over pictures; the threshold; the worst
        class by AP50; precision, recall, f1, rows (objects) and ap50 of each class; slices by the objects' size, each
        with accuracy (mAP50) and map; the curve of precision and recall of all classes. Rates are 0..1.

    Raises:
        ArtifactError: an answer is no number, or has a label beyond the names.
        DataError: there is no object to be found.
    """
    check_answers(answers, pictures, len(names))
    if not sum((~picture.objects.neutral).sum() for picture in pictures):
        raise DataError("the pictures show no object that counts: nothing can be measured on them")
    found = match(answers, [picture.objects for picture in pictures], len(names))
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


def check_answers(answers: Sequence[Answer], pictures: Sequence[Picture], classes: int) -> None:
    """Raise ArtifactError unless all ``answers`` are numbers and labels of ``classes``."""
    for answer, picture in zip(answers, pictures, strict=True):
        if not (np.isfinite(answer.boxes).all() and np.isfinite(answer.scores).all()):
            raise ArtifactError(f"the answer to row {picture.row} holds what is no number; make the variant again")
        beyond = answer.labels[(answer.labels < 0) | (answer.labels >= classes)]
        if len(beyond):
            raise ArtifactError(f"the answer to row {picture.row} has label {beyond[0]}; there are {classes} classes")


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
    """Return threshold, precision and recall of all classes together, thresholds falling, at CURVE_POINTS of them."""
    order = np.argsort(-matches.score, kind="stable")
    right, wrong = matches.right[0][order].cumsum(), matches.wrong[0][order].cumsum()
    places = np.unique(np.linspace(0, len(order) - 1, min(len(order), CURVE_POINTS)).round().astype(int))
    total = max(1, int(matches.expected.sum()))
    return [
        {
            "threshold": float(matches.score[order][place]),
            "precision": float(right[place] / max(1, right[place] + wrong[place])),
            "recall": float(right[place] / total),
        }
        for place in places
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
    return {"name": NAMES[name], "rows": int(matches.expected.sum()), "accuracy": accuracy, "map": over_all}


def _once(matches: Matches) -> Counts:
    return np.ones((1, len(matches.expected)), np.int64)
