"""Predict the rows of a split with each variant, write the predictions to a file, and compute the metrics."""

from collections.abc import Sequence
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
from toolchain.metrics.bootstrap import Bootstrap
from toolchain.progress import track

PREDICTIONS = "predictions.parquet"


def measure_variants(
    models: Variants,
    data: Dataset,
    folder: Path,
    *,
    split: str,
    threads: int,
    bootstrap: Bootstrap,
    bins: int,
    slices: list[int],
) -> dict[str, Any]:
    """Return the metrics of ``models`` on ``split``, and write all predictions to ``folder``.

    Rates that depend on a threshold have one for all variants: that with the highest F1 of the reference.
    """
    reference = models.reference
    task = task_type(reference)
    evaluation = evaluation_of(task.name, reference.signature.labels)
    truth: Any = evaluation.read_truth(data, split)
    data.require(task.column)
    found: dict[str, Any] = {}
    result, threshold = evaluation.summary(truth), None
    ordered = sorted(models.models.values(), key=lambda model: model is not reference)
    with pq.ParquetWriter(folder / PREDICTIONS, evaluation.schema) as file:
        for model in track(ordered, "accuracy", len(ordered), "variants"):
            outputs, lengths = _predict(model, data, task.column, split, threads, evaluation.sizes(truth))
            try:
                metrics = evaluation.measure(
                    outputs,
                    truth,
                    lengths=lengths,
                    bootstrap=bootstrap,
                    bins=bins,
                    slices=slices,
                    threshold=threshold,
                )
            except ArtifactError as error:
                raise ArtifactError(f"{model.path}: {error}") from error
            file.write_table(evaluation.table(model.variant, truth, outputs, lengths))
            threshold = metrics.get("threshold")
            if model is reference and task.has_saliency:
                result["saliency"] = explain_worst(model, data, split, np.stack(outputs), truth.labels)
            found[model.variant] = {"backend": model.signature.backend, "origin": model.signature.origin, **metrics}
    if threshold is not None:
        result["threshold"] = threshold
    return {**result, "variants": {name: found[name] for name in models.models}}


def _predict(
    model: Model, data: Dataset, column: str, split: str, threads: int, sizes: Sequence[tuple[int, int]] | None
) -> tuple[list[Any], list[int]]:
    """Return the outputs of all rows of ``split``, read batch by batch, and their lengths."""
    parts = (batch.column(column).to_pylist() for batch in data.batches(split, [column]))
    return predict_all(model, parts, threads, sizes)
