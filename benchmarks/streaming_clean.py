"""Ingest and clean 100 k, 1 M and 3 M rows, each in a fresh process: seconds, their ratio, peak memory.

Target: a table 10 times larger takes at most 11 times longer, with constant peak memory.
Usage: python benchmarks/streaming_clean.py [ROWS]...
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

SIZES = (100_000, 1_000_000, 3_000_000)  # rows
MAX_TIME_GROWTH = 1.1  # relative to the growth of the table: 11 times for 10 times larger
MAX_MEMORY_GROWTH = 1.3  # from the smallest to the largest table; reading it whole would take a multiple
WORDS, LENGTHS = 20_000, (5, 35)  # vocabulary; words per text, as in a sentence of a review
REPEATED, MISSING = 0.02, 0.03  # share of rows that are duplicates in their piece, and of rows without a label
PIECE = 50_000  # rows generated at a time
STEPS = {
    "ingest": "from toolchain.data.ingest import Config, run; args = (out, Config(source=source))",
    "clean": "from toolchain.data.clean import Config, run; args = (Path(source), out, Config())",
}
CHILD = """
import sys, time
from pathlib import Path
source, out = sys.argv[1], Path(sys.argv[2])
{step}
began = time.perf_counter()
run(*args)
print(f"seconds {{time.perf_counter() - began}}")
"""


@dataclass(frozen=True)
class Measured:
    seconds: float  # of the step, without the start of its process
    peak_bytes: int  # resident, of the whole process


def main(sizes: tuple[int, ...]) -> int:
    print(f"{'step':8}{'rows':>12}{'seconds':>10}{'rows/s':>10}{'peak MB':>9}{'times larger':>14}{'times longer':>14}")
    failed = False
    with tempfile.TemporaryDirectory(prefix="streaming-") as folder:
        for step in STEPS:
            first: Measured | None = None
            for rows in sizes:
                measured = measure(step, rows, Path(folder))
                first = first or measured
                failed |= not show(step, rows, measured, sizes[0], first)
    print("target: 10 times larger takes at most 11 times longer; peak memory at most 1.3 times that of the smallest")
    return int(failed)


def show(step: str, rows: int, measured: Measured, first_rows: int, first: Measured) -> bool:
    """Print one line and return whether the target is met."""
    larger, longer = rows / first_rows, measured.seconds / first.seconds
    grown = measured.peak_bytes / first.peak_bytes
    kept = longer <= max(larger * MAX_TIME_GROWTH, 1) and grown <= MAX_MEMORY_GROWTH
    print(
        f"{step:8}{rows:>12,}{measured.seconds:>10.1f}{rows / measured.seconds:>10,.0f}"
        f"{measured.peak_bytes / 1e6:>9.0f}{larger:>14.0f}{longer:>14.1f}  {'met' if kept else 'MISSED'}",
        flush=True,
    )
    return kept


def measure(step: str, rows: int, folder: Path) -> Measured:
    """Run ``step`` on ``rows`` rows in a separate process."""
    table, raw = folder / f"{rows}.csv", folder / f"raw-{rows}"
    if step == "ingest":
        write_table(table, rows)
        return in_child(step, table, raw)
    return in_child(step, raw, folder / f"clean-{rows}")


def in_child(step: str, source: Path, out: Path) -> Measured:
    code = CHILD.format(step=STEPS[step])
    child = subprocess.Popen([sys.executable, "-c", code, source, out], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    printed = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{step} failed")
    seconds = float(printed.split("seconds ")[-1])
    return Measured(seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))


def write_table(path: Path, rows: int) -> None:
    """Write a reproducible CSV of ``rows`` texts with labels."""
    random = np.random.default_rng(rows)
    words = pa.array([f"{'aeiou'[number % 5]}word{number:x}" for number in range(WORDS)])
    schema = pa.schema({"text": pa.string(), "label": pa.string()})
    with pcsv.CSVWriter(path, schema) as writer:
        for begin in range(0, rows, PIECE):
            writer.write_batch(piece(random, words, min(PIECE, rows - begin), schema))


def piece(random: np.random.Generator, words: pa.Array, rows: int, schema: pa.Schema) -> pa.RecordBatch:
    lengths = random.integers(*LENGTHS, rows)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    chosen = words.take(pa.array(np.minimum(random.zipf(1.3, offsets[-1]), WORDS) - 1))  # the frequencies of words
    texts = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), chosen), " ")
    repeats = np.where(random.random(rows) < REPEATED, random.integers(0, rows, rows), np.arange(rows))
    labels = np.array(["negative", "positive"], dtype=object)[random.integers(0, 2, rows)]
    labels[random.random(rows) < MISSING] = None
    return pa.record_batch([texts.take(pa.array(repeats)), pa.array(labels, pa.string())], schema=schema)


if __name__ == "__main__":
    began = time.perf_counter()
    status = main(tuple(int(rows) for rows in sys.argv[1:]) or SIZES)
    print(f"{time.perf_counter() - began:.0f} s in total")
    sys.exit(status)
