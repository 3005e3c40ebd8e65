"""Measure detectors: predict boxes for the images of a split with each variant and compute its metrics."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from toolchain.artifacts.dataset import IMAGE, Dataset
from toolchain.artifacts.model import Model
from toolchain.artifacts.variants import Variants
from toolchain.errors import DataError
from toolchain.evaluate.accuracy.classifiers import PREDICTIONS
from toolchain.evaluate.accuracy.detection import measure
from toolchain.inference.predictor import Predictor
from toolchain.metrics.bootstrap import Bootstrap
from toolchain.metrics.detections import AnnotatedImage, Detections, read_truth
from toolchain.metrics.detections.table import SCHEMA, table_of
from toolchain.progress import track

BACKGROUND = "background"  # in the confusion matrix: no object, or not detected


def measure_variants(
    models: Variants, data: Dataset, folder: Path, *, split: str, threads: int, bootstrap: Bootstrap, **_: Any
) -> dict[str, Any]:
    """Return the metrics of ``models`` on ``split``, and write all predictions to ``folder``.

    Precision, recall and F1 of all variants have one threshold: the score with the highest F1 of the reference.
    """
    names = list(models.reference.signature.labels)
    if list(data.labels) != names:
        raise DataError(f"{data.path} has the classes {', '.join(data.labels)}; the model has {', '.join(names)}")
    images = read_truth(data, split)
    found: dict[str, Any] = {}
    threshold: float | None = None
    ordered = sorted(models.models.values(), key=lambda model: model is not models.reference)
    with pq.ParquetWriter(folder / PREDICTIONS, SCHEMA) as file:
        for model in track(ordered, "accuracy", len(ordered), "variants"):
            predictions = _predict_all(model, data, split, images, threads)
            file.write_table(table_of(model.variant, images, predictions))
            metrics = measure(predictions, images, names, bootstrap, threshold)
            threshold = metrics["threshold"]
            origin = {"backend": model.signature.backend, "origin": model.signature.origin}
            found[model.variant] = {**origin, **metrics, "confusion": confusion(metrics["per_class"])}
    objects = sum(int((~image.objects.neutral).sum()) for image in images)
    result = {
        "rows": len(images),
        "objects": objects,
        "labels": names,
        "confusion_labels": [*names, BACKGROUND],
        "threshold": threshold,
    }
    return {**result, "variants": {name: found[name] for name in models.models}}


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


def _predict_all(
    model: Model, data: Dataset, split: str, images: Sequence[AnnotatedImage], threads: int
) -> list[Detections]:
    predictor = Predictor(model, threads)
    found: list[Detections] = []
    for batch in data.batches(split, [IMAGE]):
        for value in batch.column(IMAGE).to_pylist():
            image = images[len(found)]
            (row,) = predictor.prepare([value])
            found += predictor.predict([replace(row, size=(image.width, image.height))])
    return found
