import csv
from pathlib import Path

import pyarrow as pa
import pytest

from toolchain.artifacts.dataset import new_dataset
from toolchain.artifacts.image import IMAGE_TYPE, OBJECTS_TYPE
from toolchain.artifacts.measurement import open_measurement
from toolchain.artifacts.provenance import Work
from toolchain.data import split
from toolchain.data.validate import Config, run
from toolchain.errors import ConfigError, DataError

CASES = Path(__file__).parents[2] / "cases" / "text"
SCHEMA = pa.schema(
    {"text": pa.string(), "label": pa.int64(), "row": pa.int64(), "stars": pa.int64(), "verified": pa.bool_()}
)
Row = dict[str, object]


def rows(first: int, count: int) -> list[Row]:
    return [
        {"text": f"review {row}", "label": row % 2, "row": row, "stars": row % 5 + 1, "verified": True}
        for row in range(first, first + count)
    ]


@pytest.fixture
def splits() -> dict[str, list[Row]]:
    return {"train": rows(0, 60), "validation": rows(60, 20), "test": rows(80, 20)}


def write_splits(path: Path, splits: dict[str, list[Row]], labels: tuple[str, ...] = ("bad", "good")) -> Path:
    with new_dataset(path / "splits", SCHEMA, Work("data.split", None), labels) as writer:
        for name, members in splits.items():
            writer.write(name, pa.RecordBatch.from_pylist(members, schema=SCHEMA))
    return path / "splits"


def failures(path: Path, splits: dict[str, list[Row]], **config: object) -> list[str]:
    with pytest.raises(DataError) as error:
        run(write_splits(path, splits), path / "checks", Config(**config))
    assert not (path / "checks").exists()
    return str(error.value).splitlines()[1:]


def test_few_test_rows_give_a_warning(tmp_path: Path, splits: dict[str, list[Row]], capsys: pytest.CaptureFixture[str]):
    run(write_splits(tmp_path, splits), tmp_path / "checks", Config())
    output = capsys.readouterr().out
    assert "warning: the test split has 20 rows; the gate needs 100" in output
    assert "test_fraction" in output
    run(tmp_path / "splits", tmp_path / "again", Config(min_test_rows=20))
    assert "warning" not in capsys.readouterr().out


def test_valid_data_pass_and_every_rule_is_listed(tmp_path: Path, splits: dict[str, list[Row]]):
    config = Config(
        column_types={"stars": "integer", "verified": "boolean", "text": "text"}, column_ranges={"stars": [1.0, 5.0]}
    )
    result = run(write_splits(tmp_path, splits), tmp_path / "checks", config)
    data = open_measurement(tmp_path / "checks", "checks").data
    assert (result.rows, result.smallest_share) == (100, 0.5)
    assert [entry["rule"] for entry in data["rules"]] == [
        "text is not blank",
        "text has type text",
        "label is one of bad, good",
        "row is a number from 0",
        "stars has type integer",
        "stars is from 1 to 5",
        "verified has type boolean",
        "each split has 20 rows or more",
        "there are two classes or more",
        "each class is 5% or more of the training rows",
        "each class is in each split",
        "no text is in two splits (ignoring case, commas, full stops, quotation marks and spaces)",
    ]
    assert all(entry["passed"] for entry in data["rules"])
    assert data["class_counts"]["test"] == {"bad": 10, "good": 10}
    assert data["rows"] == {"train": 60, "validation": 20, "test": 20}


def test_missing_values_are_allowed_where_no_rule_forbids_them(tmp_path: Path, splits: dict[str, list[Row]]):
    splits["train"][3] |= {"stars": None, "verified": None}
    config = Config(column_types={"stars": "integer", "verified": "boolean"}, column_ranges={"stars": [1, 5]})
    assert run(write_splits(tmp_path, splits), tmp_path / "checks", config).rows == 100


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"text": " "}, "text is not blank"),
        ({"text": None}, "text is not blank"),
        ({"label": 2}, "label is one of bad, good"),
        ({"label": -1}, "label is one of bad, good"),
        ({"label": None}, "label is one of bad, good"),
        ({"stars": 6}, "stars is from 1 to 5"),
    ],
)
def test_a_broken_rule_names_the_rows(tmp_path: Path, splits: dict[str, list[Row]], change: Row, rule: str):
    for number in (3, 5):
        splits["test"][number] |= change
    messages = failures(tmp_path, splits, column_ranges={"stars": [1, 5]})
    assert f"{rule}: broken by row 83 of test, row 85 of test" in messages


def test_all_breaks_are_counted_and_the_first_listed(tmp_path: Path, splits: dict[str, list[Row]]):
    messages = failures(tmp_path, splits, column_ranges={"stars": [1, 1]})
    assert len(messages) == 1
    assert messages[0].startswith("stars is from 1 to 1: broken by row 1 of train, row 2 of train")
    assert messages[0].endswith(" and 70 more")


def test_a_column_of_another_type_breaks_a_rule(tmp_path: Path, splits: dict[str, list[Row]]):
    messages = failures(tmp_path, splits, column_types={"text": "number"})
    assert messages == ["text has type number: broken by all rows of train, all rows of validation, all rows of test"]


def test_all_broken_rules_are_reported_together(tmp_path: Path, splits: dict[str, list[Row]]):
    splits["train"][0]["label"] = 7
    splits["test"][0]["text"] = "  "
    splits["validation"] = splits["validation"][:4]
    messages = failures(tmp_path, splits)
    assert [line.split(":")[0] for line in messages] == [
        "text is not blank",
        "label is one of bad, good",
        "each split has 20 rows or more",
    ]
    assert "validation with 4" in messages[-1]


def test_a_text_in_two_splits_is_a_leak(tmp_path: Path, splits: dict[str, list[Row]]):
    splits["test"][0]["text"] = "REVIEW  0."
    (message,) = failures(tmp_path, splits)
    assert message.startswith("no text is in two splits")
    assert message.endswith("row 0 of train = row 80 of test")


def test_duplicates_within_a_split_are_not_a_leak(tmp_path: Path, splits: dict[str, list[Row]]):
    splits["train"][1]["text"] = splits["train"][0]["text"]
    assert run(write_splits(tmp_path, splits), tmp_path / "checks", Config()).rows == 100


def test_a_single_class_is_rejected(tmp_path: Path, splits: dict[str, list[Row]]):
    for row in splits["train"]:
        row["label"] = 0
    messages = failures(tmp_path, splits)
    assert "there are two classes or more: broken by the training split, which has bad only" in messages


def test_a_class_that_is_too_rare_is_rejected(tmp_path: Path, splits: dict[str, list[Row]]):
    for row in splits["train"][2:]:
        row["label"] = 1
    (message,) = failures(tmp_path, splits)
    rule, advice = message.split("; ")
    assert rule == "each class is 5% or more of the training rows: broken by bad with 1.7%"
    assert advice.endswith("set min_class_fraction=0.016")
    assert run(tmp_path / "splits", tmp_path / "checks", Config(min_class_fraction=0.016)).rows == 100


@pytest.mark.parametrize(("classes", "least"), [(2, "5%"), (10, "1%"), (30, "0.33%")])
def test_the_default_minimum_share_is_a_tenth_of_an_equal_share(tmp_path: Path, classes: int, least: str):
    names = tuple(f"class {number}" for number in range(classes))
    splits = {
        name: [{**row, "label": row["row"] % classes} for row in rows(start, count)]
        for name, start, count in (("train", 0, 20 * classes), ("validation", 600, 60), ("test", 660, 60))
    }
    run(write_splits(tmp_path, splits, names), tmp_path / "checks", Config())
    data = open_measurement(tmp_path / "checks", "checks").data
    assert f"each class is {least} or more of the training rows" in [entry["rule"] for entry in data["rules"]]


def prepared(path: Path, name: str) -> Path:
    """Return the rows of a case, split."""
    with (CASES / name).open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    names = tuple(sorted({row["label"] for row in found}))
    columns = {"text": [row["text"] for row in found], "label": [names.index(row["label"]) for row in found]}
    table = pa.table({**columns, "row": range(len(found))})
    with new_dataset(path / "clean", table.schema, Work("data.clean", None), names) as writer:
        writer.write("all", table)
    split.run(path / "clean", path / "splits", split.Config())
    return path / "splits"


def test_thirty_classes_are_accepted(tmp_path: Path):
    result = run(prepared(tmp_path, "thirty-classes.csv"), tmp_path / "checks", Config())
    assert 0.01 < result.smallest_share < 0.05


def test_the_suggested_minimum_share_is_accepted(tmp_path: Path):
    splits = prepared(tmp_path, "three-percent.csv")
    with pytest.raises(DataError, match=r"5% or more .* broken by fraud with 3.*set min_class_fraction=") as error:
        run(splits, tmp_path / "checks", Config())
    share = float(str(error.value).rpartition("min_class_fraction=")[2])
    assert run(splits, tmp_path / "checks", Config(min_class_fraction=share)).smallest_share < 0.05


def test_a_class_missing_from_a_split_is_reported(tmp_path: Path, splits: dict[str, list[Row]]):
    for row in splits["test"]:
        row["label"] = 1
    (message,) = failures(tmp_path, splits)
    assert message.startswith("each class is in each split: broken by bad not in test")


def test_data_without_classes_and_text_have_fewer_rules(tmp_path: Path):
    schema = pa.schema({"x": pa.float64(), "row": pa.int64()})
    with new_dataset(tmp_path / "splits", schema, Work("data.split", None)) as writer:
        for name in ("train", "validation", "test"):
            columns = {"x": [float(row) for row in range(30)], "row": list(range(30))}
            writer.write(name, pa.record_batch(columns, schema=schema))
    result = run(tmp_path / "splits", tmp_path / "checks", Config(column_ranges={"x": [0, 29]}))
    assert (result.rules, result.smallest_share) == (3, 1.0)


def test_a_missing_split_is_an_error(tmp_path: Path, splits: dict[str, list[Row]]):
    del splits["test"]
    with pytest.raises(DataError, match="no split 'test'; it has train, validation"):
        run(write_splits(tmp_path, splits), tmp_path / "checks", Config())


def test_a_rule_on_a_missing_column_is_an_error(tmp_path: Path, splits: dict[str, list[Row]]):
    with pytest.raises(DataError, match="no column 'price'"):
        run(write_splits(tmp_path, splits), tmp_path / "checks", Config(column_ranges={"price": [0, 1]}))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"min_rows": 0}, "min_rows=0"),
        ({"min_class_fraction": 0.6}, "min_class_fraction=0.6"),
        ({"column_types": {"x": "date"}}, r"column_types\['x'\]='date'"),
        ({"column_ranges": {"x": [1]}}, r"column_ranges\['x'\]=\[1\]"),
        ({"column_ranges": {"x": [2, 1]}}, r"column_ranges\['x'\]"),
    ],
)
def test_invalid_settings_are_rejected(config: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        Config(**config)


def test_a_dataset_with_only_a_test_split_is_checked(tmp_path: Path, splits: dict[str, list[Row]]):
    kept = write_splits(tmp_path, {"test": splits["test"]})
    assert run(kept, tmp_path / "checks", Config()).rows == len(splits["test"])


def write_images(path: Path, splits: dict[str, list[int]]) -> Path:
    schema = pa.schema([("row", pa.int64()), ("image", IMAGE_TYPE), ("label", pa.int64())])
    with new_dataset(path, schema, Work("data.split", None), ("a", "b")) as writer:
        row = 0
        for name, contents in splits.items():
            rows = [
                {"row": row + n, "image": {"bytes": b"%d" % c, "path": ""}, "label": n % 2}
                for n, c in enumerate(contents)
            ]
            row += len(rows)
            writer.write(name, pa.Table.from_pylist(rows, schema))
    return path


def test_an_image_in_two_splits_is_reported(tmp_path: Path):
    splits = {"train": list(range(40)), "validation": list(range(40, 60)), "test": [*range(60, 79), 3]}
    with pytest.raises(DataError, match="no image is in two splits: broken by row 3 of train = row 79 of test"):
        run(write_images(tmp_path / "data", splits), tmp_path / "checks", Config())


def test_different_images_in_each_split_pass(tmp_path: Path):
    splits = {"train": list(range(40)), "validation": list(range(40, 60)), "test": list(range(60, 80))}
    assert run(write_images(tmp_path / "data", splits), tmp_path / "checks", Config()).rows == 80


def scenes(path: Path, names: tuple[str, ...] = ("cat", "dog"), **odd: object) -> Path:
    columns = [("row", pa.int64()), ("image", IMAGE_TYPE), ("width", pa.int64()), ("height", pa.int64())]
    schema = pa.schema([*columns, ("objects", OBJECTS_TYPE)])
    annotation = {
        "label": 0,
        "box": [1.0, 1.0, 9.0, 5.0],
        "rotation": 0.0,
        "polygons": [],
        "mask": "",
        "attributes": "{}",
    }
    annotation |= dict.fromkeys(("crowd", "difficult", "truncated", "occluded"), False)
    with new_dataset(path, schema, Work("data.split", None), names) as writer:
        for start, name in ((0, "train"), (20, "validation"), (40, "test")):
            rows = [
                {
                    "row": row,
                    "image": {"bytes": b"%d" % row, "path": ""},
                    "width": 10,
                    "height": 6,
                    "objects": [annotation, {**annotation, "label": len(names) - 1, **(odd if row == 41 else {})}],
                }
                for row in range(start, start + 20)
            ]
            writer.write(name, pa.Table.from_pylist(rows, schema))
    return path


def test_objects_are_counted_by_class(tmp_path: Path):
    run(scenes(tmp_path / "data"), tmp_path / "checks", Config())
    data = open_measurement(tmp_path / "checks", "checks").data
    assert data["class_counts"]["train"] == {"cat": 20, "dog": 20}
    assert {
        "rule": "each box has an area, is inside its image and has a class",
        "passed": True,
        "detail": "120 boxes",
    } in (data["rules"])


@pytest.mark.parametrize(
    "odd", [{"box": [1.0, 1.0, 11.0, 5.0]}, {"box": [4.0, 1.0, 4.0, 5.0]}, {"box": [-1.0, 1.0, 4.0, 5.0]}, {"label": 2}]
)
def test_an_invalid_object_is_reported(tmp_path: Path, odd: dict[str, object]):
    with pytest.raises(DataError, match=r"each box has an area.*broken by row 41 of test"):
        run(scenes(tmp_path / "data", **odd), tmp_path / "checks", Config())


def test_a_rotated_box_may_cross_the_edge_of_its_image(tmp_path: Path):
    run(scenes(tmp_path / "data", box=[1.0, 1.0, 11.0, 5.0], rotation=30.0), tmp_path / "checks", Config())
    passed = {entry["rule"]: entry["passed"] for entry in open_measurement(tmp_path / "checks", "checks").data["rules"]}
    assert passed["each box has an area, is inside its image and has a class"]


def test_a_single_object_class_is_accepted(tmp_path: Path):
    result = run(scenes(tmp_path / "data", names=("cat",)), tmp_path / "checks", Config())
    assert (result.rows, result.smallest_share) == (60, 1.0)
    rules = [entry["rule"] for entry in open_measurement(tmp_path / "checks", "checks").data["rules"]]
    assert "there are two classes or more" not in rules
