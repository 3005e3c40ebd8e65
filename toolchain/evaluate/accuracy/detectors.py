"""Detectors: the boxes that each variant answers to the pictures of a split, and what they say about it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from toolchain.artifacts.dataset import IMAGE, Dataset
from toolchain.artifacts.model import Model
from toolchain.artifacts.variants import Variants
from toolchain.errors import DataError
from toolchain.evaluate.accuracy.classifiers import PREDICTIONS
from toolchain.evaluate.accuracy.detection import measure
from toolchain.inference.preprocessing import Preprocessor, picture_shape, preprocessor_of
from toolchain.inference.runtime import Session, open_session
from toolchain.metrics.bootstrap import Bootstrap
from toolchain.metrics.detections import Answer, Picture, answer_of, read_truth, stretch
from toolchain.metrics.detections.table import SCHEMA, table_of
from toolchain.progress import track

BACKGROUND = "background"  # of the confusion matrix: where nothing is, or nothing was found


def measure_variants(
    models: Variants, data: Dataset, folder: Path, *, split: str, threads: int, bootstrap: Bootstrap, **_: Any
) -> dict[str, Any]:
    """Return what is to be said of each of ``models`` on ``split``; each answer is written to ``folder``.

    Precision, recall and F1 of all variants are taken at one score: where the reference's F1 is highest.
    """
    names = list(models.reference.signature.labels)
    if list(data.labels) != names:
        raise DataError(f"{data.path} has the classes {', '.join(data.labels)}; the model has {', '.join(names)}")
    pictures = read_truth(data, split)
    found: dict[str, Any] = {}
    threshold: float | None = None
    ordered = sorted(models.models.values(), key=lambda model: model is not models.reference)
    with pq.ParquetWriter(folder / PREDICTIONS, SCHEMA) as file:
        for model in track(ordered, "accuracy", len(ordered), "variants"):
            answers = _answers(model, data, split, pictures, threads)
            file.write_table(table_of(model.variant, pictures, answers))
            figures = measure(answers, pictures, names, bootstrap, threshold)
            threshold = figures["threshold"]
            kind = {"backend": model.signature.backend, "origin": model.signature.origin}
            found[model.variant] = {**kind, **figures, "confusion": confusion(figures["per_class"])}
    objects = sum(int((~picture.objects.neutral).sum()) for picture in pictures)
    told = {
        "rows": len(pictures),
        "objects": objects,
        "labels": names,
        "confusion_labels": [*names, BACKGROUND],
        "threshold": threshold,
    }
    return {**told, "variants": {name: found[name] for name in models.models}}


def confusion(classes: Sequence[dict[str, Any]]) -> list[list[int]]:
    """Return a matrix of counts, a row for each true class and one for the background, from figures ``by_class``.

    An object is found or missed, an answer right or wrong: one by another class's name is missed there, wrong here.
    """
    matrix = [[0] * (len(classes) + 1) for _ in range(len(classes) + 1)]
    for place, entry in enumerate(classes):
        right = round(entry["recall"] * entry["rows"])
        matrix[place][place], matrix[place][-1] = right, entry["rows"] - right
        matrix[-1][place] = round(right / entry["precision"] - right) if entry["precision"] else 0
    return matrix


def _answers(model: Model, data: Dataset, split: str, pictures: Sequence[Picture], threads: int) -> list[Answer]:
    session, preprocessor = open_session(model, threads), preprocessor_of(model)
    height, width, _ = picture_shape(model)
    found: list[Answer] = []
    for batch in data.batches(split, [IMAGE]):
        for value in batch.column(IMAGE).to_pylist():
            picture = pictures[len(found)]
            found.append(_answer(session, preprocessor, value, picture, (width, height)))
    return found


def _answer(
    session: Session, preprocessor: Preprocessor, value: Any, picture: Picture, size: tuple[int, int]
) -> Answer:
    boxes, scores, labels = session.outputs(preprocessor.stack(preprocessor.prepare([value])))
    return answer_of(stretch(boxes, size, (picture.width, picture.height)), scores, labels)
