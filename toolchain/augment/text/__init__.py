"""Augment text: more training rows, by rewriting some of them so that they say the same in other words."""

import multiprocessing
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from toolchain.artifacts.dataset import ROW, TEXT, Dataset, DatasetWriter, new_dataset, open_dataset
from toolchain.artifacts.provenance import Work
from toolchain.augment.text.choice import Texts, choose
from toolchain.augment.text.operations import (
    Word,
    agree_articles,
    delete_words,
    insert_words,
    joined,
    replace_words,
    swap_words,
)
from toolchain.errors import ConfigError, DataError, ToolchainError
from toolchain.progress import Progress, say

AUGMENTED = "augmented"  # the column that is true for rewritten rows
TRAIN = "train"  # the one split that is rewritten
ATTEMPTS = 8  # at a copy until something is done to it: EDA changes one word at least
EXAMPLES = 12  # copies that the report shows beside their originals
TEXTS_PER_TASK = 250  # that a worker takes at a time: half a second, so that all end together
BATCHES_AHEAD = 4  # that are read before the first is written: enough tasks for every worker, little memory
TEXTS_PER_WORKER = 2_000  # fewer are done sooner without another process, which takes 4 s to be ready


@dataclass(frozen=True, kw_only=True)
class Config:
    copies: int = 1  # rewritten copies of each chosen row, 0..20; 0 leaves the dataset as it is
    share: float = 0.1  # of the training rows that are chosen, 0..1; a copy costs as much training time as a row
    synonyms: float = 0.3  # chance that a word with a good synonym is replaced; about one word in ten has one
    insertion: float = 0.05  # chance that an adjective or adverb gets a synonym beside it
    swap: float = 0.03  # chance that two neighbours change places; below EDA's 0.1, for all four work on one copy here
    deletion: float = 0.05  # chance that an article or adverb goes
    protected: list[str] = field(default_factory=list)  # words that stay as they are, in any case
    seed: int = 0  # the same seed makes the same copies, whatever the number of workers
    workers: int = 0  # processes; 0: one for each processor; at most one for every TEXTS_PER_WORKER copies

    def __post_init__(self) -> None:
        if not 0 <= self.copies <= 20:
            raise ConfigError(f"copies must be 0 to 20, got {self.copies}")
        for name in ("share", "synonyms", "insertion", "swap", "deletion"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        if not all(isinstance(word, str) and word.strip() for word in self.protected):
            raise ConfigError(f"protected must list words, got {self.protected!r}")
        if self.workers < 0:
            raise ConfigError(f"workers must be 0 (one for each processor) or more, got {self.workers}")


@dataclass(frozen=True)
class Result:
    rows: int  # training rows read
    copies: int  # rows added
    unchanged: int  # copies not added: nothing was done to them, or the same as another copy of their row
    held_out: int  # copies not added: they say what a row of another split says
    not_english: int  # chosen rows without copies: the dictionary and the tagger are of English alone


@dataclass(frozen=True)
class Copy:
    """A text in other words."""

    text: str
    operations: tuple[str, ...]  # what was done, in order: "synonym: film → movie"; empty when nothing was
    language: str = ""  # of a text that was left as it is because it is not in English


def augment(rows: Iterable[int], texts: Iterable[str], config: Config) -> list[list[Copy]]:
    """Return ``config.copies`` copies of each of ``texts``, some perhaps unchanged; of one that is not in English one
    that says so.

    What is done to a text depends on it, its row number and the seed alone.

    Raises:
        DataError: a package that carries the dictionary or the tagger is missing.
    """
    from toolchain.augment.text.language import ENGLISH, language_of, read

    given = [(row, text, language_of(text)) for row, text in zip(rows, texts, strict=True)]
    english = [text for _, text, language in given if language == ENGLISH]
    words = iter(list(read(english, config.protected)) if english else [])  # without any, nothing is loaded
    return [
        _copies(next(words), row, config) if language == ENGLISH else [Copy(text, (), language)]
        for row, text, language in given
    ]


def _copies(words: list[Word], row: int, config: Config) -> list[Copy]:
    return [_rewrite(words, Random(f"{config.seed}/{row}/{copy}"), config) for copy in range(config.copies)]


def run(dataset: Path, augmented: Path, config: Config) -> Result:
    """Write the dataset at ``dataset`` to ``augmented``, with copies of some training rows; other splits as they are.

    Every row gets a column ``augmented``, and a copy keeps the other columns of its original, label and row included.

    Raises:
        ArtifactError: ``dataset`` is no dataset, or was changed.
        DataError: it has no training split, no text or row column, or was augmented before.
    """
    source = open_dataset(dataset)
    _check(source)
    work = Work("augment.text", config, dataset=source)
    schema = source.schema.append(pa.field(AUGMENTED, pa.bool_()))
    with new_dataset(augmented, schema, work, labels=source.labels, parent=source) as writer:
        tally = _write_training(source, writer, config)
        for split in _others(source):
            for batch in source.batches(split):
                writer.write(split, _marked(batch, False))
        result = Result(source.rows(TRAIN), tally.copies, tally.unchanged, tally.held_out, tally.languages.total())
        _print_languages(tally)
        work.metrics |= {"copies": result.copies, "unchanged": result.unchanged, "held_out": result.held_out}
        work.metrics["not_english"] = result.not_english
        writer.note({"examples": tally.examples, "counts": asdict(result) | tally.operations})
    return result


class _Tally:
    """What was written, as it is counted."""

    def __init__(self, forbidden: Texts) -> None:
        self.copies = self.unchanged = self.held_out = 0
        self.operations: Counter[str] = Counter()
        self.languages: Counter[str] = Counter()  # rows that are not in English
        self.examples: list[dict[str, Any]] = []
        self._forbidden = forbidden

    def takes(self, row: int, before: str, copy: Copy, others: set[str]) -> bool:
        """Return whether ``copy`` is to be written, and count it."""
        if copy.language:
            self.languages[copy.language] += 1
        elif copy.text in others:
            self.unchanged += 1
        elif copy.text in self._forbidden:
            self.held_out += 1
        else:
            self.copies += 1
            self.operations.update(operation.split(":")[0] for operation in copy.operations)
            if len(self.examples) < EXAMPLES:
                shown = {"row": row, "before": before, "after": copy.text, "operations": list(copy.operations)}
                self.examples.append(shown)
            return True
        return False


def _print_languages(tally: _Tally) -> None:
    rows = tally.languages.total()
    if rows:
        most = ", ".join(f"{language} ({count:,})" for language, count in tally.languages.most_common(3))
        say(f"augment: {rows:,} of the chosen rows are not in English and get no copy: {most}")


def _check(source: Dataset) -> None:
    source.require(TEXT, ROW)
    source.rows(TRAIN)  # refuses a dataset that was not split
    if not pa.types.is_string(source.schema.field(TEXT).type):
        raise DataError(f"column {TEXT!r} of {source.path} holds {source.schema.field(TEXT).type}, text is needed")
    if not pa.types.is_integer(source.schema.field(ROW).type):
        raise DataError(
            f"column {ROW!r} of {source.path} holds {source.schema.field(ROW).type}, row numbers are needed"
        )
    if AUGMENTED in source.schema.names:
        raise DataError(f"{source.path} was augmented before; take the dataset that it was made from")


def _write_training(source: Dataset, writer: DatasetWriter, config: Config) -> _Tally:
    tally = _Tally(Texts(() if _changes_nothing(config) else _held_out(source)))
    rows = source.rows(TRAIN)
    with Progress("augment", rows, "rows") as progress, _workers(rows, config) as pool:
        for batch, places, copies in _rewritten(source.batches(TRAIN), pool, config):
            writer.write(TRAIN, _marked(batch, False))
            if taken := list(_taken(batch, places, copies, tally)):
                writer.write(TRAIN, _copied(batch, taken))
            progress.advance(batch.num_rows)
    return tally


@contextmanager
def _workers(rows: int, config: Config) -> Iterator[ProcessPoolExecutor | None]:
    """Yield the worker processes that ``rows`` training rows are worth; None when this one does them best alone."""
    processes = min(config.workers or _processors(), int(rows * config.share * config.copies) // TEXTS_PER_WORKER)
    if processes < 2:
        yield None
        return
    # spawn: a fork would copy the locks of Arrow's threads in whatever state they are
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        try:
            yield pool
        except BrokenProcessPool as error:
            raise ToolchainError(
                f"a worker was killed, out of memory perhaps; lower workers, now {processes}"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _rewritten(
    batches: Iterable[pa.RecordBatch], pool: ProcessPoolExecutor | None, config: Config
) -> Iterator[tuple[pa.RecordBatch, list[int], list[list[Copy]]]]:
    """Yield each batch, the places of its chosen rows, and their copies, in order, with a few batches under way."""
    under_way: deque[tuple[pa.RecordBatch, list[int], list[Future[list[list[Copy]]]]]] = deque()
    for batch in batches:
        places = _chosen(batch, config)
        under_way.append((batch, places, [_task(part, pool, config) for part in _parts(batch, places)]))
        if len(under_way) > BATCHES_AHEAD:
            yield _gathered(*under_way.popleft())
    while under_way:
        yield _gathered(*under_way.popleft())


def _gathered(
    batch: pa.RecordBatch, places: list[int], tasks: list[Future[list[list[Copy]]]]
) -> tuple[pa.RecordBatch, list[int], list[list[Copy]]]:
    return batch, places, [copies for task in tasks for copies in task.result()]


def _parts(batch: pa.RecordBatch, places: list[int]) -> Iterator[tuple[list[int], list[str]]]:
    for start in range(0, len(places), TEXTS_PER_TASK):
        part = batch.take(pa.array(places[start : start + TEXTS_PER_TASK]))
        yield part.column(ROW).to_pylist(), part.column(TEXT).to_pylist()


def _task(
    part: tuple[list[int], list[str]], pool: ProcessPoolExecutor | None, config: Config
) -> Future[list[list[Copy]]]:
    if pool:
        return pool.submit(augment, *part, config)
    done: Future[list[list[Copy]]] = Future()
    done.set_result(augment(*part, config))
    return done


def _chosen(batch: pa.RecordBatch, config: Config) -> list[int]:
    """Return the places of the rows that get copies, each chosen by its row number and the seed alone."""
    if _changes_nothing(config):
        return []
    chosen = choose(batch.column(ROW).to_numpy(zero_copy_only=False), config.share, config.seed)
    has_text = pc.is_valid(batch.column(TEXT)).to_numpy(zero_copy_only=False)
    places: list[int] = np.flatnonzero(chosen & has_text).tolist()
    return places


def _rewrite(words: list[Word], chance: Random, config: Config) -> Copy:
    from toolchain.augment.text.language import synonyms

    steps = (
        partial(replace_words, rate=config.synonyms, choices=synonyms),
        partial(insert_words, rate=config.insertion, choices=synonyms),
        partial(swap_words, rate=config.swap),
        partial(delete_words, rate=config.deletion),
    )
    original = joined(words)
    for _ in range(ATTEMPTS):
        result, operations = words, list[str]()
        for step in steps:
            result, done = step(result, chance=chance)
            operations += done
        text = joined(agree_articles(result, words))
        if text != original:
            return Copy(text, tuple(operations))
    return Copy(original, ())


def _taken(
    batch: pa.RecordBatch, places: list[int], copies: list[list[Copy]], tally: _Tally
) -> Iterator[tuple[int, str]]:
    """Yield the place of the original and the text of each copy that is to be written."""
    chosen = batch.take(pa.array(places, pa.int64()))
    originals = zip(places, chosen.column(ROW).to_pylist(), chosen.column(TEXT).to_pylist(), copies, strict=True)
    for place, row, text, several in originals:
        others = {text}
        for copy in several:
            if tally.takes(row, text, copy, others):
                others.add(copy.text)
                yield place, copy.text


def _copied(batch: pa.RecordBatch, taken: list[tuple[int, str]]) -> pa.RecordBatch:
    """Return the rows of ``batch`` at the places ``taken`` with their new texts."""
    rows = batch.take(pa.array([place for place, _ in taken], pa.int64()))
    texts = pa.array([text for _, text in taken], batch.schema.field(TEXT).type)
    return _marked(rows.set_column(batch.schema.get_field_index(TEXT), TEXT, texts), True)


def _marked(batch: pa.RecordBatch, augmented: bool) -> pa.RecordBatch:
    return batch.append_column(AUGMENTED, pa.array(np.full(batch.num_rows, augmented)))


def _changes_nothing(config: Config) -> bool:
    return not config.copies * config.share * (config.synonyms + config.insertion + config.swap + config.deletion)


def _held_out(source: Dataset) -> Iterator[str | None]:
    for split in _others(source):
        for batch in source.batches(split, [TEXT]):
            yield from batch.column(TEXT).to_pylist()


def _others(source: Dataset) -> list[str]:
    return [split for split in source.splits if split != TRAIN]


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
