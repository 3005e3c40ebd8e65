"""Augment pictures: more training rows, by changing some pictures so that they show the same, boxes and masks too."""

import multiprocessing
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from toolchain.artifacts.dataset import IMAGE, OBJECTS, ROW, Dataset, DatasetWriter, new_dataset, open_dataset
from toolchain.artifacts.picture import IMAGE_TYPE, OBJECTS_TYPE
from toolchain.artifacts.provenance import Work
from toolchain.augment.images.batch import Made, augment, engine_of
from toolchain.augment.images.policy import text_of
from toolchain.augment.images.settings import Config, Result
from toolchain.augment.images.tally import Tally
from toolchain.errors import DataError, ToolchainError
from toolchain.progress import Progress

__all__ = ["Config", "Result", "augment", "run"]

AUGMENTED = "augmented"  # the column that is true for changed rows
TRAIN = "train"  # the one split that is changed
PICTURES_PER_BATCH = 64  # that a worker takes at a time; a mosaic's parts come from one batch
BATCHES_AHEAD = 2  # for each worker, that are read before the first is written


def run(dataset: Path, augmented: Path, config: Config) -> Result:
    """Write the dataset at ``dataset`` to ``augmented``, with copies of some training rows; other splits as they are.

    Every row gets a column ``augmented``, and a copy keeps the columns of its original, label and row included, but for
    the picture, its size and its objects.

    Raises:
        ArtifactError: ``dataset`` is no dataset, or was changed.
        ConfigError: the policy does not work, or changes labels.
        DataError: there are no pictures or no training rows, the policy loses every box, a picture is damaged.
    """
    config = replace(config, policy=text_of(config.policy))
    source = open_dataset(dataset)
    _check(source, config)
    work = Work("augment.images", config, dataset=source)
    schema = source.schema.append(pa.field(AUGMENTED, pa.bool_()))
    with new_dataset(augmented, schema, work, labels=source.labels, parent=source) as writer:
        tally = _write_training(source, writer, config)
        for split in (split for split in source.splits if split != TRAIN):
            for batch in source.batches(split, rows=PICTURES_PER_BATCH):
                writer.write(split, _marked(batch, False))
        result = tally.result(source.rows(TRAIN))
        work.metrics |= {name: value for name, value in asdict(result).items() if name != "rows"}
        writer.note(tally.note(result))
    return result


def _check(source: Dataset, config: Config) -> None:
    if IMAGE not in source.schema.names or source.schema.field(IMAGE).type != IMAGE_TYPE:
        raise DataError(
            f"{source.path} has no pictures in a column {IMAGE!r}; it has {', '.join(source.schema.names)}: "
            "read pictures with data.pictures or data.annotations"
        )
    source.require(ROW)
    if AUGMENTED in source.schema.names:
        raise DataError(f"{source.path} was augmented before; take the dataset that it was made from")
    if not source.rows(TRAIN):
        raise DataError(f"{source.path} has no rows in its {TRAIN} split; this step needs some")
    engine = engine_of(config)
    if config.mirror_changes_label:
        engine.refuse_mirrors()
    if OBJECTS in source.schema.names and source.schema.field(OBJECTS).type != OBJECTS_TYPE:
        raise DataError(f"column {OBJECTS!r} of {source.path} holds {source.schema.field(OBJECTS).type}, no objects")


def _write_training(source: Dataset, writer: DatasetWriter, config: Config) -> Tally:
    tally = Tally(engine_of(config), config.most_boxes_lost)
    rows = source.rows(TRAIN)
    with Progress("augment", rows, "rows") as progress, _workers(rows, config) as pool:
        for batch, made in _made(source.batches(TRAIN, rows=PICTURES_PER_BATCH), pool, config):
            writer.write(TRAIN, _marked(batch, False))
            if made.rows.num_rows:
                writer.write(TRAIN, _marked(made.rows, True))
            tally.add(batch, made)
            progress.advance(batch.num_rows)
    return tally


@contextmanager
def _workers(rows: int, config: Config) -> Iterator[tuple[ProcessPoolExecutor, int] | None]:
    """Yield the worker processes that ``rows`` training rows are worth, and their number; None when this one does."""
    batches = -(-rows // PICTURES_PER_BATCH) if config.copies * config.share else 0
    processes = min(config.workers or _processors(), batches)
    if processes < 2:
        yield None
        return
    # spawn: a fork would copy the locks of Arrow's threads in whatever state they are
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_alone) as pool:
        try:
            yield pool, processes
        except BrokenProcessPool as error:
            raise ToolchainError(
                f"a worker was killed, out of memory perhaps; lower workers, now {processes}"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _alone() -> None:
    """Keep a worker to one processor: there is one worker for each."""
    import cv2

    cv2.setNumThreads(1)


def _made(
    batches: Iterable[pa.RecordBatch], pool: tuple[ProcessPoolExecutor, int] | None, config: Config
) -> Iterator[tuple[pa.RecordBatch, Made]]:
    """Yield each batch and its copies, in order, with a few batches under way."""
    if not config.copies * config.share:
        yield from ((batch, Made(batch.slice(0, 0))) for batch in batches)
        return
    if pool is None:
        yield from ((batch, augment(batch, config)) for batch in batches)
        return
    executor, processes = pool
    under_way: deque[tuple[pa.RecordBatch, Future[Made]]] = deque()
    for batch in batches:
        under_way.append((batch, executor.submit(augment, batch, config)))
        if len(under_way) > BATCHES_AHEAD * processes:
            done, future = under_way.popleft()
            yield done, future.result()
    for done, future in under_way:
        yield done, future.result()


def _marked(batch: pa.RecordBatch, augmented: bool) -> pa.RecordBatch:
    return batch.append_column(AUGMENTED, pa.array(np.full(batch.num_rows, augmented)))


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
