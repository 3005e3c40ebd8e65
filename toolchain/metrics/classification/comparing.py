"""Compare the predictions of one variant of a classifier with those of another, for the same rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.metrics.bootstrap import Bootstrap, Counts, Floats
from toolchain.metrics.classification import Ints


@dataclass(frozen=True)
class Predictions:
    """The predictions of one variant, for the same rows in the same order as all variants."""

    rows: Ints  # int64 (rows,): each row's number in its source
    labels: Ints  # int64 (rows,): the truth
    predicted: Ints  # int64 (rows,)
    logits: Floats  # float64 (rows, labels)


def compare(
    variant: Predictions,
    reference: Predictions,
    origin: Predictions,
    names: Sequence[str],
    bootstrap: Bootstrap,
    flips: int = 100,
) -> dict[str, Any]:
    """Return how ``variant`` differs from ``reference``, and from ``origin``, the model it was converted from.

    All rates are 0..1, and all intervals are paired: the rows are resampled once for both sides, so that rows that are
    hard for both do not widen them. Cosine and largest difference are of all logits, against ``origin``.
    At most ``flips`` rows are listed.
    """
    flipped = np.flatnonzero(variant.predicted != reference.predicted)
    return {
        "agreement": agreement(variant, reference, bootstrap),
        "origin_agreement": agreement(variant, origin, bootstrap),
        "accuracy_drop": accuracy_drop(variant, reference, bootstrap),
        "worst_class_drop": worst_class_drop(variant, reference, names, bootstrap),
        "cosine": cosine(variant.logits, origin.logits),
        "max_difference": float(np.abs(variant.logits - origin.logits).max()),
        "flipped": len(flipped),
        "flips": [_flip(variant, reference, names, position) for position in flipped[:flips]],
    }


def agreement(one: Predictions, other: Predictions, bootstrap: Bootstrap) -> dict[str, float]:
    """Return the share of rows with the same predicted class, with its interval."""
    same = int((one.predicted == other.predicted).sum())
    cells = np.array([len(one.rows) - same, same], np.int64)
    return bootstrap.of_counts(cells, lambda counts: counts[:, 1] / counts.sum(axis=1)).to_json()


def accuracy_drop(variant: Predictions, reference: Predictions, bootstrap: Bootstrap) -> dict[str, float]:
    """Return the reference's accuracy minus the variant's, with its paired interval; negative: a gain."""
    return bootstrap.of_counts(_outcomes(variant, reference, np.ones_like(variant.rows, bool)), _drop).to_json()


def worst_class_drop(
    variant: Predictions, reference: Predictions, names: Sequence[str], bootstrap: Bootstrap
) -> dict[str, float | str]:
    """Return the recall of the reference's worst class minus that of the variant's, with its paired interval.

    The worst class may differ between them. ``label`` is the variant's.
    """
    present = np.unique(variant.labels)
    cells = np.concatenate([_outcomes(variant, reference, variant.labels == label) for label in present])
    right = [(variant.predicted == label)[variant.labels == label].mean() for label in present]
    return {**bootstrap.of_counts(cells, _worst_drop).to_json(), "label": names[present[int(np.argmin(right))]]}


def cosine(one: Floats, other: Floats) -> float:
    """Return the cosine between the logits of two variants, all rows as one long vector; 1: the same direction."""
    norms = np.linalg.norm(one) * np.linalg.norm(other)
    return float(np.vdot(one, other) / norms) if norms else 0.0


def _outcomes(variant: Predictions, reference: Predictions, among: NDArray[np.bool_]) -> Counts:
    """Return the number of rows that both, only the reference, only the variant and neither predict correctly."""
    right, reference_right = ((side.predicted == side.labels)[among] for side in (variant, reference))
    pairs = (reference_right & right, reference_right & ~right, ~reference_right & right, ~reference_right & ~right)
    return np.array([pair.sum() for pair in pairs], np.int64)


def _drop(counts: Counts) -> Floats:
    return np.asarray((counts[:, 1] - counts[:, 2]) / counts.sum(axis=1), np.float64)


def _worst_drop(counts: Counts) -> Floats:
    """Return the drop from ``_outcomes`` of all classes, (resamples, 4 x classes); classes without rows have none."""
    both, reference_only, variant_only, neither = np.moveaxis(counts.reshape(len(counts), -1, 4), 2, 0)
    rows = both + reference_only + variant_only + neither

    def lowest_recall(right: Counts) -> Floats:
        return np.asarray(np.where(rows, right / np.maximum(rows, 1), 1.0).min(axis=1), np.float64)

    return lowest_recall(both + reference_only) - lowest_recall(both + variant_only)


def _flip(variant: Predictions, reference: Predictions, names: Sequence[str], position: int) -> dict[str, Any]:
    classes = {"label": variant.labels, "reference": reference.predicted, "variant": variant.predicted}
    return {"row": int(variant.rows[position]), **{key: names[value[position]] for key, value in classes.items()}}
