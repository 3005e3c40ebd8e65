"""Asking: what a model answers to the recorded rows, asked by a Python of another architecture and carried back."""

import json
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from toolchain.artifacts.expected import read_expected
from toolchain.artifacts.model import open_model
from toolchain.errors import ArtifactError
from toolchain.hardware.cpu import describe
from toolchain.inference.predictor import Answerer
from toolchain.metrics.detections import Answer

RUNTIMES = ("onnxruntime", "openvino", "tokenizers", "ftfy", "numpy", "pillow")  # packages that decide what is answered


@dataclass(frozen=True)
class Asked:
    """Answers from where they were asked for."""

    processor: str  # its name
    kind: str  # of that processor
    versions: dict[str, str]  # of RUNTIMES
    answers: list[Answer]  # by row; of a classifier the scores alone, by class


def ask(model: Path, expected: Path) -> Asked:
    """Return what ``model`` answers to each row recorded in the folder ``expected``, asked alone and unpadded.

    Raises:
        ArtifactError: the model is damaged or does not run here, or nothing was recorded.
    """
    recorded = read_expected(expected)
    if recorded is None:
        raise ArtifactError(f"{expected} holds no recorded answers; evaluate the model again")
    answerer = Answerer(open_model(model))
    answers = [answerer.answer(answerer.prepare([row.value]))[0] for row in recorded.rows]
    here = describe()
    return Asked(here.name, here.kind, _versions(), [_as_answer(answer) for answer in answers])


def as_json(asked: Asked) -> str:
    """Return ``asked`` as one line of JSON."""
    answers = [{name: value.tolist() for name, value in vars(answer).items()} for answer in asked.answers]
    return json.dumps({**asdict(asked), "answers": answers})


def from_json(line: str) -> Asked:
    """Return what ``as_json`` wrote.

    Raises:
        ArtifactError: it is something else.
    """
    try:
        found = json.loads(line)
        answers = [
            Answer(
                np.array(one["boxes"], np.float64).reshape(-1, 4),
                np.array(one["scores"], np.float64),
                np.array(one["labels"], np.int64),
            )
            for one in found["answers"]
        ]
        return Asked(found["processor"], found["kind"], found["versions"], answers)
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError("what came back is no answer") from error


def _as_answer(answer: object) -> Answer:
    if isinstance(answer, Answer):
        return answer
    return Answer(np.empty((0, 4)), np.asarray(answer, np.float64), np.empty(0, np.int64))


def _versions() -> dict[str, str]:
    found = {}
    for name in RUNTIMES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # an environment without OpenVINO still tries what ONNX Runtime runs
    return found
