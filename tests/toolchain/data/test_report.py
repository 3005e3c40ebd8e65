import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow as pa
import pytest

from toolchain.artifacts.dataset import new_dataset
from toolchain.artifacts.measurement import open_measurement
from toolchain.artifacts.provenance import Work
from toolchain.data import validate
from toolchain.data.report import Config, run
from toolchain.data.report.page import MAX_ITEMS, render
from toolchain.errors import ConfigError, DataError

SCHEMA = pa.schema({"text": pa.string(), "label": pa.int64(), "row": pa.int64()})
LABELS = ("<b>bad</b>", "good")
REPORT_SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "data-report.schema.json").read_text(encoding="utf-8"))


def prepared(path: Path, schema: pa.Schema = SCHEMA, labels: tuple[str, ...] = LABELS) -> Path:
    with new_dataset(path / "splits", schema, Work("data.split", None), labels) as writer:
        for split, first, count in (("train", 0, 60), ("validation", 60, 20), ("test", 80, 20)):
            members = [
                {"text": f"<i>review</i> {'x' * row}", "label": row % 2, "row": row}
                for row in range(first, first + count)
            ]
            writer.write(split, pa.RecordBatch.from_pylist(members, schema=schema))
        writer.drop("text is missing", 7, ["row 3: <script>"])
    return path / "splits"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    dataset = prepared(tmp_path)
    validate.run(dataset, tmp_path / "checks", validate.Config())
    result = run(dataset, tmp_path / "checks", tmp_path / "report", tmp_path / "page.html", Config(examples=2))
    assert (result.rows, result.dropped) == (100, 7)
    return tmp_path


def content(folder: Path) -> dict[str, Any]:
    found = open_measurement(folder / "report", "data-report").data
    jsonschema.validate(found, REPORT_SCHEMA, jsonschema.Draft202012Validator)
    return found


def test_the_report_counts_rows_classes_and_dropped_rows(written: Path):
    found = content(written)
    assert found["rows"] == {"train": 60, "validation": 20, "test": 20}
    assert found["class_counts"]["train"] == {"<b>bad</b>": 30, "good": 30}
    assert [(entry["rule"], entry["rows"]) for entry in found["dropped"]] == [("text is missing", 7)]
    assert all(rule["passed"] for rule in found["rules"])


def test_the_report_has_the_first_training_texts_of_each_class(written: Path):
    assert content(written)["samples"]["good"] == [f"<i>review</i> {'x' * row}" for row in (1, 3)]


def test_the_report_has_text_lengths(written: Path):
    lengths = content(written)["lengths"]
    assert lengths["median"] == 14 + 49.5  # 14 characters before 0 to 99 of "x"
    assert lengths["max"] == 14 + 99
    assert sum(lengths["counts"]) == 99  # the longest of a hundred is above the 99th percentile


def test_the_page_escapes_data(written: Path):
    page = (written / "page.html").read_text()
    assert (written / "report" / "report.html").read_text() == page
    assert "&lt;b&gt;bad&lt;/b&gt;" in page
    assert "row 3: &lt;script&gt;" in page
    assert "<script" not in page
    assert "<i>review" not in page


def test_step_notes_are_lists_and_tables(written: Path):
    repairs = [{"row": 50, "before": "Ã¤ <i>", "after": "ä <i>"}]
    counts = {f"value_{number}": number for number in range(MAX_ITEMS + 2)}
    note = {"classes": {"not_good": 1150}, "repaired": {"by_type": {}, "examples": repairs}, "counts": counts}
    page = render({**content(written), "notes": {"data.clean": note}})
    assert "<h3><code>data.clean</code></h3>" in page
    assert "".join(page.split()).count("<dt>not_good</dt><dd>1,150</dd>") == 1
    assert "<dt>By type</dt>" in page
    assert re.search(r'<th scope="col" class="n">Row</th><th scope="col">Before</th>', page)
    assert re.search(r"<td>\s*ä &lt;i&gt;\s*</td>", page)
    assert "2 more in report.json" in page


def test_a_dataset_without_texts_and_classes(tmp_path: Path):
    schema = pa.schema({"row": pa.int64()})
    dataset = prepared(tmp_path, schema, ())
    validate.run(dataset, tmp_path / "checks", validate.Config())
    run(dataset, tmp_path / "checks", tmp_path / "report", tmp_path / "page.html", Config())
    assert "samples" not in content(tmp_path)
    assert "Text length" not in (tmp_path / "page.html").read_text()


def test_checks_of_another_dataset_are_rejected(tmp_path: Path):
    one, other = tmp_path / "one", tmp_path / "other"
    validate.run(prepared(one), tmp_path / "checks", validate.Config())
    dataset = prepared(other, labels=("worse", "better"))
    with pytest.raises(DataError, match="validate it again"):
        run(dataset, tmp_path / "checks", tmp_path / "report", tmp_path / "page.html", Config())
    assert not (tmp_path / "report").exists()


def test_a_negative_number_of_examples_is_rejected():
    with pytest.raises(ConfigError, match="examples is -1"):
        Config(examples=-1)
