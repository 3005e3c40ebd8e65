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


def made(path: Path, splits: dict[str, list[Row]], labels: tuple[str, ...] = ("bad", "good")) -> Path:
    with new_dataset(path / "splits", SCHEMA, Work("data.split", None), labels) as writer:
        for name, members in splits.items():
            writer.write(name, pa.RecordBatch.from_pylist(members, schema=SCHEMA))
    return path / "splits"


def faults(path: Path, splits: dict[str, list[Row]], **config: object) -> list[str]:
    with pytest.raises(DataError) as error:
        run(made(path, splits), path / "checks", Config(**config))
    assert not (path / "checks").exists()
    return str(error.value).splitlines()[1:]


def test_warns_before_training_that_the_gate_needs_more_test_rows(
    tmp_path: Path, splits: dict[str, list[Row]], capsys: pytest.CaptureFixture[str]
):
    run(made(tmp_path, splits), tmp_path / "checks", Config())
    assert "warning: the test split has 20 rows; the gate needs 100" in capsys.readouterr().out
    run(tmp_path / "splits", tmp_path / "again", Config(gate_rows=20))
    assert "warning" not in capsys.readouterr().out


def test_sound_data_pass_and_every_rule_is_told(tmp_path: Path, splits: dict[str, list[Row]]):
    config = Config(types={"stars": "integer", "verified": "boolean", "text": "text"}, ranges={"stars": [1.0, 5.0]})
    result = run(made(tmp_path, splits), tmp_path / "checks", config)
    data = open_measurement(tmp_path / "checks", "checks").data
    assert (result.rows, result.smallest_share) == (100, 0.5)
    assert [entry["rule"] for entry in data["rules"]] == [
        "text is not blank",
        "text holds text",
        "label is one of bad, good",
        "row is a number from 0",
        "stars holds integer",
        "stars is from 1 to 5",
        "verified holds boolean",
        "each split has 20 rows or more",
        "there are two classes or more",
        "each class is 5% or more of the training rows",
        "each class is in each split",
        "no text is in two splits (case, commas, full stops, quotation marks and spaces aside)",
    ]
    assert all(entry["passed"] for entry in data["rules"])
    assert data["balance"]["test"] == {"bad": 10, "good": 10}
    assert data["rows"] == {"train": 60, "validation": 20, "test": 20}


def test_missing_values_are_allowed_where_no_rule_forbids_them(tmp_path: Path, splits: dict[str, list[Row]]):
    splits["train"][3] |= {"stars": None, "verified": None}
    config = Config(types={"stars": "integer", "verified": "boolean"}, ranges={"stars": [1, 5]})
    assert run(made(tmp_path, splits), tmp_path / "checks", config).rows == 100


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
    said = faults(tmp_path, splits, ranges={"stars": [1, 5]})
    assert f"{rule}: broken by row 83 of test, row 85 of test" in said


def test_many_rows_are_counted_and_a_few_named(tmp_path: Path, splits: dict[str, list[Row]]):
    said = faults(tmp_path, splits, ranges={"stars": [1, 1]})
    assert len(said) == 1
    assert said[0].startswith("stars is from 1 to 1: broken by row 1 of train, row 2 of train")
    assert said[0].endswith(" and 70 more")


def test_a_column_of_another_type_is_told(tmp_path: Path, splits: dict[str, list[Row]]):
    said = faults(tmp_path, splits, types={"text": "number"})
    assert said == ["text holds number: broken by all rows of train, all rows of validation, all rows of test"]


def test_every_broken_rule_is_told_at_once(tmp_path: Path, splits: dict[str, list[Row]]):
    splits["train"][0]["label"] = 7
    splits["test"][0]["text"] = "  "
    splits["validation"] = splits["validation"][:4]
    said = faults(tmp_path, splits)
    assert [line.split(":")[0] for line in said] == [
        "text is not blank",
        "label is one of bad, good",
        "each split has 20 rows or more",
    ]
    assert "validation with 4; give more rows" in said[-1]


def test_a_text_in_two_splits_is_a_leak(tmp_path: Path, splits: dict[str, list[Row]]):
    splits["test"][0]["text"] = "REVIEW  0."
    (said,) = faults(tmp_path, splits)
    assert said.startswith("no text is in two splits")
    assert said.endswith("row 0 of train = row 80 of test")


def test_repeats_within_a_split_are_no_leak(tmp_path: Path, splits: dict[str, list[Row]]):
    splits["train"][1]["text"] = splits["train"][0]["text"]
    assert run(made(tmp_path, splits), tmp_path / "checks", Config()).rows == 100


def test_one_class_only_is_refused(tmp_path: Path, splits: dict[str, list[Row]]):
    for row in splits["train"]:
        row["label"] = 0
    said = faults(tmp_path, splits)
    assert "there are two classes or more: broken by one class only in training: bad" in said


def test_a_class_that_a_model_may_ignore_is_refused(tmp_path: Path, splits: dict[str, list[Row]]):
    for row in splits["train"][2:]:
        row["label"] = 1
    (said,) = faults(tmp_path, splits)
    rule, advice = said.split("; ")
    assert rule == "each class is 5% or more of the training rows: broken by bad with 1.7%"
    assert advice.endswith("set minimum_share=0.016")
    assert run(tmp_path / "splits", tmp_path / "checks", Config(minimum_share=0.016)).rows == 100


@pytest.mark.parametrize(("classes", "least"), [(2, "5%"), (10, "1%"), (30, "0.33%")])
def test_the_usual_least_share_is_a_tenth_of_an_even_one(tmp_path: Path, classes: int, least: str):
    names = tuple(f"class {number}" for number in range(classes))
    splits = {
        name: [{**row, "label": row["row"] % classes} for row in rows(start, count)]
        for name, start, count in (("train", 0, 20 * classes), ("validation", 600, 60), ("test", 660, 60))
    }
    run(made(tmp_path, splits, names), tmp_path / "checks", Config())
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


def test_thirty_classes_can_be_learned(tmp_path: Path):
    result = run(prepared(tmp_path, "thirty-classes.csv"), tmp_path / "checks", Config())
    assert 0.01 < result.smallest_share < 0.05


def test_a_rare_class_is_refused_with_what_to_do_which_helps(tmp_path: Path):
    splits = prepared(tmp_path, "three-percent.csv")
    with pytest.raises(DataError, match=r"5% or more .* broken by fraud with 3.*set minimum_share=") as error:
        run(splits, tmp_path / "checks", Config())
    share = float(str(error.value).rpartition("minimum_share=")[2])
    assert run(splits, tmp_path / "checks", Config(minimum_share=share)).smallest_share < 0.05


def test_a_class_that_a_split_lacks_is_told(tmp_path: Path, splits: dict[str, list[Row]]):
    for row in splits["test"]:
        row["label"] = 1
    (said,) = faults(tmp_path, splits)
    assert said.startswith("each class is in each split: broken by bad not in test; give more rows of it")


def test_data_without_classes_or_text_have_fewer_rules(tmp_path: Path):
    schema = pa.schema({"x": pa.float64(), "row": pa.int64()})
    with new_dataset(tmp_path / "splits", schema, Work("data.split", None)) as writer:
        for name in ("train", "validation", "test"):
            columns = {"x": [float(row) for row in range(30)], "row": list(range(30))}
            writer.write(name, pa.record_batch(columns, schema=schema))
    result = run(tmp_path / "splits", tmp_path / "checks", Config(ranges={"x": [0, 29]}))
    assert (result.rules, result.smallest_share) == (3, 1.0)


def test_needs_the_three_splits(tmp_path: Path, splits: dict[str, list[Row]]):
    del splits["test"]
    with pytest.raises(DataError, match="no split 'test'; it has train, validation"):
        run(made(tmp_path, splits), tmp_path / "checks", Config())


def test_a_rule_about_a_column_that_is_not_there_is_told(tmp_path: Path, splits: dict[str, list[Row]]):
    with pytest.raises(DataError, match="no column 'price'"):
        run(made(tmp_path, splits), tmp_path / "checks", Config(ranges={"price": [0, 1]}))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"minimum_rows": 0}, "minimum_rows=0"),
        ({"minimum_share": 0.6}, "minimum_share=0.6"),
        ({"types": {"x": "date"}}, r"types\['x'\]='date'"),
        ({"ranges": {"x": [1]}}, r"ranges\['x'\]=\[1\]"),
        ({"ranges": {"x": [2, 1]}}, r"ranges\['x'\]"),
    ],
)
def test_refuses_settings_that_cannot_work(config: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        Config(**config)


def test_test_rows_that_were_kept_alone_are_checked_too(tmp_path: Path, splits: dict[str, list[Row]]):
    kept = made(tmp_path, {"test": splits["test"]})
    assert run(kept, tmp_path / "checks", Config()).rows == len(splits["test"])


def pictures(path: Path, splits: dict[str, list[int]]) -> Path:
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


def test_a_picture_in_two_splits_is_named(tmp_path: Path):
    splits = {"train": list(range(40)), "validation": list(range(40, 60)), "test": [*range(60, 79), 3]}
    with pytest.raises(DataError, match="no picture is in two splits: broken by row 3 of train = row 79 of test"):
        run(pictures(tmp_path / "data", splits), tmp_path / "checks", Config())


def test_pictures_of_their_own_in_each_split_pass(tmp_path: Path):
    splits = {"train": list(range(40)), "validation": list(range(40, 60)), "test": list(range(60, 80))}
    assert run(pictures(tmp_path / "data", splits), tmp_path / "checks", Config()).rows == 80


def scenes(path: Path, names: tuple[str, ...] = ("cat", "dog"), **odd: object) -> Path:
    columns = [("row", pa.int64()), ("image", IMAGE_TYPE), ("width", pa.int64()), ("height", pa.int64())]
    schema = pa.schema([*columns, ("objects", OBJECTS_TYPE)])
    thing = {"label": 0, "box": [1.0, 1.0, 9.0, 5.0], "rotation": 0.0, "polygons": [], "mask": "", "attributes": "{}"}
    thing |= dict.fromkeys(("crowd", "difficult", "truncated", "occluded"), False)
    with new_dataset(path, schema, Work("data.split", None), names) as writer:
        for start, name in ((0, "train"), (20, "validation"), (40, "test")):
            rows = [
                {
                    "row": row,
                    "image": {"bytes": b"%d" % row, "path": ""},
                    "width": 10,
                    "height": 6,
                    "objects": [thing, {**thing, "label": len(names) - 1, **(odd if row == 41 else {})}],
                }
                for row in range(start, start + 20)
            ]
            writer.write(name, pa.Table.from_pylist(rows, schema))
    return path


def test_objects_are_counted_by_class(tmp_path: Path):
    run(scenes(tmp_path / "data"), tmp_path / "checks", Config())
    data = open_measurement(tmp_path / "checks", "checks").data
    assert data["balance"]["train"] == {"cat": 20, "dog": 20}
    assert {
        "rule": "each box has an area, lies in its picture and has a class",
        "passed": True,
        "detail": "120 boxes",
    } in (data["rules"])


@pytest.mark.parametrize(
    "odd", [{"box": [1.0, 1.0, 11.0, 5.0]}, {"box": [4.0, 1.0, 4.0, 5.0]}, {"box": [-1.0, 1.0, 4.0, 5.0]}, {"label": 2}]
)
def test_an_object_that_is_none_is_named(tmp_path: Path, odd: dict[str, object]):
    with pytest.raises(DataError, match=r"each box has an area.*broken by row 41 of test"):
        run(scenes(tmp_path / "data", **odd), tmp_path / "checks", Config())


def test_a_turned_box_may_reach_beyond_its_picture(tmp_path: Path):
    run(scenes(tmp_path / "data", box=[1.0, 1.0, 11.0, 5.0], rotation=30.0), tmp_path / "checks", Config())


def test_one_kind_of_object_is_enough(tmp_path: Path):
    run(scenes(tmp_path / "data", names=("cat",)), tmp_path / "checks", Config())
