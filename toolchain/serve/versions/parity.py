"""Check that a loaded model makes the predictions that were recorded at its evaluation."""

from dataclasses import dataclass
from typing import Any

from toolchain.artifacts.digest import short_digest
from toolchain.artifacts.expected import Expected, Row
from toolchain.hardware.cpu import describe
from toolchain.inference.predictor import Predictor


@dataclass(frozen=True)
class Parity:
    """The result of predicting the recorded rows again."""

    rows: int  # 0 when none were recorded
    matching: int  # of them, with the recorded prediction
    reason: str = ""  # why the model must not serve; "" when it may

    @property
    def summary(self) -> str:
        if self.reason:
            return self.reason
        return f"{self.matching} of {self.rows} recorded predictions match" if self.rows else "no recorded predictions"


def compare(predictor: Predictor, expected: Expected | None) -> Parity:
    """Predict the rows of ``expected`` one by one and compare the predictions with the recorded ones."""
    if expected is None:
        return Parity(0, 0)
    rows = expected.rows
    if expected.model != predictor.model.digest:
        found, recorded = short_digest(predictor.model.digest), short_digest(expected.model)
        return Parity(len(rows), 0, f"the recorded predictions are of model {recorded}, this is {found}")
    differing = [index for index, row in enumerate(rows) if not _matches(predictor, row, expected.threshold)]
    if not differing:
        return Parity(len(rows), len(rows))
    message = f"{len(differing)} of {len(rows)} predictions differ from those recorded at evaluation"
    local = describe().kind
    if local != expected.processor:
        message += f"; they were recorded on {expected.processor}, this is {local}: evaluate the model on {local}"
    return Parity(len(rows), len(rows) - len(differing), f"{message} (first: row {differing[0]})")


def _matches(predictor: Predictor, row: Row, threshold: float) -> bool:
    (prediction,) = predictor.predict(predictor.prepare([row.value]))
    output = predictor.task.output
    recorded: Any = output.recorded(row)
    return output.matches(prediction, recorded, threshold)
