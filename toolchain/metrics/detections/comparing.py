"""Compare the boxes of two variants of a detector on the same images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolchain.metrics.bootstrap import Bootstrap, Counts
from toolchain.metrics.detections import AnnotatedImage, Detections, Floats, Ints, Objects
from toolchain.metrics.detections.matching import ALL, OVERLAPS, Matches, average_precision, match, mean

# Boxes with the scores .47 and .49 are equal predictions, even at a threshold of .48. INT8 moves scores of a small
# FCOS by some hundredths: of the boxes of two such detectors 84 and 88 % matched without slack, 94 and 99 % with .1.
SLACK = 0.1
Variant = Sequence[Detections]  # the predictions of one variant for all images


def compare(
    variant: Variant,
    reference: Variant,
    origin: Variant,
    images: Sequence[AnnotatedImage],
    names: Sequence[str],
    threshold: float,
    bootstrap: Bootstrap,
    flips: int = 100,
) -> dict[str, Any]:
    """Return how ``variant`` differs from ``reference``, and from ``origin`` whose predictions it must repeat.

    Agreement is the share of boxes with a score of at least ``threshold``, of both sides, that match a box of the other
    side, one to one, of the same class and with an overlap of at least .5; the other's score may be SLACK lower. (For
    strict_agreement it may not.) Drops are of AP at an overlap of .5 (mAP50), by a paired bootstrap: images are drawn
    once for both sides, so that images that are hard for both do not widen the interval. Cosine and maximum difference
    are of the scores of boxes that match, with ``origin``. At most ``flips`` images are listed.
    """
    repeated = match_boxes(variant, origin, len(names), threshold)
    matches = repeated if origin is reference else match_boxes(variant, reference, len(names), threshold)
    strict = match_boxes(variant, origin, len(names), threshold, slack=0.0)
    apart = matches.mismatched()
    return {
        "agreement": matches.share(bootstrap),
        "origin_agreement": repeated.share(bootstrap),
        "strict_agreement": strict.share(bootstrap),
        **drops(variant, reference, images, names, bootstrap),
        "cosine": _cosine(repeated.scores, repeated.other_scores),
        "max_difference": float(np.abs(repeated.scores - repeated.other_scores).max(initial=0.0)),
        "flipped": len(apart),
        "flips": [
            {
                "row": images[index].row,
                "label": _counted(int((~images[index].objects.neutral).sum()), "object"),
                "reference": _counted(len(reference[index].above(threshold)), "box"),
                "variant": _counted(len(variant[index].above(threshold)), "box"),
            }
            for index in apart[:flips]
        ],
    }


def drops(
    variant: Variant, reference: Variant, images: Sequence[AnnotatedImage], names: Sequence[str], bootstrap: Bootstrap
) -> dict[str, dict[str, Any]]:
    """Return what ``variant`` lost against ``reference``, negative where it gained: accuracy_drop, of mAP50, and
    worst_class_drop, of the AP50 of the worst class of each; ``label`` is the variant's worst."""
    truth = [image.objects for image in images]
    sides = [match(side, truth, len(names), OVERLAPS[:1])[ALL] for side in (reference, variant)]
    every = np.ones(len(images), np.int64)
    areas = average_precision(sides[1], every[None])[0, 0]

    def drop(drawn: Counts) -> Floats:
        return mean(average_precision(sides[0], drawn)) - mean(average_precision(sides[1], drawn))

    def worst_drop(drawn: Counts) -> Floats:
        return _worst(sides[0], drawn) - _worst(sides[1], drawn)

    return {
        "accuracy_drop": bootstrap.of_counts(every, drop).to_json(),
        "worst_class_drop": {
            **bootstrap.of_counts(every, worst_drop).to_json(),
            "label": names[int(np.nanargmin(areas))],
        },
    }


@dataclass(frozen=True)
class MatchedBoxes:
    """The matches between the boxes of two variants with a score of at least a threshold."""

    matched: Ints  # int64 (images,): boxes, of either side, that match a box of the other
    boxes: Ints  # int64 (images,): of both sides
    scores: Floats  # float64 (matches,): of one side
    other_scores: Floats  # float64 (matches,): of the other

    def share(self, bootstrap: Bootstrap) -> dict[str, float]:
        """Return the share of boxes that match, with its interval; 1 where neither side has any."""

        def share_of(drawn: Counts) -> Floats:
            boxes = drawn @ self.boxes
            return np.where(boxes > 0, (drawn @ self.matched) / np.maximum(boxes, 1), 1.0)

        return bootstrap.of_counts(np.ones(len(self.matched), np.int64), share_of).to_json()

    def mismatched(self) -> list[int]:
        """Return the indices of images in which a box of either side has no match."""
        return [int(index) for index in np.flatnonzero(self.matched != self.boxes)]


def match_boxes(variant: Variant, other: Variant, classes: int, threshold: float, slack: float = SLACK) -> MatchedBoxes:
    one, two = ([prediction.above(threshold) for prediction in side] for side in (variant, other))
    wider_one, wider_two = ([prediction.above(threshold - slack) for prediction in side] for side in (variant, other))
    found = _found(one, wider_two, classes)
    matched = [
        np.bincount(side.image[side.right[0]], minlength=len(one)) for side in (found, _found(two, wider_one, classes))
    ]
    scores = np.concatenate([np.empty(0), *(prediction.scores for prediction in wider_two)])
    return MatchedBoxes(
        matched=matched[0] + matched[1],
        boxes=np.array([len(mine) + len(theirs) for mine, theirs in zip(one, two, strict=True)], np.int64),
        scores=found.score[found.right[0]],
        other_scores=scores[found.partner[0][found.right[0]]],
    )


def _found(variant: Variant, other: Variant, classes: int) -> Matches:
    """Return the matches of the boxes of ``variant``, with those of ``other`` as the truth."""
    return match(variant, [_as_objects(prediction) for prediction in other], classes, OVERLAPS[:1])[ALL]


def _as_objects(prediction: Detections) -> Objects:
    none = np.zeros(len(prediction), bool)
    return Objects(prediction.boxes, prediction.labels, none, none)


def _worst(matches: Matches, drawn: Counts) -> Floats:
    areas = average_precision(matches, drawn)[:, 0]
    there = ~np.isnan(areas)
    return np.where(there.any(axis=1), np.where(there, areas, np.inf).min(axis=1), np.nan)


def _cosine(one: Floats, other: Floats) -> float | None:
    norms = np.linalg.norm(one) * np.linalg.norm(other)
    return float(np.vdot(one, other) / norms) if norms else None


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}{'es' if noun.endswith('x') else 's'}"
