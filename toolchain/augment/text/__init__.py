"""Augment text: add rewritten copies of some training rows that keep their meaning."""

import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from toolchain.artifacts.dataset import ROW, TEXT, Dataset, DatasetWriter, new_dataset, open_dataset
from toolchain.artifacts.provenance import Work
from toolchain.augment.text.rewriting import Copy, augment
from toolchain.augment.text.selection import TextSet, select
from toolchain.augment.text.settings import Config, Result
from toolchain.augment.text.tally import Tally
from toolchain.errors import DataError, ToolchainError
from toolchain.hardware.cpu import usable_cores
from toolchain.progress import Progress, log_info

__all__ = ["Config", "Copy", "Result", "augment", "run"]

AUGMENTED = "augmented"  # the column that is true for copies
TRAIN = "train"  # the only split that is augmented
TEXTS_PER_TASK = 250  # half a second of work, so that all workers finish at about the same time
MAX_BATCHES_AHEAD = 4  # read before the first is written: enough tasks for every worker, little memory
TEXTS_PER_WORKER = 2_000  # fewer are faster without another process, which takes 4 s to start

Tasks = list[Future[list[list[Copy]]]]


def run(dataset: Path, augmented: Path, config: Config) -> Result:
    """Write the dataset at ``dataset`` to ``augmented``, with copies of some training rows; other splits are unchanged.

    Every row gets a column ``augmented``. A copy keeps the other columns of its original, including label and row.

    Raises:
        ArtifactError: ``dataset`` is not a dataset, or was modified.
        DataError: it has no training split, no text or row column, or is already augmented.
    """
    source = open_dataset(dataset)
    _check(source)
    work = Work("augment.text", config, dataset=source)
    schema = source.schema.append(pa.field(AUGMENTED, pa.bool_()))
    with new_dataset(augmented, schema, work, labels=source.labels, parent=source) as writer:
        tally = _write_training(source, writer, config)
        for split in _other_splits(source):
            for batch in source.batches(split):
                writer.write(split, _with_flag(batch, False))
        result = tally.result(source.rows(TRAIN))
        _print_languages(tally)
        work.metrics |= {"copies": result.copies, "unchanged": result.unchanged}
        work.metrics |= {"in_other_splits": result.in_other_splits, "non_english": result.non_english}
        writer.note(tally.note(result))
    return result


def _print_languages(tally: Tally) -> None:
    rows = tally.languages.total()
    if rows:
        top = ", ".join(f"{language} ({count:,})" for language, count in tally.languages.most_common(3))
        log_info(f"augment: {rows:,} of the selected rows are not English and get no copy: {top}")


def _check(source: Dataset) -> None:
    source.require(TEXT, ROW)
    source.rows(TRAIN)  # raises an error for a dataset without splits
    if not pa.types.is_string(source.schema.field(TEXT).type):
        raise DataError(f"column {TEXT!r} of {source.path} holds {source.schema.field(TEXT).type}, expected text")
    if not pa.types.is_integer(source.schema.field(ROW).type):
        raise DataError(f"column {ROW!r} of {source.path} holds {source.schema.field(ROW).type}, expected row numbers")
    if AUGMENTED in source.schema.names:
        raise DataError(f"{source.path} is already augmented; use the dataset that it was made from")


def _write_training(source: Dataset, writer: DatasetWriter, config: Config) -> Tally:
    tally = Tally(TextSet(() if config.changes_nothing else _held_out_texts(source)))
    rows = source.rows(TRAIN)
    with Progress("augment", rows, "rows") as progress, _worker_pool(rows, config) as pool:
        for batch, selected, copies in _with_copies(source.batches(TRAIN), pool, config):
            writer.write(TRAIN, _with_flag(batch, False))
            if accepted := list(_accepted(batch, selected, copies, tally)):
                writer.write(TRAIN, _copy_rows(batch, accepted))
            progress.advance(batch.num_rows)
    return tally


@contextmanager
def _worker_pool(rows: int, config: Config) -> Iterator[ProcessPoolExecutor | None]:
    """Yield a pool of workers for ``rows`` training rows; None if one process is fastest."""
    processes = min(config.workers or usable_cores(), int(rows * config.fraction * config.copies) // TEXTS_PER_WORKER)
    if processes < 2:
        yield None
        return
    # spawn, because a fork would copy the locks of Arrow's threads in an arbitrary state
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        try:
            yield pool
        except BrokenProcessPool as error:
            raise ToolchainError(
                f"a worker process was killed, possibly out of memory; set workers below {processes}"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _with_copies(
    batches: Iterable[pa.RecordBatch], pool: ProcessPoolExecutor | None, config: Config
) -> Iterator[tuple[pa.RecordBatch, list[int], list[list[Copy]]]]:
    """Yield each batch, the indices of its selected rows, and their copies, in order."""
    submitted: deque[tuple[pa.RecordBatch, list[int], Tasks]] = deque()
    for batch in batches:
        selected = _selected_rows(batch, config)
        submitted.append((batch, selected, [_submit(part, pool, config) for part in _parts(batch, selected)]))
        if len(submitted) > MAX_BATCHES_AHEAD:
            yield _completed(*submitted.popleft())
    while submitted:
        yield _completed(*submitted.popleft())


def _completed(
    batch: pa.RecordBatch, selected: list[int], tasks: Tasks
) -> tuple[pa.RecordBatch, list[int], list[list[Copy]]]:
    return batch, selected, [copies for task in tasks for copies in task.result()]


def _parts(batch: pa.RecordBatch, selected: list[int]) -> Iterator[tuple[list[int], list[str]]]:
    for start in range(0, len(selected), TEXTS_PER_TASK):
        part = batch.take(pa.array(selected[start : start + TEXTS_PER_TASK]))
        yield part.column(ROW).to_pylist(), part.column(TEXT).to_pylist()


def _submit(
    part: tuple[list[int], list[str]], pool: ProcessPoolExecutor | None, config: Config
) -> Future[list[list[Copy]]]:
    if pool:
        return pool.submit(augment, *part, config)
    completed: Future[list[list[Copy]]] = Future()
    completed.set_result(augment(*part, config))
    return completed


def _selected_rows(batch: pa.RecordBatch, config: Config) -> list[int]:
    """Return the indices of the rows to copy; the selection depends on row numbers and the seed alone."""
    if config.changes_nothing:
        return []
    selected = select(batch.column(ROW).to_numpy(zero_copy_only=False), config.fraction, config.seed)
    has_text = pc.is_valid(batch.column(TEXT)).to_numpy(zero_copy_only=False)
    indices: list[int] = np.flatnonzero(selected & has_text).tolist()
    return indices


def _accepted(
    batch: pa.RecordBatch, selected: list[int], copies: list[list[Copy]], tally: Tally
) -> Iterator[tuple[int, str]]:
    """Yield the index of the original and the text of each copy to write."""
    originals = batch.take(pa.array(selected, pa.int64()))
    rows, texts = originals.column(ROW).to_pylist(), originals.column(TEXT).to_pylist()
    for index, row, text, candidates in zip(selected, rows, texts, copies, strict=True):
        existing = {text}
        for copy in candidates:
            if tally.accept(row, text, copy, existing):
                existing.add(copy.text)
                yield index, copy.text


def _copy_rows(batch: pa.RecordBatch, accepted: list[tuple[int, str]]) -> pa.RecordBatch:
    """Return the rows of ``batch`` at the ``accepted`` indices with their new texts."""
    rows = batch.take(pa.array([index for index, _ in accepted], pa.int64()))
    texts = pa.array([text for _, text in accepted], batch.schema.field(TEXT).type)
    return _with_flag(rows.set_column(batch.schema.get_field_index(TEXT), TEXT, texts), True)


def _with_flag(batch: pa.RecordBatch, augmented: bool) -> pa.RecordBatch:
    return batch.append_column(AUGMENTED, pa.array(np.full(batch.num_rows, augmented)))


def _held_out_texts(source: Dataset) -> Iterator[str | None]:
    for split in _other_splits(source):
        for batch in source.batches(split, [TEXT]):
            yield from batch.column(TEXT).to_pylist()


def _other_splits(source: Dataset) -> list[str]:
    return [split for split in source.splits if split != TRAIN]
