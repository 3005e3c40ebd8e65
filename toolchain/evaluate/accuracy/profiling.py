"""Profiling: what the measured rows look like and what each variant answered to them, for those who watch it serve."""

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from toolchain.artifacts.columns import TEXT
from toolchain.artifacts.dataset import Dataset
from toolchain.artifacts.model import Model
from toolchain.artifacts.profile import Profile, write_profile
from toolchain.artifacts.variants import Variants
from toolchain.evaluate.accuracy.classifiers import PREDICTIONS
from toolchain.evaluate.accuracy.recording import FOLDER
from toolchain.inference.features import (
    Described,
    Numbers,
    Vocabulary,
    columns,
    count_tokens,
    describe,
    describe_answer,
)
from toolchain.inference.predictor import Prepared, softmax, upright_size
from toolchain.inference.preprocessing import Preprocessor, Texts, preprocessor_of
from toolchain.metrics.detections.table import read_table

ROWS = 4_000  # described at most: more would hardly sharpen a comparison with a window of some hundred rows
LEARNED = "train"  # the split whose tokens are counted
LEARNED_ROWS = 20_000  # of it at most: the shares of common tokens no longer change


def record_profiles(models: Variants, data: Dataset, split: str, folder: Path, threshold: float = 0.5) -> None:
    """Write a profile of ``split`` for each of ``models`` beside its expected answers, from its answers in ``folder``.

    Tokens are counted in rows that are not described, since a row's own tokens never surprise: in those for training
    or, where there are none, in the first half of ``split``. ``threshold`` is a detector's best score.
    """
    preprocessor = preprocessor_of(models.reference)
    places = _places(data, split, preprocessor)
    counts = _counts(data, split, preprocessor)
    vocabulary = Vocabulary(counts) if counts else None
    rows = [_described(value, preprocessor, vocabulary) for value in _values(data, split, preprocessor.column, places)]
    for name, model in models.models.items():
        answers = _answers(folder, model, places, threshold)
        profile = Profile(
            model=model.digest,
            split=split,
            numbers=columns([{**row, **answer.numbers} for row, answer in zip(rows, answers, strict=True)]),
            labels=tuple(answer.label for answer in answers),
            tokens=counts,
            threshold=threshold,
        )
        write_profile(folder / FOLDER / name, profile)


def _places(data: Dataset, split: str, preprocessor: Preprocessor) -> list[int]:
    """Return the places in ``split`` of the rows that are described."""
    rows = data.rows(split)
    first = rows // 2 if preprocessor.column == TEXT and not _has_learned(data, split) else 0
    count = min(ROWS, rows - first)
    return [first + place * (rows - first) // count for place in range(count)]


def _has_learned(data: Dataset, split: str) -> bool:
    return split != LEARNED and bool(data.splits.get(LEARNED)) and data.rows(LEARNED) > 0


def _counts(data: Dataset, split: str, preprocessor: Preprocessor) -> tuple[int, ...]:
    if preprocessor.column != TEXT:
        return ()
    learned = _has_learned(data, split)
    parts = (batch.column(TEXT).to_pylist() for batch in data.batches(LEARNED if learned else split, [TEXT]))
    texts = islice(chain.from_iterable(parts), LEARNED_ROWS if learned else data.rows(split) // 2)
    return tuple(count_tokens(preprocessor.prepare([text])[0] for text in texts).tolist())


def _values(data: Dataset, split: str, column: str, places: list[int]) -> Iterator[Any]:
    wanted, first = set(places), 0
    for batch in data.batches(split, [column]):
        values = batch.column(column)
        yield from (values[place - first].as_py() for place in range(first, first + len(values)) if place in wanted)
        first += len(values)


def _described(value: Any, preprocessor: Preprocessor, vocabulary: Vocabulary | None) -> Numbers:
    (prepared,) = preprocessor.prepare([value])
    row = Prepared(prepared, preprocessor.length(prepared))
    if isinstance(preprocessor, Texts):
        return describe(row, preprocessor.read(value), None, vocabulary)
    return describe(row, None, upright_size(value))


def _answers(folder: Path, model: Model, places: list[int], threshold: float) -> list[Described]:
    """Return what ``model`` answered to the rows at ``places``, from the file of all answers in ``folder``."""
    table: pa.Table = pq.read_table(folder / PREDICTIONS, filters=[("variant", "=", model.variant)]).take(places)
    if "logits" in table.schema.names:
        answers: list[Any] = list(softmax(np.array(table.column("logits").to_pylist(), np.float32)))
    else:
        answers = read_table(table)[1]
    return [describe_answer(answer, model.signature.labels, threshold) for answer in answers]
