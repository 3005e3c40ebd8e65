"""Report on a prepared dataset: its rows and classes, the dropped rows by rule, and the checked rules.

report.json contains the same numbers as report.html.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.artifacts.dataset import LABEL, TEXT, Dataset, open_dataset
from toolchain.artifacts.folder import write_file, write_json
from toolchain.artifacts.measurement import Measurement, new_measurement, open_measurement
from toolchain.artifacts.provenance import Work
from toolchain.data.report.page import render
from toolchain.errors import ConfigError, DataError

HISTOGRAM_BINS = 24  # of text lengths: bars that are still distinct on a phone


@dataclass(frozen=True, kw_only=True)
class Config:
    examples: int = 3  # Number of example texts to show per class.

    def __post_init__(self) -> None:
        if self.examples < 0:
            raise ConfigError(f"examples is {self.examples}: give 0 or more texts per class, such as 3")


@dataclass(frozen=True)
class Result:
    rows: int  # in all splits
    dropped: int  # by all earlier steps
    rules: int  # all of them passed


def describe(dataset: Dataset, checks: Measurement, config: Config) -> dict[str, Any]:
    """Return the content of report.json.

    Returns:
        digest; rows by split; labels; class_counts, the rows of each class by split; dropped, each rule with its step,
        rows and examples; rules, each with its detail; notes by step; and, for a dataset of texts, lengths in
        characters and samples by class.
    """
    found = {
        "digest": dataset.digest,
        "rows": {split: dataset.rows(split) for split in dataset.splits},
        "labels": list(dataset.labels),
        "class_counts": checks.data["class_counts"],
        "dropped": [{**asdict(entry), "examples": list(entry.examples)} for entry in dataset.dropped],
        "rules": checks.data["rules"],
        "notes": dict(dataset.notes),
    }
    if TEXT not in dataset.schema.names:
        return found
    return {**found, "lengths": _lengths(dataset), "samples": _samples(dataset, config.examples)}


def run(dataset: Path, checks: Path, report: Path, page: Path, config: Config) -> Result:
    """Write the measurement ``report`` with report.html and report.json, and the HTML file ``page``.

    Raises:
        ArtifactError: an input is damaged or of another type.
        DataError: the checks are of another dataset.
    """
    prepared, checked = open_dataset(dataset), open_measurement(checks, "checks")
    if checked.lineage[-1].parents.get("dataset") != prepared.digest:
        raise DataError(f"{checks} has the checks of another dataset than {dataset}; validate it again")
    work = Work("data.report", config, dataset=prepared, checks=checked)
    content = describe(prepared, checked, config)
    html = render(content).encode()
    with new_measurement(report, "data-report", work) as writer:
        writer.data = content
        (writer.folder / "report.html").write_bytes(html)
        write_json(writer.folder / "report.json", content)
        page.parent.mkdir(parents=True, exist_ok=True)
        write_file(page, html)
    dropped = sum(entry.rows for entry in prepared.dropped)
    return Result(sum(content["rows"].values()), dropped, len(content["rules"]))


def _lengths(dataset: Dataset) -> dict[str, Any]:
    """Return the median, 95th percentile and maximum text length in characters, and a histogram up to the 99th."""
    texts = (batch.column(TEXT).to_pylist() for split in dataset.splits for batch in dataset.batches(split, [TEXT]))
    lengths = np.array([len(text) for part in texts for text in part], np.int64)
    if not len(lengths):
        return {}
    median, p95, p99 = (float(value) for value in np.quantile(lengths, [0.5, 0.95, 0.99]))
    counts, edges = np.histogram(lengths, HISTOGRAM_BINS, (0, max(p99, 1)))
    return {
        "median": median,
        "p95": p95,
        "max": int(lengths.max()),
        "counts": counts.tolist(),
        "edges": edges.tolist(),
    }


def _samples(dataset: Dataset, count: int) -> dict[str, list[str]]:
    """Return the first ``count`` training texts of each class ("" if there are no classes)."""
    split = "train" if "train" in dataset.splits else next(iter(dataset.splits))
    found: dict[str, list[str]] = {name: [] for name in dataset.labels or [""]}
    for batch in dataset.batches(split, [TEXT, LABEL] if dataset.labels else [TEXT]):
        for row in batch.to_pylist():
            texts = found[dataset.labels[row[LABEL]] if dataset.labels else ""]
            if len(texts) < count:
                texts.append(row[TEXT])
        if all(len(texts) == count for texts in found.values()):
            break
    return found
