"""Evaluation of classifiers: read the true labels, store, measure and compare predictions."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from toolchain.artifacts.columns import LABEL, ROW
from toolchain.artifacts.dataset import Dataset
from toolchain.artifacts.variants import REFERENCE
from toolchain.errors import ArtifactError, DataError
from toolchain.metrics.bootstrap import Bootstrap, Floats
from toolchain.metrics.class_names import check_classes
from toolchain.metrics.classification import Rows, measure
from toolchain.metrics.classification.comparing import compare
from toolchain.metrics.classification.table import SCHEMA, read_table, table_of
from toolchain.metrics.probabilities import Logits, softmax
from toolchain.metrics.settings import MetricSettings


class ClassEvaluation:
    """Evaluation of predictions that are logits, float32 of shape (labels,) for each row."""

    schema: ClassVar[pa.Schema] = SCHEMA  # of the file of predictions

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)  # of the model's classes

    def read_truth(self, data: Dataset, split: str) -> Rows:
        """Return the rows of ``split``, after checking that their classes are the model's.

        Raises:
            DataError: the classes are others, the split is empty, or a label has no name.
        """
        data.require(ROW, LABEL)
        check_classes(data, self._names)
        table = data.table(split, [ROW, LABEL])
        if not table.num_rows:
            raise DataError(f"the {split} split of {data.path} is empty: give a split with rows")
        found = table.column(LABEL).to_numpy().astype(np.int64)
        if found.min() < 0 or found.max() >= len(self._names):
            span = f"{found.min()}..{found.max()}"
            raise DataError(f"the {split} split of {data.path} has labels {span}: expected 0 to {len(self._names) - 1}")
        return Rows(table.column(ROW).to_numpy().astype(np.int64), found, self._names)

    def sizes(self, truth: Rows) -> None:
        """Return None: predictions do not depend on the sizes of images."""

    def summary(self, truth: Rows) -> dict[str, Any]:
        """Return the counts of ``truth`` and the classes, as a measurement has them."""
        return {"rows": len(truth.labels), "labels": truth.names, "confusion_labels": truth.names}

    def table(self, variant: str, truth: Rows, predictions: Sequence[Logits], lengths: Sequence[int]) -> pa.Table:
        """Return the predictions of ``variant`` in rows of ``schema``."""
        return table_of(variant, truth, np.stack(predictions), lengths)

    def measure(
        self,
        predictions: Sequence[Logits],
        truth: Rows,
        lengths: Sequence[int],
        settings: MetricSettings,
        threshold: float | None,
    ) -> dict[str, Any]:
        """Return the metrics of one variant; see toolchain.metrics.classification.measure.

        Raises:
            ArtifactError: there are too many or too few logits, or some are NaN or Inf.
        """
        logits = np.stack(predictions)
        if logits.shape != (len(truth.labels), len(truth.names)):
            raise ArtifactError(
                f"the output has shape {logits.shape}, expected {(len(truth.labels), len(truth.names))}"
            )
        if not np.isfinite(logits).all():
            broken = int((~np.isfinite(logits)).any(axis=1).sum())
            raise ArtifactError(f"it predicts NaN or Inf for {broken} of {len(logits)} rows; export it again")
        return measure(logits, np.asarray(lengths, np.int64), truth, settings)

    def predictions(self, table: pa.Table) -> list[Any]:
        """Return the probabilities of the rows in ``table``, all of one variant, each float64 of shape (labels,)."""
        return list(softmax(np.array(table.column("logits").to_pylist(), np.float32)))

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
            tables: The predictions by variant, in rows of ``schema``, for the same rows.
            origins: By variant, the one that it was converted from, or the reference.
            threshold: Not used: the class with the highest score is compared.
            bootstrap: Computes the intervals.
            flips: Maximum number of rows with another prediction to list.
        """
        read = {name: read_table(table) for name, table in tables.items()}
        return {
            name: compare(own, read[REFERENCE], read[origins[name]], self._names, bootstrap, flips)
            for name, own in read.items()
        }

    def difference(self, prediction: Floats, recorded: Floats, threshold: float) -> tuple[bool, float]:
        """Return whether the classes of the highest scores are equal, and the largest difference of scores, 0..1."""
        if prediction.shape != recorded.shape:
            return False, 1.0
        return bool(prediction.argmax() == recorded.argmax()), float(np.abs(prediction - recorded).max())
