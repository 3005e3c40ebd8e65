"""Predict the recorded rows in a Python of another architecture, and pass the predictions back as JSON."""

import json
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from toolchain.artifacts.expected import Row, read_expected
from toolchain.artifacts.model import open_model
from toolchain.errors import ArtifactError
from toolchain.hardware.cpu import describe
from toolchain.inference.predictor import Predictor

RUNTIMES = ("onnxruntime", "openvino", "tokenizers", "ftfy", "numpy", "pillow")  # packages that affect predictions


@dataclass(frozen=True)
class Predictions:
    """The predictions of one model on one processor."""

    processor: str  # its name
    kind: str  # of the processor
    versions: dict[str, str]  # of RUNTIMES
    rows: list[Row]  # without their texts and images


def predict(model: Path, expected: Path) -> Predictions:
    """Return the predictions of ``model`` for each row recorded in the folder ``expected``, alone and unpadded.

    Raises:
        ArtifactError: the model is damaged or does not run, or nothing was recorded.
    """
    recorded = read_expected(expected)
    if recorded is None:
        raise ArtifactError(f"{expected} contains no expected predictions; run evaluate.accuracy again")
    predictor = Predictor(open_model(model))
    rows = [_predict(predictor, row.value) for row in recorded.rows]
    processor = describe()
    return Predictions(processor.name, processor.kind, _versions(), rows)


def as_json(predictions: Predictions) -> str:
    """Return ``predictions`` as one line of JSON."""
    return json.dumps(asdict(predictions))


def from_json(line: str) -> Predictions:
    """Return the predictions that ``as_json`` wrote.

    Raises:
        ArtifactError: it is something else.
    """
    try:
        found = json.loads(line)
        rows = [Row(**row) for row in found["rows"]]
        return Predictions(found["processor"], found["kind"], found["versions"], rows)
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError("the output is not valid: expected one line of JSON with predictions") from error


def _predict(predictor: Predictor, value: Any) -> Row:
    (prediction,) = predictor.predict(predictor.prepare([value]))
    return Row(**{name: numbers.tolist() for name, numbers in predictor.task.output.record(prediction).items()})


def _versions() -> dict[str, str]:
    found = {}
    for name in RUNTIMES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # an environment without OpenVINO still runs ONNX Runtime's variants
    return found
