"""Files from practice, read by the steps and by another reader with explicit options."""

import csv
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from toolchain.artifacts.dataset import Dataset, open_dataset
from toolchain.data import clean
from toolchain.data.ingest import Config, run
from toolchain.errors import DataError

CASES = Path(__file__).parents[3] / "cases" / "text"
Pairs = list[tuple[str, str]]
COLUMNS = ["target", "id", "date", "flag", "user", "text"]  # of Sentiment140, as its page lists them


def by_pandas(file: Path, label: str = "label", **options: Any) -> Pairs:
    frame = pd.read_csv(file, dtype=str, keep_default_na=False, **options)
    return list(zip(frame["text"], frame[label], strict=True))


def by_split(file: Path) -> Pairs:
    """Return the rows of an unquoted TSV, label first."""
    return [tuple(reversed(line.split("\t"))) for line in file.read_text("utf-8").splitlines()[1:]]  # type: ignore[misc]


def by_json(file: Path) -> Pairs:
    """Return the rows with labels as written in the file."""
    lines = file.read_text("utf-8").splitlines()
    labels = [re.search(r'"label": (.*)\}$', line)[1].strip('"') for line in lines]  # type: ignore[index]
    return [(json.loads(line)["text"], label) for line, label in zip(lines, labels, strict=True)]


def by_json_columns(file: Path) -> Pairs:
    columns = json.loads(file.read_text("utf-8"))
    return list(zip(columns["text"].values(), columns["label"].values(), strict=True))


def by_parquet(file: Path) -> Pairs:
    table = pq.read_table(file)
    return list(zip(table["text"].to_pylist(), [label.decode() for label in table["label"].to_pylist()], strict=True))


READ: dict[str, Callable[[Path], Pairs]] = {
    "unquoted-with-lone-quotes.tsv": by_split,
    "backslash-quotes.csv": lambda file: by_pandas(file, escapechar="\\"),
    "labels-007-7-010.csv": by_pandas,
    "labels-of-20-digits.csv": by_pandas,
    "labels-True-False.csv": by_pandas,
    "labels-of-20-digits.jsonl": by_json,
    "labels-mixed-numbers.jsonl": by_json,
    "label-as-bytes.parquet": by_parquet,
    "semicolon-bom.csv": lambda file: by_pandas(file, sep=";", encoding="utf-8-sig"),
    "sep.csv": lambda file: by_pandas(file, sep=";", skiprows=1),
    "utf16.csv": lambda file: by_pandas(file, encoding="utf-16"),
    "unicode-text.txt": lambda file: by_pandas(file, sep="\t", encoding="utf-16", quoting=csv.QUOTE_NONE),
    "train.csv.zip": by_pandas,
    "train.csv.bz2": by_pandas,
    "train.csv.xz": by_pandas,
    "columns.json": by_json_columns,
    "scores-as-labels.csv": by_pandas,
}


def ingested(name: str, target: Path, **config: Any) -> Dataset:
    run(target / "raw", Config(source=str(CASES / name), **config))
    return open_dataset(target / "raw")


def pairs(dataset: Dataset, split: str = "all") -> Pairs:
    table = dataset.table(split, ["text", "label"])
    return list(zip(table["text"].to_pylist(), table["label"].to_pylist(), strict=True))


def classes(target: Path, **config: Any) -> dict[str, int]:
    """Return the rows of each class after cleaning; these files have no duplicates."""
    clean.run(target / "raw", target / "clean", clean.Config(duplicates="off", **config))
    return open_dataset(target / "clean").notes["data.clean"]["classes"]


@pytest.mark.parametrize("name", READ)
def test_rows_equal_those_of_another_reader(name: str, tmp_path: Path):
    expected = READ[name](CASES / name)
    assert len(expected) == 400
    assert pairs(ingested(name, tmp_path)) == expected


@pytest.mark.parametrize(
    ("name", "config", "read"),
    [
        ("windows-1252.csv", {"encoding": "cp1252"}, lambda file: by_pandas(file, encoding="cp1252")),
        (
            "no-header.csv",
            {"column_names": COLUMNS, "label_column": "target"},
            lambda file: by_pandas(file, "target", header=None, names=COLUMNS),
        ),
    ],
)
def test_the_setting_in_the_error_solves_it(
    name: str, config: dict[str, Any], read: Callable[[Path], Pairs], tmp_path: Path
):
    with pytest.raises(DataError, match=next(iter(config))):
        ingested(name, tmp_path)
    assert pairs(ingested(name, tmp_path, **config)) == read(CASES / name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("labels-007-7-010.csv", {"007": 100, "7": 100, "010": 200}),
        ("labels-1-and-1.0.jsonl", {"0": 200, "1": 200}),
        ("labels-true-and-True.jsonl", {"false": 200, "true": 200}),
        ("labels-True-False.csv", {"False": 200, "True": 200}),
        ("labels-mixed-numbers.jsonl", {"1.5": 200, "9007199254740993": 200}),
        ("label-halffloat.parquet", {"0": 200, "1": 200}),
        ("label-as-bytes.parquet", {"neg": 200, "pos": 200}),
    ],
)
def test_classes_are_the_labels_of_the_file(name: str, expected: dict[str, int], tmp_path: Path):
    ingested(name, tmp_path)
    assert classes(tmp_path) == expected


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("labels-True-False.csv", {"bad": ["False"], "good": ["True"]}),
        ("labels-true-and-True.jsonl", {"bad": [False], "good": [True]}),
        ("labels-1-and-1.0.jsonl", {"bad": ["0"], "good": [1]}),
        ("labels-of-20-digits.jsonl", {"bad": ["12345678901234567890"], "good": [12345678901234567891]}),
        ("scores-as-labels.csv", {"bad": "label < 3", "good": "label >= 3"}),
        ("labels-mixed-numbers.jsonl", {"bad": "label == 1.5", "good": 'label == "9007199254740993"'}),
    ],
)
def test_classes_are_defined_by_labels_or_numbers(name: str, labels: dict[str, Any], tmp_path: Path):
    ingested(name, tmp_path)
    assert classes(tmp_path, labels=labels) == {"bad": 200, "good": 200}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("label-as-list.jsonl", r"line 1: column 'label' holds list \[\"neg\"\].*set label_column"),
        ("text-as-list.jsonl", r"line 1: column 'text' holds dict .*set text_column"),
        ("windows-1252.csv", r"byte 0x92 in line 2; set encoding=cp1252 .*it’s 5€ – “really” faulty"),
        ("no-header.csv", r"first row appears to be data.*set column_names to the names of its 6 columns"),
    ],
)
def test_errors_name_the_row_and_the_setting(name: str, message: str, tmp_path: Path):
    with pytest.raises(DataError, match=message) as error:
        ingested(name, tmp_path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "raw").exists()


def test_scores_as_labels_are_an_error_with_suggested_classes(tmp_path: Path):
    ingested("scores-as-labels.csv", tmp_path)
    with pytest.raises(DataError, match=r"400 different values in 400 rows .*\"label < 3\.0025\""):
        classes(tmp_path)


def test_an_unpaired_surrogate_becomes_the_replacement_character(tmp_path: Path):
    texts = [text for text, _ in pairs(ingested("lone-surrogate.jsonl", tmp_path))]
    assert len(texts) == 400
    assert [text for text in texts if "\ufffd" in text] == ["So happy with this one \ufffd"]


def test_files_of_a_folder_keep_the_splits_in_their_names(tmp_path: Path):
    dataset = ingested("folder-of-parquet", tmp_path)
    parts = {split: sorted((CASES / "folder-of-parquet" / "data").glob(f"{split}-*")) for split in ("test", "train")}
    for split, files in parts.items():
        tables = [pq.read_table(file).to_pylist() for file in files]
        assert pairs(dataset, split) == [(row["text"], row["label"]) for rows in tables for row in rows]
    assert Counter(classes(tmp_path)) == {"neg": 200, "pos": 200}
    assert open_dataset(tmp_path / "clean").rows("test") == 100
