"""Compute the metrics of a classifier by their usual definitions. Rates are 0..1."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.metrics.bootstrap import Bootstrap, Counts, Floats
from toolchain.metrics.probabilities import Logits, softmax
from toolchain.metrics.settings import MetricSettings

Ints = NDArray[np.int64]
MAX_ROC_POINTS = 100  # more are indistinguishable in a plot


@dataclass(frozen=True)
class Rows:
    """The measured rows, in order, without their texts or images."""

    numbers: Ints  # int64 (rows,): each row's number in its source
    labels: Ints  # int64 (rows,): indices into ``names``
    names: list[str]  # class names


def measure(logits: Logits, lengths: Ints, rows: Rows, settings: MetricSettings) -> dict[str, Any]:
    """Return the metrics of one variant.

    Args:
        logits: float32 of shape (rows, labels).
        lengths: int64 of shape (rows,): the tokens of each text, 1 for each image.
        rows: The rows with their true labels.
        settings: How the metrics are computed.

    Returns:
        accuracy and f1 (macro) with intervals; the worst class by recall; the comparison with a baseline that always
        predicts the most frequent class; precision, recall, f1 and rows per class; the confusion matrix (a row for each
        true class); ROC; calibration; accuracy by length of texts. Rates are 0..1.
    """
    probabilities, predicted = softmax(logits), logits.argmax(axis=1)
    confusion = confuse(predicted, rows.labels, len(rows.names))
    classes = by_class(confusion, rows.names)
    worst = min((entry for entry in classes if entry["rows"]), key=lambda entry: entry["recall"])
    return {
        **intervals(confusion, settings.bootstrap),
        "worst_class_accuracy": worst["recall"],
        "worst_class": worst["label"],
        "baseline": against_baseline(confusion, rows.names),
        "per_class": classes,
        "confusion": confusion.tolist(),
        "roc": roc(probabilities, rows.labels),
        "calibration": calibration(probabilities, rows.labels, settings.bins),
        "slices": by_length(lengths, predicted == rows.labels, settings.slices) if lengths.max(initial=0) > 1 else [],
    }


def confuse(predicted: Ints, labels: Ints, classes: int) -> Counts:
    """Return the confusion matrix, int64 of shape (true, predicted), from two int64 (rows,) of class indices."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def intervals(confusion: Counts, bootstrap: Bootstrap) -> dict[str, dict[str, float]]:
    """Return accuracy and macro F1 with their intervals."""
    shape = confusion.shape

    def accuracy(counts: Counts) -> Floats:
        return np.asarray(counts.reshape(-1, *shape).trace(axis1=1, axis2=2) / counts.sum(axis=1), np.float64)

    def f1(counts: Counts) -> Floats:
        return np.asarray(np.nanmean(f1_by_class(counts.reshape(-1, *shape)), axis=-1), np.float64)

    cells = confusion.ravel()
    return {"accuracy": bootstrap.of_counts(cells, accuracy).to_json(), "f1": bootstrap.of_counts(cells, f1).to_json()}


def f1_by_class(confusion: Counts) -> Floats:
    """Return F1 of each class, float64 (..., classes), from int64 (..., true, predicted); NaN for a class that is
    neither present nor predicted, so that averages leave it out."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    return _shares(2 * hits, confusion.sum(axis=-1) + confusion.sum(axis=-2))


def by_class(confusion: Counts, names: list[str]) -> list[dict[str, Any]]:
    """Return precision, recall, F1 and rows of each class; 0 where a rate is undefined."""
    hits, truth = confusion.diagonal(), confusion.sum(axis=1)
    rates = (_shares(hits, confusion.sum(axis=0)), _shares(hits, truth), f1_by_class(confusion))
    columns = (names, *(np.nan_to_num(rate) for rate in rates), truth)
    return [
        {"label": name, "precision": float(precision), "recall": float(recall), "f1": float(f1), "rows": int(rows)}
        for name, precision, recall, f1, rows in zip(*columns, strict=True)
    ]


def against_baseline(confusion: Counts, names: list[str]) -> dict[str, Any]:
    """Compare a classifier with a baseline that always predicts the most frequent class of the same rows.

    Args:
        confusion: int64 of shape (true, predicted).
        names: the class names.

    Returns:
        label and share (0..1) of the most frequent class; better, the rows that only the classifier predicts correctly;
        worse, the rows that only the baseline does; p_value of the one-sided exact McNemar test (McNemar 1947) that the
        classifier is correct more often, 1.0 where the two never differ.
    """
    from scipy.stats import binomtest

    hits, truth = confusion.diagonal(), confusion.sum(axis=1)
    most = int(truth.argmax())
    better, worse = int(hits.sum() - hits[most]), int(truth[most] - hits[most])
    p_value = float(binomtest(better, better + worse, alternative="greater").pvalue) if better + worse else 1.0
    share = float(truth[most] / truth.sum())
    return {"label": names[most], "share": share, "better": better, "worse": worse, "p_value": p_value}


def roc(probabilities: Floats, labels: Ints) -> dict[str, Any]:
    """Return the area under the ROC curve (None with only one class) and its points, by decreasing threshold.

    With two classes the curve is that of the second; with more, areas and rates of one class against the rest are
    averaged (macro). The area of a class is the share of pairs of a positive and a negative
    row that its probability puts in the right order, ties counted half (Mann-Whitney).
    """
    classes = [1] if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    present = [c for c in classes if 0 < (labels == c).sum() < len(labels)]
    if not present:
        return {"auc": None, "points": []}
    pairs = [(probabilities[labels == c, c], probabilities[labels != c, c]) for c in present]
    pooled = np.unique(np.quantile(np.concatenate([*map(np.concatenate, pairs)]), np.linspace(0, 1, MAX_ROC_POINTS)))
    thresholds = np.append(pooled, np.nextafter(pooled[-1], np.inf))[::-1]  # the first predicts no positives
    true, false = (np.mean([_shares_from(pair[side], thresholds) for pair in pairs], axis=0) for side in (0, 1))
    points = [
        {"threshold": float(threshold), "false_positive_rate": float(fpr), "true_positive_rate": float(tpr)}
        for threshold, fpr, tpr in zip(thresholds, false, true, strict=True)
    ]
    return {"auc": float(np.mean([_area(*pair) for pair in pairs])), "points": points}


def calibration(probabilities: Floats, labels: Ints, bins: int) -> dict[str, Any]:
    """Return the expected calibration error and its bins.

    Rows are grouped by confidence into ``bins`` of equal width; the error is the gap between mean confidence and
    accuracy of a group, averaged over rows (Guo et al. 2017, arXiv 1706.04599, equation 3). Empty groups are left out.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    indices = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)  # group m holds ((m - 1) / M, m / M]
    groups = [indices == index for index in np.unique(indices)]
    found = [
        {
            "confidence": float(confidence[group].mean()),
            "accuracy": float(right[group].mean()),
            "rows": int(group.sum()),
        }
        for group in groups
    ]
    error = sum(entry["rows"] * abs(entry["confidence"] - entry["accuracy"]) for entry in found) / len(labels)
    return {"expected_error": error, "bins": found}


def by_length(tokens: Ints, right: NDArray[np.bool_], lengths: Sequence[int]) -> list[dict[str, Any]]:
    """Return the accuracy by number of ``tokens``; ``lengths`` are the longest of each slice but the last."""
    found = []
    for low, high in pairwise([0, *lengths, np.inf]):
        inside = (tokens > low) & (tokens <= high)
        name = f"more than {low} tokens" if high == np.inf else f"{low + 1} to {high} tokens"
        if inside.any():
            found.append({"name": name, "rows": int(inside.sum()), "accuracy": float(right[inside].mean())})
    return found


def _shares(part: Counts, whole: Counts) -> Floats:
    return np.asarray(np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0), np.float64)


def _shares_from(scores: Floats, thresholds: Floats) -> Floats:
    """Return, for each of ``thresholds``, the share of ``scores`` that reach it."""
    return np.asarray(1 - np.searchsorted(np.sort(scores), thresholds, side="left") / len(scores), np.float64)


def _area(positive: Floats, negative: Floats) -> float:
    ordered = np.sort(negative)
    below, not_above = (np.searchsorted(ordered, positive, side=side) for side in ("left", "right"))
    return float((below + not_above).mean() / 2 / len(negative))
