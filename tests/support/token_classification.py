"""A fourth task, as one would be added: one module with what the model returns and how that is measured, and a class.

Token classification labels each token of a text, as named entity recognition does. The product does not have it; a test
adds it to the table of tasks and runs the steps and the model server with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from toolchain.artifacts.columns import ROW
from toolchain.artifacts.dataset import Dataset
from toolchain.artifacts.expected import TOLERANCE, Row
from toolchain.artifacts.model import Model
from toolchain.artifacts.variants import REFERENCE
from toolchain.inference.features import Described
from toolchain.inference.prepared import Prepared
from toolchain.inference.runtime import Feeds, Session
from toolchain.inference.tasks import MetricNames, Scenario
from toolchain.inference.text_input import TextInput
from toolchain.metrics.bootstrap import Bootstrap
from toolchain.metrics.classification import Rows, measure
from toolchain.metrics.classification.comparing import Predictions, compare
from toolchain.metrics.probabilities import softmax
from toolchain.metrics.settings import MetricSettings

TAGS = "tags"  # column of a dataset: a class for each token
SCORE = {"type": "number", "minimum": 0, "maximum": 1}


@dataclass(frozen=True)
class Tagged:
    """The classes that are predicted for the tokens of one text."""

    labels: NDArray[np.int64]  # (tokens,): positions in the class names
    scores: NDArray[np.float64]  # (tokens,): of those classes, 0..1


def tagged(logits: NDArray[np.float32]) -> Tagged:
    """Return the prediction in ``logits`` of shape (tokens, labels)."""
    shares = softmax(logits)
    return Tagged(shares.argmax(axis=1), shares.max(axis=1))


def difference_of(one: Tagged, other: Tagged) -> tuple[bool, float]:
    """Return whether the classes are equal, and the largest difference of scores."""
    if one.scores.shape != other.scores.shape:
        return False, 1.0
    return bool((one.labels == other.labels).all()), float(np.abs(one.scores - other.scores).max(initial=0.0))


class TokenEvaluation:
    """Evaluation of predictions that are logits, float32 of shape (tokens, labels) for each row."""

    schema: ClassVar[pa.Schema] = pa.schema(
        [
            (ROW, pa.int64()),
            ("variant", pa.string()),
            (TAGS, pa.list_(pa.int64())),
            ("logits", pa.list_(pa.list_(pa.float32()))),
        ]
    )

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)

    def read_truth(self, data: Dataset, split: str) -> pa.Table:
        data.require(ROW, TAGS)
        return data.table(split, [ROW, TAGS])

    def sizes(self, truth: pa.Table) -> None:
        return None

    def summary(self, truth: pa.Table) -> dict[str, Any]:
        return {"rows": truth.num_rows, "labels": self._names, "confusion_labels": self._names}

    def table(self, variant: str, truth: pa.Table, predictions: Sequence[Any], lengths: Sequence[int]) -> pa.Table:
        columns = {**truth.to_pydict(), "variant": [variant] * len(predictions)}
        return pa.table({**columns, "logits": [one.tolist() for one in predictions]}, self.schema)

    def measure(
        self,
        predictions: Sequence[Any],
        truth: pa.Table,
        lengths: Sequence[int],
        settings: MetricSettings,
        threshold: float | None,
    ) -> dict[str, Any]:
        labels = np.concatenate(truth.column(TAGS).to_pylist()).astype(np.int64)
        tokens = Rows(np.arange(len(labels)), labels, self._names)
        return measure(np.concatenate(predictions), np.ones_like(labels), tokens, settings)

    def predictions(self, table: pa.Table) -> list[Any]:
        return [tagged(np.array(logits, np.float32)) for logits in table.column("logits").to_pylist()]

    def compare(
        self,
        tables: Mapping[str, pa.Table],
        origins: Mapping[str, str],
        threshold: float,
        bootstrap: Bootstrap,
        flips: int,
    ) -> dict[str, Any]:
        read = {name: self._tokens(table) for name, table in tables.items()}
        return {
            name: compare(own, read[REFERENCE], read[origins[name]], self._names, bootstrap, flips)
            for name, own in read.items()
        }

    def difference(self, prediction: Tagged, recorded: Tagged, threshold: float) -> tuple[bool, float]:
        return difference_of(prediction, recorded)

    def _tokens(self, table: pa.Table) -> Predictions:
        logits = np.concatenate([np.array(one, np.float64) for one in table.column("logits").to_pylist()])
        tags = table.column(TAGS).to_pylist()
        rows = np.repeat(table.column(ROW).to_numpy(), [len(one) for one in tags])
        return Predictions(rows, np.concatenate(tags).astype(np.int64), logits.argmax(axis=1), logits)


class TokenOutput:
    """A class for each token. A prediction is a ``Tagged``."""

    has_threshold: ClassVar[bool] = False

    def __init__(self, model: Model) -> None:
        self._labels = model.signature.labels

    def run(self, session: Session, feeds: Feeds, rows: Sequence[Prepared]) -> list[Any]:
        return [logits[: row.length] for logits, row in zip(session.run(feeds), rows, strict=True)]

    def predict(self, session: Session, feeds: Feeds, rows: Sequence[Prepared]) -> list[Tagged]:
        return [tagged(logits) for logits in self.run(session, feeds, rows)]

    def numbers(self, prediction: Tagged) -> NDArray[Any]:
        return prediction.scores

    def counted(self, prediction: Tagged) -> tuple[list[str], float | None]:
        return self.labels(prediction, 0.0), float(prediction.scores.min())

    def labels(self, prediction: Tagged, threshold: float) -> list[str]:
        return [self._labels[label] for label in prediction.labels]

    def response(self, prediction: Tagged, row: Prepared, threshold: float) -> dict[str, Any]:
        tokens = zip(self.labels(prediction, threshold), prediction.scores.tolist(), strict=True)
        return {"tokens": [{"label": label, "score": score} for label, score in tokens]}

    def parse_response(self, response: Mapping[str, Any]) -> Tagged:
        tokens = response["tokens"]
        labels = np.array([self._labels.index(token["label"]) for token in tokens], np.int64)
        return Tagged(labels, np.array([token["score"] for token in tokens], np.float64))

    def schema(self) -> dict[str, Any]:
        token = {"label": {"type": "string", "enum": list(self._labels)}, "score": SCORE}
        items = {"type": "object", "required": list(token), "properties": token}
        return {"tokens": {"type": "array", "items": items}}

    def tensors(self) -> list[dict[str, Any]]:
        return [
            {"name": "lengths", "datatype": "INT64", "shape": [-1]},
            {"name": "labels", "datatype": "BYTES", "shape": [-1]},
        ]

    def tensor_values(self, predictions: Sequence[Tagged]) -> list[tuple[list[int], list[Any]]]:
        labels = [label for one in predictions for label in self.labels(one, 0.0)]
        return [([len(predictions)], [len(one.labels) for one in predictions]), ([len(labels)], labels)]

    def features(self, prediction: Tagged, threshold: float) -> Described:
        most = int(np.bincount(prediction.labels).argmax())
        return Described({"confidence": round(float(prediction.scores.min()), 5)}, self._labels[most])

    def record(self, prediction: Tagged) -> dict[str, Any]:
        return {"scores": prediction.scores, "labels": prediction.labels}

    def recorded(self, row: Row) -> Tagged:
        return Tagged(np.array(row.labels, np.int64), np.array(row.scores, np.float64))

    def matches(self, prediction: Tagged, recorded: Tagged, threshold: float) -> bool:
        same, difference = difference_of(prediction, recorded)
        return same and difference <= TOLERANCE

    @staticmethod
    def mistakes(table: Any, names: Sequence[str], count: int) -> list[dict[str, Any]]:
        return []

    @staticmethod
    def overlays(table: Any, threshold: float, count: int) -> list[dict[str, Any]]:
        return []


class TokenClassification:
    """One class for each token of a text."""

    name: ClassVar[str] = "token-classification"
    column: ClassVar[str] = "text"
    input_type = TextInput
    output_type = TokenOutput
    metrics: ClassVar[MetricNames] = MetricNames("token accuracy", "recall", "texts", "tokens", "")
    max_batch_size: ClassVar[int | None] = None
    has_saliency: ClassVar[bool] = False
    scenarios: ClassVar[Mapping[str, Scenario]] = {"batch1": Scenario(1), "batch8": Scenario(8)}

    def __init__(self, model: Model) -> None:
        self.input = TextInput(model)
        self.output = TokenOutput(model)
