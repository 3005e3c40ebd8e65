"""Predict the rows of a split with each variant, write the predictions to a file, and compute the metrics."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from toolchain.artifacts.dataset import Dataset
from toolchain.artifacts.model import Model
from toolchain.artifacts.variants import Variants
from toolchain.errors import ArtifactError
from toolchain.evaluate.accuracy.saliency import explain_worst
from toolchain.inference.batch_prediction import predict_all
from toolchain.inference.evaluation import evaluation_of
from toolchain.inference.tasks import task_type
from toolchain.metrics.settings import MetricSettings
from toolchain.progress import track

PREDICTIONS = "predictions.parquet"


def measure_variants(
    models: Variants, data: Dataset, folder: Path, split: str, threads: int, settings: MetricSettings
) -> dict[str, Any]:
    """Return the metrics of ``models`` on ``split``, and write all predictions to ``folder``.

    Rates that depend on a threshold have one for all variants: that with the highest F1 of the reference.
    """
    reference, task = models.reference, task_type(models.reference)
    evaluation = evaluation_of(task.name, reference.signature.labels)
    truth: Any = evaluation.read_truth(data, split)
    data.require(task.column)
    result, threshold, found = evaluation.summary(truth), None, {}
    ordered = sorted(models.models.values(), key=lambda model: model is not reference)
    with pq.ParquetWriter(folder / PREDICTIONS, evaluation.schema) as file:
        for model in track(ordered, "accuracy", len(ordered), "variants"):
            outputs, lengths = _predict(model, data, split, threads, evaluation.sizes(truth))
            with _named(model):
                metrics = evaluation.measure(outputs, truth, lengths, settings, threshold)
            file.write_table(evaluation.table(model.variant, truth, outputs, lengths))
            if model is reference and task.has_saliency:
                result["saliency"] = explain_worst(model, data, split, np.stack(outputs), truth.labels)
            found[model.variant] = {"backend": model.signature.backend, "origin": model.signature.origin, **metrics}
            threshold = metrics.get("threshold")
    result |= {} if threshold is None else {"threshold": threshold}
    return {**result, "variants": {name: found[name] for name in models.models}}


@contextmanager
def _named(model: Model) -> Iterator[None]:
    """Add the path of ``model`` to the message of an error in its outputs."""
    try:
        yield
    except ArtifactError as error:
        raise ArtifactError(f"{model.path}: {error}") from error


def _predict(
    model: Model, data: Dataset, split: str, threads: int, sizes: Sequence[tuple[int, int]] | None
) -> tuple[list[Any], list[int]]:
    """Return the outputs of all rows of ``split``, read batch by batch, and their lengths."""
    column = task_type(model).column
    parts = (batch.column(column).to_pylist() for batch in data.batches(split, [column]))
    return predict_all(model, parts, threads, sizes)
