"""Prediction of many rows, in batches of rows of similar length."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from toolchain.artifacts.model import Model
from toolchain.inference.predictor import Predictor
from toolchain.inference.prepared import Prepared
from toolchain.inference.runtime import Logits, Session
from toolchain.inference.tasks import Input, task_type

BATCH_SIZE = 32  # rows; larger batches are hardly faster on a CPU
MAX_PREPARED_ROWS = 10_000  # in memory at once


def predict(
    session: Session, input_: Input, values: Sequence[Any], batch_size: int = BATCH_SIZE, streams: int = 1
) -> Logits:
    """Return the logits of ``values``, float32 of shape (values, labels), in their order.

    Args:
        session: A classifier, opened for ``streams`` streams.
        input_: The model's input.
        values: As a dataset's column holds them.
        batch_size: Rows of a batch. Rows of similar length share one.
        streams: Batches that run at the same time, each in its thread.
    """
    prepared = input_.prepare(values)

    def run(batch: list[int]) -> list[Any]:
        return list(session.run(input_.stack([prepared[index] for index in batch])))

    lengths = [input_.length(row) for row in prepared]
    return np.asarray(np.stack(_by_length(lengths, run, batch_size, streams)), np.float32)


def predict_all(
    model: Model, parts: Iterable[Sequence[Any]], threads: int, sizes: Sequence[tuple[int, int]] | None = None
) -> tuple[list[Any], list[int]]:
    """Return the model's outputs for all values, unchecked, and their lengths.

    Args:
        model: It is opened with one thread for each of ``threads`` streams, or, if it takes one row at a time, with
            ``threads`` for each row.
        parts: The values, as a dataset's column holds them; each part is in memory at once.
        threads: Cores to use.
        sizes: Width and height of the images, if they differ from those of their files.
    """
    single = task_type(model).max_batch_size == 1
    streams = 1 if single else threads
    predictor = Predictor(model, threads if single else 1, streams)
    outputs: list[Any] = []
    lengths: list[int] = []
    for values in _pieces(parts, 1 if single else MAX_PREPARED_ROWS):
        rows = predictor.prepare(values)
        if sizes is not None:
            rows = [replace(row, size=size) for row, size in zip(rows, sizes[len(outputs) :], strict=False)]
        outputs += _run(predictor, rows, streams)
        lengths += [row.length for row in rows]
    return outputs, lengths


def _pieces(parts: Iterable[Sequence[Any]], size: int) -> Iterator[Sequence[Any]]:
    for part in parts:
        yield from (part[start : start + size] for start in range(0, len(part), size))


def _run(predictor: Predictor, rows: Sequence[Prepared], streams: int) -> list[Any]:
    def run(batch: list[int]) -> list[Any]:
        return predictor.run([rows[index] for index in batch])

    return _by_length([row.length for row in rows], run, BATCH_SIZE, streams)


def _by_length(
    lengths: Sequence[int], run: Callable[[list[int]], list[Any]], batch_size: int, streams: int
) -> list[Any]:
    """Return what ``run`` returns for the rows at each batch of indices, in the order of the rows."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    outputs: list[Any] = [None] * len(order)
    with ThreadPoolExecutor(streams) as threads:
        for batch, found in zip(batches, threads.map(run, batches), strict=True):
            for index, output in zip(batch, found, strict=True):
                outputs[index] = output
    return outputs
