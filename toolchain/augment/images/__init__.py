"""Augment images: add changed copies of some training images; boxes, polygons and masks are transformed with them."""

import multiprocessing
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
from toolchain.artifacts.image import IMAGE_TYPE, OBJECTS_TYPE
from toolchain.artifacts.provenance import Work
from toolchain.augment.images.batch import Copies, augment, engine_of
from toolchain.augment.images.policy import text_of
from toolchain.augment.images.settings import Config, Result
from toolchain.augment.images.tally import Tally
from toolchain.errors import DataError, ToolchainError
from toolchain.hardware.cpu import usable_cores
from toolchain.progress import Progress

__all__ = ["Config", "Result", "augment", "run"]

AUGMENTED = "augmented"  # the column that is true for copies
TRAIN = "train"  # the only split that is augmented
IMAGES_PER_BATCH = 64  # for a worker at a time; the images of a mosaic come from one batch
MAX_BATCHES_AHEAD = 2  # per worker, read before the first is written


def run(dataset: Path, augmented: Path, config: Config) -> Result:
    """Write the dataset at ``dataset`` to ``augmented``, with copies of some training rows; other splits are unchanged.

    Every row gets a column ``augmented``. A copy keeps the columns of its original, including label and row, except for
    the image, its size and its objects.

    Raises:
        ArtifactError: ``dataset`` is not a dataset, or was modified.
        ConfigError: the policy is not valid, or changes labels.
        DataError: there are no images or no training rows, the policy loses every box, or an image is damaged.
    """
    config = replace(config, policy=text_of(config.policy))
    source = open_dataset(dataset)
    _check(source, config)
    work = Work("augment.images", config, dataset=source)
    schema = source.schema.append(pa.field(AUGMENTED, pa.bool_()))
    with new_dataset(augmented, schema, work, labels=source.labels, parent=source) as writer:
        tally = _write_training(source, writer, config)
        for split in (split for split in source.splits if split != TRAIN):
            for batch in source.batches(split, rows=IMAGES_PER_BATCH):
                writer.write(split, _with_flag(batch, False))
        result = tally.result(source.rows(TRAIN))
        work.metrics |= {name: value for name, value in asdict(result).items() if name != "rows"}
        writer.note(tally.note(result))
    return result


def _check(source: Dataset, config: Config) -> None:
    if IMAGE not in source.schema.names or source.schema.field(IMAGE).type != IMAGE_TYPE:
        raise DataError(
            f"{source.path} has no images in a column {IMAGE!r}, its columns are {', '.join(source.schema.names)}; "
            "read images with data.images or data.annotations"
        )
    source.require(ROW)
    if AUGMENTED in source.schema.names:
        raise DataError(f"{source.path} is already augmented; use the dataset that it was made from")
    if not source.rows(TRAIN):
        raise DataError(f"{source.path} has no rows in its {TRAIN} split; add training rows")
    engine = engine_of(config)
    if config.flip_changes_label:
        engine.check_preserves_labels()
    if OBJECTS in source.schema.names and source.schema.field(OBJECTS).type != OBJECTS_TYPE:
        raise DataError(f"column {OBJECTS!r} of {source.path} holds {source.schema.field(OBJECTS).type}, not objects")


def _write_training(source: Dataset, writer: DatasetWriter, config: Config) -> Tally:
    tally = Tally(engine_of(config), config.max_boxes_lost)
    rows = source.rows(TRAIN)
    with Progress("augment", rows, "rows") as progress, _worker_pool(rows, config) as pool:
        for batch, copies in _with_copies(source.batches(TRAIN, rows=IMAGES_PER_BATCH), pool, config):
            writer.write(TRAIN, _with_flag(batch, False))
            if copies.rows.num_rows:
                writer.write(TRAIN, _with_flag(copies.rows, True))
            tally.add(batch, copies)
            progress.advance(batch.num_rows)
    return tally


@contextmanager
def _worker_pool(rows: int, config: Config) -> Iterator[tuple[ProcessPoolExecutor, int] | None]:
    """Yield a pool of workers for ``rows`` training rows, and their number; None if one process is enough."""
    batches = -(-rows // IMAGES_PER_BATCH) if config.copies * config.fraction else 0
    processes = min(config.workers or usable_cores(), batches)
    if processes < 2:
        yield None
        return
    # spawn, because a fork would copy the locks of Arrow's threads in an arbitrary state
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_use_one_thread) as pool:
        try:
            yield pool, processes
        except BrokenProcessPool as error:
            raise ToolchainError(
                f"a worker process was killed, possibly out of memory; set workers below {processes}"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _use_one_thread() -> None:
    """Limit OpenCV to one thread: there is one worker per CPU core."""
    import cv2

    cv2.setNumThreads(1)


def _with_copies(
    batches: Iterable[pa.RecordBatch], pool: tuple[ProcessPoolExecutor, int] | None, config: Config
) -> Iterator[tuple[pa.RecordBatch, Copies]]:
    """Yield each batch with its copies, in order, while the pool works on the next batches."""
    if not config.copies * config.fraction:
        yield from ((batch, Copies(batch.slice(0, 0))) for batch in batches)
        return
    if pool is None:
        yield from ((batch, augment(batch, config)) for batch in batches)
        return
    executor, processes = pool
    submitted: deque[tuple[pa.RecordBatch, Future[Copies]]] = deque()
    for batch in batches:
        submitted.append((batch, executor.submit(augment, batch, config)))
        if len(submitted) > MAX_BATCHES_AHEAD * processes:
            first, future = submitted.popleft()
            yield first, future.result()
    for first, future in submitted:
        yield first, future.result()


def _with_flag(batch: pa.RecordBatch, augmented: bool) -> pa.RecordBatch:
    return batch.append_column(AUGMENTED, pa.array(np.full(batch.num_rows, augmented)))
