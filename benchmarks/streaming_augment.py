"""Augment 100 k, 1 M and 3 M rows, each in a fresh process: seconds, their ratio, peak memory of its largest process.

Target: a table 10 times larger takes at most 11 times longer, with constant peak memory. One training row in a
hundred gets a copy, so that the benchmark takes a few minutes: all rows are read and written, up to 30,000 rewritten.
Usage: python benchmarks/streaming_augment.py [ROWS]...
"""

import csv
import gzip
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from toolchain.artifacts.dataset import ROWS_PER_BATCH, new_dataset
from toolchain.artifacts.provenance import Work

SAMPLE = Path(__file__).parents[1] / "samples/movie_reviews.csv.gz"
SIZES = (100_000, 1_000_000, 3_000_000)  # training rows
HELD_OUT = 0.1  # rows of the test split for each training row
SHARE = 0.01  # of the training rows that get a copy
MAX_TIME_GROWTH = 1.1  # relative to the growth of the table: 11 times for 10 times larger
MAX_MEMORY_GROWTH = 1.3  # from the smallest to the largest table; reading it whole would take a multiple
CHILD = """
import sys, time
from pathlib import Path
began = time.perf_counter()
from toolchain.augment.text import Config, run
if __name__ == "__main__":  # its workers read this file too
    result = run(Path(sys.argv[1]), Path(sys.argv[2]), Config(fraction=float(sys.argv[3])))
    print(f"copies {result.copies} seconds {time.perf_counter() - began}")
"""


@dataclass(frozen=True)
class Measured:
    copies: int
    seconds: float  # with the start of the tagger and the dictionary
    peak_bytes: int  # resident, of the largest of its processes


def main(sizes: tuple[int, ...]) -> int:
    print(
        f"{'rows':>12}{'copies':>9}{'seconds':>10}{'rows/s':>10}{'peak MB':>9}{'times larger':>14}{'times longer':>14}"
    )
    failed = False
    with tempfile.TemporaryDirectory(prefix="streaming-") as folder:
        first: Measured | None = None
        for rows in sizes:
            measured = measure(rows, Path(folder))
            first = first or measured
            failed |= not show(rows, measured, sizes[0], first)
    print("target: 10 times larger takes at most 11 times longer; peak memory at most 1.3 times that of the smallest")
    return int(failed)


def show(rows: int, measured: Measured, first_rows: int, first: Measured) -> bool:
    """Print one line and return whether the target is met."""
    larger, longer = rows / first_rows, measured.seconds / first.seconds
    grown = measured.peak_bytes / first.peak_bytes
    kept = longer <= max(larger * MAX_TIME_GROWTH, 1) and grown <= MAX_MEMORY_GROWTH
    print(
        f"{rows:>12,}{measured.copies:>9,}{measured.seconds:>10.1f}{rows / measured.seconds:>10,.0f}"
        f"{measured.peak_bytes / 1e6:>9.0f}{larger:>14.0f}{longer:>14.1f}  {'met' if kept else 'MISSED'}",
        flush=True,
    )
    return kept


def measure(rows: int, folder: Path) -> Measured:
    """Augment ``rows`` training rows in a separate process."""
    source, target, script = folder / f"in-{rows}", folder / f"out-{rows}", folder / "child.py"
    write_dataset(source, rows)
    script.write_text(CHILD, encoding="utf-8")
    root = str(Path(__file__).parents[1])
    child = subprocess.Popen(
        [sys.executable, script, source, target, str(SHARE)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert child.stdout is not None
    printed = child.stdout.read().split()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit("augment failed")
    shutil.rmtree(source)
    shutil.rmtree(target)
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Measured(int(printed[printed.index("copies") + 1]), float(printed[printed.index("seconds") + 1]), peak)


def write_dataset(path: Path, rows: int) -> None:
    """Write a dataset of ``rows`` training texts, each of halves of two real snippets."""
    with gzip.open(SAMPLE, "rt", encoding="utf-8") as file:
        halves = [half for row in csv.DictReader(file) for half in _halves(row["text"])]
    schema = pa.schema({"text": pa.string(), "label": pa.int64(), "row": pa.int64()})
    with new_dataset(path, schema, Work("benchmark.make", None), labels=("negative", "positive")) as writer:
        held_out = int(rows * HELD_OUT)
        for split, start, stop in (("train", 0, rows), ("test", rows, rows + held_out)):
            for batch in pieces(halves, start, stop, schema):
                writer.write(split, batch)


def pieces(halves: list[str], start: int, stop: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    random = np.random.default_rng(start)
    for begin in range(start, stop, ROWS_PER_BATCH):
        numbers = np.arange(begin, min(begin + ROWS_PER_BATCH, stop))
        pairs = random.integers(0, len(halves), (len(numbers), 2))
        texts = [f"{halves[left]} {halves[right]}" for left, right in pairs]
        yield pa.record_batch([pa.array(texts), pa.array(numbers % 2), pa.array(numbers)], schema=schema)


def _halves(text: str) -> tuple[str, str]:
    words = text.split()
    return " ".join(words[: len(words) // 2]), " ".join(words[len(words) // 2 :])


if __name__ == "__main__":
    began = time.perf_counter()
    status = main(tuple(int(rows) for rows in sys.argv[1:]) or SIZES)
    print(f"{time.perf_counter() - began:.0f} s in total")
    sys.exit(status)
