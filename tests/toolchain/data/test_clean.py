import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from toolchain.artifacts.dataset import Dataset, new_dataset, open_dataset
from toolchain.artifacts.provenance import Work
from toolchain.data.clean import Config, run
from toolchain.data.clean import conditions as conditions_module
from toolchain.data.clean.duplicates import signatures
from toolchain.data.clean.outliers import ColumnStatistics
from toolchain.errors import ArtifactError, ConfigError, DataError
from toolchain.text_repair import VERSION


def raw(path: Path, **columns: list[object]) -> Path:
    columns["row"] = list(range(len(next(iter(columns.values())))))
    table = pa.table(columns)
    with new_dataset(path / "raw", table.schema, Work("data.ingest", None)) as writer:
        for start in range(0, table.num_rows, 3):  # many small batches
            writer.write("all", table.slice(start, 3))
    return path / "raw"


def cleaned(path: Path, settings: dict[str, object] | None = None, **columns: list[object]) -> Dataset:
    run(raw(path, **columns), path / "out", Config(**(settings or {})))
    return open_dataset(path / "out")


def error_of(path: Path, settings: dict[str, object], **columns: list[object]) -> str:
    with pytest.raises(DataError) as error:
        run(raw(path, **columns), path / "out", Config(**settings))
    assert [each.name for each in path.iterdir()] == ["raw"]  # no partial output, no temporary files
    assert "\n" not in str(error.value)
    return str(error.value)


def dropped(dataset: Dataset) -> dict[str, int]:
    return {each.rule: each.rows for each in dataset.dropped if each.rows}


CASES = Path(__file__).parents[2] / "cases" / "text"
TEXTS = ["One good film", "Two bad films", "Three of them", "Four and more"]
LABELS = ["good", "bad", "bad", "good"]


def test_valid_rows_pass_and_labels_become_class_indices(tmp_path: Path):
    dataset = cleaned(tmp_path, text=TEXTS, label=LABELS)
    assert dataset.labels == ("bad", "good")
    assert dataset.table("all").to_pylist() == [
        {"text": text, "label": ("bad", "good").index(label), "row": row}
        for row, (text, label) in enumerate(zip(TEXTS, LABELS, strict=True))
    ]


def test_every_rule_is_reported_even_if_it_drops_no_rows(tmp_path: Path):
    dataset = cleaned(tmp_path, text=TEXTS, label=LABELS)
    assert {each.rule: each.rows for each in dataset.dropped} == {
        "text is missing": 0,
        "label is missing": 0,
        "text is shorter than 1 characters": 0,
        "text is longer than 10,000 characters": 0,
        "duplicate of a row with a different label": 0,
        "duplicate of an earlier row": 0,
        "duplicate of an earlier row, ignoring case, commas, full stops, quotation marks and spaces": 0,
    }


def test_missing_values_are_dropped_with_examples(tmp_path: Path):
    dataset = cleaned(tmp_path, text=["a", None, "  ", "d", "e"], label=["x", "y", "y", " ", None])
    assert dropped(dataset) == {"text is missing": 2, "label is missing": 2}
    assert dataset.dropped[1].examples == ("row 3: d", "row 4: e")
    assert dataset.table("all")["row"].to_pylist() == [0]


def test_other_columns_need_a_value_only_when_required(tmp_path: Path):
    columns = {"text": TEXTS, "label": LABELS, "stars": [1.0, None, float("nan"), 2.0]}
    (tmp_path / "some").mkdir()
    assert cleaned(tmp_path / "some", **columns).rows("all") == 4
    assert dropped(cleaned(tmp_path, {"required_columns": ["stars"]}, **columns)) == {"stars is missing": 2}


def test_repairs_are_counted_with_examples(tmp_path: Path):
    dataset = cleaned(tmp_path, text=["a  b", "c &amp; d", "e"], label=["x", "y", "x"])
    repaired = dataset.notes["data.clean"]["repaired"]
    assert repaired["rows"] == 2
    assert repaired["by_type"] == {"spaces": 1, "HTML": 1}
    assert repaired["examples"][1] == {"row": 1, "before": "c &amp; d", "after": "c & d"}


def test_the_dataset_records_the_text_repair(tmp_path: Path):
    assert cleaned(tmp_path, text=TEXTS, label=LABELS).text_repair == VERSION


def test_text_is_unchanged_without_repair(tmp_path: Path):
    dataset = cleaned(tmp_path, {"repair_text": False}, text=["a  b", "c"], label=["x", "y"])
    assert dataset.text_repair == ""
    assert dataset.table("all")["text"].to_pylist() == ["a  b", "c"]


def test_too_short_and_too_long_texts_are_dropped(tmp_path: Path):
    settings = {"min_characters": 2, "max_characters": 4}
    dataset = cleaned(tmp_path, settings, text=["é", "ab", "abcd", "abcde"], label=LABELS)
    assert dataset.table("all")["text"].to_pylist() == ["ab", "abcd"]
    assert dropped(dataset) == {"text is shorter than 2 characters": 1, "text is longer than 4 characters": 1}


def test_a_query_selects_rows_in_every_batch(tmp_path: Path):
    dataset = cleaned(tmp_path, {"query": "label > 0 and text != 'd'"}, text=list("abcd"), label=[0, 1, 2, 3])
    assert dataset.table("all")["text"].to_pylist() == ["b", "c"]
    assert dropped(dataset) == {"query is not true: label > 0 and text != 'd'": 2}


def test_a_comparison_with_a_missing_value_is_false(tmp_path: Path):
    dataset = cleaned(tmp_path, {"query": "x > 0"}, text=list("abc"), label=list("ppq"), x=[1, None, 2])
    assert dataset.table("all")["text"].to_pylist() == ["a", "c"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("stars > 1", "stars"),
        ("label >", "invalid syntax"),
        ("label > 1", "not supported between"),
        ("text.str.len()", "is not a condition"),
    ],
)
def test_an_invalid_query_is_an_error_in_one_line(tmp_path: Path, query: str, message: str):
    message = error_of(tmp_path, {"query": query}, text=TEXTS, label=LABELS)
    assert message in message
    assert query in message


def test_raw_labels_are_grouped_into_classes(tmp_path: Path):
    classes = {"low": [1.0, 2.0], "high": [5]}  # as JSON passes integers
    settings = {"labels": classes, "unknown_label": "drop"}
    dataset = cleaned(tmp_path, settings, text=TEXTS, label=[1, 5, 3, 2])
    assert dataset.labels == ("high", "low")
    assert dataset.table("all")["label"].to_pylist() == [1, 0, 1]
    assert dropped(dataset) == {"label belongs to no class": 1}


def test_other_labels_are_dropped_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with (CASES / "stars-1-to-5.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    stars = [int(row["stars"]) for row in rows]
    labels = {"negative": ["1", "2"], "positive": ["4", "5"]}
    dataset = cleaned(tmp_path, {"labels": labels}, text=[row["body"] for row in rows], label=stars)
    assert dataset.labels == ("negative", "positive")
    assert dropped(dataset)["label belongs to no class"] == stars.count(3) > 0
    assert dataset.notes["data.clean"]["other_labels"] == {"3": stars.count(3)}
    assert f"{stars.count(3)} rows dropped because their label belongs to no class: 3" in capsys.readouterr().out


def test_a_label_without_a_class_can_be_an_error(tmp_path: Path):
    classes = {"bad": ["bad"], "good": ["godo"]}
    assert "label 'good' of row 0 belongs to no class" in error_of(
        tmp_path, {"labels": classes, "unknown_label": "fail"}, text=TEXTS, label=LABELS
    )


def test_queries_define_classes_by_other_columns(tmp_path: Path):
    classes = {"negative": "rating <= -0.5", "positive": "rating >= 0.5"}
    dataset = cleaned(tmp_path, {"labels": classes}, text=TEXTS, rating=[-2.0, 0.1, None, 3.0])
    assert dataset.labels == ("negative", "positive")
    assert dataset.table("all")["label"].to_pylist() == [0, 1]
    assert dropped(dataset) == {"label belongs to no class": 2}


def test_overlapping_classes_are_an_error(tmp_path: Path):
    classes = {"some": "rating > 0", "more": "rating > 1"}
    message = error_of(tmp_path, {"labels": classes}, text=TEXTS, rating=[0.5, 2.0, 0.0, 0.0])
    assert "row 1 belongs to the classes 'more' and 'some'" in message


def test_lists_of_raw_labels_need_a_label_column(tmp_path: Path):
    assert "no column 'label'" in error_of(tmp_path, {"labels": {"a": [1], "b": [2]}}, text=TEXTS, rating=[1, 2, 1, 2])


def test_a_named_class_without_rows_is_still_a_class(tmp_path: Path):
    classes = {"good": ["good"], "bad": ["bad"], "ugly": ["ugly"]}
    dataset = cleaned(tmp_path, {"labels": classes}, text=TEXTS, label=LABELS)
    assert dataset.labels == ("bad", "good", "ugly")
    assert dataset.notes["data.clean"]["classes"] == {"bad": 2, "good": 2, "ugly": 0}


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ([10, 9, 10, 9], ("9", "10")),
        ([1.0, 0.0, 1.0, 0.5], ("0", "0.5", "1")),
        ([True, False, True, True], ("false", "true")),
        (["b ", "a", "b", "a"], ("a", "b")),
    ],
)
def test_class_names_are_sorted_and_numbers_by_value(tmp_path: Path, label: list[object], expected: tuple[str, ...]):
    assert cleaned(tmp_path, text=TEXTS, label=label).labels == expected


def test_scores_are_not_accepted_as_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("toolchain.data.clean.MAX_CLASSES", 3)
    assert conditions_module.MAX_CLASSES == 1_000
    assert "label has 4 different values in 4 rows (0.1, 0.2, 0.3, ...), which are scores" in error_of(
        tmp_path, {}, text=TEXTS, label=[0.1, 0.2, 0.3, 0.4]
    )


def test_duplicates_are_dropped_and_the_first_is_kept(tmp_path: Path):
    dataset = cleaned(tmp_path, text=["A film.", "B", "A film.", "a FILM", "A  film."], label=list("xyxxx"))
    assert dataset.table("all")["row"].to_pylist() == [0, 1]
    assert dropped(dataset) == {
        "duplicate of an earlier row": 2,  # runs of spaces were repaired before
        "duplicate of an earlier row, ignoring case, commas, full stops, quotation marks and spaces": 1,
    }


def test_exact_keeps_texts_that_differ_in_case(tmp_path: Path):
    dataset = cleaned(tmp_path, {"duplicates": "exact"}, text=["A", "a", "A", "b"], label=list("xxxy"))
    assert dataset.table("all")["text"].to_pylist() == ["A", "a", "b"]


def test_off_keeps_all_rows(tmp_path: Path):
    dataset = cleaned(tmp_path, {"duplicates": "off"}, text=["A", "a", "A", "b"], label=list("xyxy"))
    assert dataset.rows("all") == 4
    assert not any("earlier row" in each.rule for each in dataset.dropped)


def test_duplicates_with_different_labels_are_all_dropped(tmp_path: Path):
    columns = {"text": ["Good.", "good", "bad", "bad"], "label": ["x", "y", "y", "y"]}
    (tmp_path / "kept").mkdir()
    assert cleaned(tmp_path, **columns).table("all")["row"].to_pylist() == [2]
    kept = cleaned(tmp_path / "kept", {"drop_conflicts": False}, **columns)
    assert kept.table("all")["row"].to_pylist() == [0, 2]


def test_different_spellings_with_different_labels_are_kept(tmp_path: Path):
    columns = {"text": ["made in the US", "made in the us", "Made in the us.", "b"], "label": ["x", "y", "y", "x"]}
    dataset = cleaned(tmp_path, {}, **columns)
    assert dataset.table("all")["row"].to_pylist() == [0, 1, 3]


@pytest.mark.parametrize("name", ["emoticons.csv", "minus-sign.csv"])
@pytest.mark.parametrize("mode", ["normalized", "similar"])
def test_signs_and_emoticons_make_texts_different(tmp_path: Path, name: str, mode: str):
    with (CASES / name).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {key: [row[key] for row in rows] for key in ("text", "label")}
    assert len(set(columns["text"])) == len(rows)
    dataset = cleaned(tmp_path, {"duplicates": mode}, **columns)
    assert dropped(dataset).get("duplicate of a row with a different label", 0) == 0
    if mode == "normalized":
        assert dataset.rows("all") == len(rows)


LONG = "the film is a gem from its first scene to its very last one and nobody who sees it will leave without a smile"


def test_similar_drops_an_edited_copy_and_keeps_other_texts(tmp_path: Path):
    strangers = [f"{word} " * 3 + "something else entirely was written here" for word in ("north", "south", "east")]
    texts = [LONG, *strangers, LONG + " indeed", LONG.replace("nobody", "no one who matters, nobody at all")]
    dataset = cleaned(tmp_path, {"duplicates": "similar"}, text=texts, label=["x", "y", "x", "y", "x", "x"])
    assert dropped(dataset) == {"near-duplicate of an earlier row": 1}
    assert dataset.table("all")["row"].to_pylist() == [0, 1, 2, 3, 5]


def test_similar_rows_of_different_classes_are_kept(tmp_path: Path):
    texts = [LONG, LONG.replace("gem", "mess"), LONG + " indeed", "something else"]
    dataset = cleaned(tmp_path, {"duplicates": "similar", "similarity": 0.6}, text=texts, label=["x", "y", "x", "y"])
    assert dataset.table("all")["row"].to_pylist() == [0, 1, 3]


def test_signatures_estimate_the_share_of_common_shingles():
    random = np.random.default_rng(0)
    words = [f"w{number}" for number in random.integers(0, 10_000, 400)]
    one, other = " ".join(words[:300]), " ".join(words[100:])  # 198 of 398 runs in common: .5
    estimate = np.mean(signatures([one])[0] == signatures([other])[0])
    assert abs(estimate - 198 / 398) < 3 * 0.09  # three standard errors
    assert (signatures(["a b", ""])[0] == signatures(["A, b!"])[0]).all()


def test_similar_needs_text(tmp_path: Path):
    assert "there is no text column" in error_of(tmp_path, {"duplicates": "similar"}, height=[1, 2], label=["x", "y"])


def test_a_table_without_text_is_cleaned_too(tmp_path: Path):
    columns = {"height": [1.0, 1.0, 2.0, 300.0, 2.5, 1.5], "label": list("xxyxyx")}
    dataset = cleaned(tmp_path, {"outlier_columns": ["height"], "outlier_threshold": 1.5}, **columns)
    assert dataset.schema.names == ["height", "label", "row"]
    assert dataset.table("all")["row"].to_pylist() == [0, 2, 4, 5]
    assert sorted(dropped(dataset).values()) == [1, 1]


def test_named_columns_are_compared(tmp_path: Path):
    settings = {"duplicate_columns": ["title", "year"]}
    columns = {"text": TEXTS, "label": LABELS, "title": ["A", "a", "A", "B"], "year": [1, 2, 1, 1]}
    dataset = cleaned(tmp_path, settings | {"drop_conflicts": False}, **columns)
    assert dataset.table("all")["row"].to_pylist() == [0, 1, 3]


@pytest.mark.parametrize("pieces", [1, 7])
def test_bounds_match_numpy_for_any_batches(pieces: int):
    values = np.random.default_rng(3).lognormal(size=1_000)
    statistics = ColumnStatistics()
    for piece in np.array_split(values, pieces):
        statistics.add(np.append(piece, np.nan))
    deviation = values.std(ddof=1)
    assert statistics.bounds("zscore", 2.0) == pytest.approx(
        (values.mean() - 2 * deviation, values.mean() + 2 * deviation)
    )
    low, high = np.quantile(values, [0.25, 0.75])
    assert statistics.bounds("iqr", 1.5) == pytest.approx((low - 1.5 * (high - low), high + 1.5 * (high - low)))


def test_quartiles_of_a_large_column_are_estimated_from_a_sample():
    values = np.random.default_rng(4).normal(size=400_000)
    statistics = ColumnStatistics()
    for piece in np.array_split(values, 40):
        statistics.add(piece)
    low, high = statistics.bounds("iqr", 1.5)
    assert (low, high) == pytest.approx((-2.698, 2.698), abs=0.03)  # of a normal distribution


def test_too_few_values_have_no_outliers(tmp_path: Path):
    dataset = cleaned(tmp_path, {"outlier_columns": ["x"]}, text=TEXTS, label=LABELS, x=[None, None, 9.0, None])
    assert dataset.rows("all") == 4


def test_outliers_need_numbers(tmp_path: Path):
    assert "needs numeric columns" in error_of(tmp_path, {"outlier_columns": ["text"]}, text=TEXTS, label=LABELS)


def test_the_error_for_no_remaining_rows_names_the_strictest_rule(tmp_path: Path):
    message = error_of(tmp_path, {"query": "label == 'none'"}, text=TEXTS, label=LABELS)
    assert "all 4 rows were dropped" in message
    assert "label == 'none'" in message


def test_a_missing_column_is_an_error(tmp_path: Path):
    assert "no column 'stars'" in error_of(tmp_path, {"required_columns": ["stars"]}, text=TEXTS, label=LABELS)


def test_a_folder_that_is_not_a_dataset_is_rejected(tmp_path: Path):
    with pytest.raises(ArtifactError, match="not a toolchain"):
        run(tmp_path, tmp_path / "out", Config())


def test_the_same_rows_give_the_same_digest(tmp_path: Path):
    source = raw(tmp_path, text=TEXTS, label=LABELS)
    for name in ("one", "two"):
        run(source, tmp_path / name, Config())
    assert open_dataset(tmp_path / "one").digest == open_dataset(tmp_path / "two").digest


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_characters": 5, "max_characters": 4}, "max_characters=4"),
        ({"min_characters": -1}, "min_characters=-1"),
        ({"duplicates": "maybe"}, "duplicates='maybe'"),
        ({"unknown_label": "keep"}, "unknown_label='keep'"),
        ({"similarity": 0.2}, "similarity=0.2"),
        ({"outlier_method": "mad"}, "outlier_method='mad'"),
        ({"outlier_threshold": 0.0}, "outlier_threshold=0.0"),
        ({"outlier_threshold": float("nan")}, "outlier_threshold=nan"),
        ({"query": "@os.getcwd()"}, "query='@os"),
        ({"query": "text.__class__"}, "__ is not allowed"),
        ({"labels": {"one": [1]}}, "labels has one class"),
        ({"labels": {"one": 1, "two": [2]}}, r"labels\['one'\]=1"),
    ],
)
def test_invalid_settings_are_rejected(settings: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        Config(**settings)


def test_class_names_are_normalized(tmp_path: Path):
    labels = ["caf\u00e9", "\ufeffcafe\u0301", "bar\u200b", "\u00a0bar\x07"]
    dataset = cleaned(tmp_path, text=TEXTS, label=labels)
    assert dataset.labels == ("bar", "café")
    assert dataset.table("all", ["label"])["label"].to_pylist() == [1, 1, 0, 0]
