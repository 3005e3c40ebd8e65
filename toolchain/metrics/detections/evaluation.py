"""Evaluation of detectors: read the true objects, store, measure and compare predictions."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from toolchain.artifacts.dataset import Dataset
from toolchain.artifacts.variants import REFERENCE
from toolchain.metrics.bootstrap import Bootstrap
from toolchain.metrics.class_names import check_classes
from toolchain.metrics.detections import AnnotatedImage, Detections, read_truth
from toolchain.metrics.detections.comparing import compare, match_boxes
from toolchain.metrics.detections.measuring import measure
from toolchain.metrics.detections.table import SCHEMA, read_table, table_of
from toolchain.metrics.settings import MetricSettings

BACKGROUND = "background"  # in the confusion matrix: no object, or not detected


class BoxEvaluation:
    """Evaluation of predictions that are the boxes in each image."""

    schema: ClassVar[pa.Schema] = SCHEMA  # of the file of predictions

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)  # of the model's classes

    def read_truth(self, data: Dataset, split: str) -> list[AnnotatedImage]:
        """Return the images of ``split``, after checking that their classes are the model's.

        Raises:
            DataError: the classes are others, the split is missing or empty, or an object is not valid.
        """
        check_classes(data, self._names)
        return read_truth(data, split)

    def sizes(self, truth: Sequence[AnnotatedImage]) -> list[tuple[int, int]]:
        """Return width and height of the images, in whose pixels the boxes are."""
        return [(image.width, image.height) for image in truth]

    def summary(self, truth: Sequence[AnnotatedImage]) -> dict[str, Any]:
        """Return the counts of ``truth`` and the classes, as a measurement has them."""
        objects = sum(int((~image.objects.neutral).sum()) for image in truth)
        confused = [*self._names, BACKGROUND]
        return {"rows": len(truth), "objects": objects, "labels": self._names, "confusion_labels": confused}

    def table(
        self, variant: str, truth: Sequence[AnnotatedImage], predictions: Sequence[Detections], lengths: Sequence[int]
    ) -> pa.Table:
        """Return the predictions of ``variant`` in rows of ``schema``."""
        return table_of(variant, truth, predictions)

    def measure(
        self,
        predictions: Sequence[Detections],
        truth: Sequence[AnnotatedImage],
        lengths: Sequence[int],
        settings: MetricSettings,
        threshold: float | None,
    ) -> dict[str, Any]:
        """Return the metrics of one variant; see toolchain.metrics.detections.measuring.measure.

        Raises:
            ArtifactError: a prediction is NaN or Inf, or has a label without a name.
            DataError: there are no objects.
        """
        metrics = measure(predictions, truth, self._names, settings.bootstrap, threshold)
        return {**metrics, "confusion": confusion(metrics["per_class"])}

    def predictions(self, table: pa.Table) -> list[Any]:
        """Return the boxes of the rows in ``table``, all of one variant."""
        return list(read_table(table)[1])

    def compare(
        self,
        tables: Mapping[str, pa.Table],
        origins: Mapping[str, str],
        threshold: float,
        bootstrap: Bootstrap,
        flips: int,
    ) -> dict[str, Any]:
        """Return how the predictions of each variant differ from those of its origin and of the reference.

        Args:
            tables: The predictions by variant, in rows of ``schema``, for the same images.
            origins: By variant, the one that it was converted from, or the reference.
            threshold: Minimum score of the compared boxes.
            bootstrap: Computes the intervals.
            flips: Maximum number of images with other predictions to list.
        """
        read = {name: read_table(table) for name, table in tables.items()}
        images, reference = read[REFERENCE]
        return {
            name: compare(own, reference, read[origins[name]][1], images, self._names, threshold, bootstrap, flips)
            for name, (_, own) in read.items()
        }

    def difference(self, prediction: Detections, recorded: Detections, threshold: float) -> tuple[bool, float]:
        """Return whether all boxes from ``threshold`` on have a match, and the largest difference of matched scores."""
        matches = match_boxes([prediction], [recorded], len(self._names), threshold)
        return not matches.mismatched(), float(np.abs(matches.scores - matches.other_scores).max(initial=0.0))


def confusion(classes: Sequence[dict[str, Any]]) -> list[list[int]]:
    """Return a matrix of counts, a row for each true class and one for the background, from metrics ``by_class``.

    An object is detected or missed, and a box right or wrong: a box with the wrong class counts as both a missed object
    of the true class and a wrong box of the predicted class.
    """
    matrix = [[0] * (len(classes) + 1) for _ in range(len(classes) + 1)]
    for index, entry in enumerate(classes):
        right = round(entry["recall"] * entry["rows"])
        matrix[index][index], matrix[index][-1] = right, entry["rows"] - right
        matrix[-1][index] = round(right / entry["precision"] - right) if entry["precision"] else 0
    return matrix
