from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.artifacts.dataset import Dataset, new_dataset, open_dataset
from toolchain.artifacts.image import IMAGE_TYPE
from toolchain.artifacts.provenance import Work
from toolchain.data.split import TEST, TRAIN, UNUSED, VALIDATION, Config, Shares, run, split
from toolchain.errors import ConfigError, DataError

NAMES = ("train", "validation", "test")


def clean(path: Path, rows: list[dict[str, object]], labels: tuple[str, ...] = ("a", "b")) -> Path:
    table = pa.Table.from_pylist(rows)
    with new_dataset(path, table.schema, Work("data.clean", None), labels) as writer:
        for start in range(0, table.num_rows, 7):  # many small batches
            writer.write("all", table.slice(start, 7))
    return path


def reviews(count: int, share_of_b: float = 0.5) -> list[dict[str, object]]:
    return [{"text": f"review {row}", "label": int(row < count * share_of_b), "row": row} for row in range(count)]


def split_rows(path: Path, table: list[dict[str, object]], **config: object) -> Dataset:
    run(clean(path / "clean", table), path / "splits", Config(**config))
    return open_dataset(path / "splits")


def members(dataset: Dataset, column: str = "row") -> dict[str, list[object]]:
    return {name: dataset.table(name)[column].to_pylist() for name in dataset.splits}


def test_each_class_is_split_in_the_same_proportions(tmp_path: Path):
    dataset = split_rows(tmp_path, reviews(200, share_of_b=0.2))
    labels = members(dataset, "label")
    assert {name: (labels[name].count(0), labels[name].count(1)) for name in NAMES} == {
        "train": (128, 32),
        "validation": (16, 4),
        "test": (16, 4),
    }


def test_every_row_is_in_one_split_in_the_order_of_its_source(tmp_path: Path):
    found = members(split_rows(tmp_path, reviews(100)))
    assert sorted(row for rows in found.values() for row in rows) == list(range(100))
    assert all(rows == sorted(rows) for rows in found.values())


def test_the_split_does_not_depend_on_the_order_of_rows(tmp_path: Path):
    rows = reviews(100)
    for name in ("forward", "backward"):
        (tmp_path / name).mkdir()
    forward = members(split_rows(tmp_path / "forward", rows))
    backward = members(split_rows(tmp_path / "backward", rows[::-1]))
    assert {name: sorted(each) for name, each in forward.items()} == {
        name: sorted(each) for name, each in backward.items()
    }


def test_another_seed_gives_another_split(tmp_path: Path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    assert members(split_rows(tmp_path / "one", reviews(100))) != members(
        split_rows(tmp_path / "two", reviews(100), seed=1)
    )


def test_equal_texts_stay_together(tmp_path: Path):
    forms = ("Review {}.", "review {}", "“REVIEW”  {},")
    rows = [{"text": forms[row % 3].format(row // 3), "label": 0, "row": row} for row in range(150)]
    source = clean(tmp_path / "clean", rows, labels=("only",))
    run(source, tmp_path / "splits", Config())
    for rows_of_split in members(open_dataset(tmp_path / "splits")).values():
        numbers = {row // 3 for row in rows_of_split}
        assert len(rows_of_split) == 3 * len(numbers)


def test_groups_and_groups_with_a_common_text_stay_together(tmp_path: Path):
    rows = reviews(120)
    for row in rows:
        row["author"] = f"author {row['row'] // 4}"
    rows[0]["text"] = rows[4]["text"]  # authors 0 and 1
    dataset = split_rows(tmp_path, rows, group_column="author")
    authors = {name: set(each) for name, each in members(dataset, "author").items()}
    assert not authors["train"] & authors["test"] | authors["train"] & authors["validation"]
    assert not authors["validation"] & authors["test"]
    assert [name for name in NAMES if "author 0" in authors[name]] == [n for n in NAMES if "author 1" in authors[n]]


def test_a_row_without_a_group_is_a_separate_group(tmp_path: Path):
    rows = [{**row, "author": None if row["row"] % 2 else "x"} for row in reviews(200)]
    authors = members(split_rows(tmp_path, rows, group_column="author", test_fraction=0.2, seed=1), "author")
    assert sum("x" in each for each in authors.values()) == 1
    assert all(None in each for each in authors.values())


def test_the_limit_applies_to_training_only_and_is_stratified(tmp_path: Path):
    for name in ("all", "some"):
        (tmp_path / name).mkdir()
    whole = split_rows(tmp_path / "all", reviews(200, share_of_b=0.2))
    some = split_rows(tmp_path / "some", reviews(200, share_of_b=0.2), max_train_rows=40)
    assert members(some)["test"] == members(whole)["test"]
    assert members(some)["validation"] == members(whole)["validation"]
    assert set(members(some)["train"]) < set(members(whole)["train"])
    labels = members(some, "label")["train"]
    assert (labels.count(0), labels.count(1)) == (32, 8)
    assert (some.dropped[-1].step, some.dropped[-1].rows) == ("data.split", 120)


def test_a_table_without_text_and_classes_is_split_by_row(tmp_path: Path):
    source = clean(tmp_path / "clean", [{"x": 1.0, "row": row} for row in range(50)], labels=())
    result = run(source, tmp_path / "splits", Config())
    assert (result.train, result.validation, result.test, result.unused) == (40, 5, 5, 0)


@pytest.mark.parametrize("count", [3, 6, 10])
def test_too_few_rows_for_a_split_are_an_error(tmp_path: Path, count: int):
    with pytest.raises(DataError, match=r"class 'a' has \d+ rows, too few"):
        run(clean(tmp_path / "clean", reviews(count)), tmp_path / "splits", Config())
    assert not (tmp_path / "splits").exists()


def test_a_class_without_rows_is_an_error(tmp_path: Path):
    with pytest.raises(DataError, match="class 'b' has 0 rows"):
        run(clean(tmp_path / "clean", reviews(100, share_of_b=0)), tmp_path / "splits", Config())


def given_splits(path: Path, splits: dict[str, list[dict[str, object]]]) -> Path:
    schema = pa.schema([("text", pa.string()), ("label", pa.int64()), ("row", pa.int64())])
    with new_dataset(path, schema, Work("data.images", None), ("a", "b")) as writer:
        for name, rows in splits.items():
            writer.write(name, pa.Table.from_pylist(rows, schema))
    return path


def test_an_existing_test_split_is_kept(tmp_path: Path):
    rows = reviews(120)
    source = given_splits(tmp_path / "source", {"test": rows[:20], "train": rows[20:]})
    result = run(source, tmp_path / "splits", Config(validation_fraction=0.2))
    found = members(open_dataset(tmp_path / "splits"))
    assert found["test"] == list(range(20))
    assert (result.train, result.validation, result.test) == (80, 20, 20)
    assert sorted(found["train"] + found["validation"]) == list(range(20, 120))


def test_splits_without_training_rows_are_an_error(tmp_path: Path):
    source = given_splits(tmp_path / "source", {"test": reviews(20), "validation": reviews(20)})
    with pytest.raises(DataError, match="has the splits test, validation but no split train"):
        run(source, tmp_path / "splits", Config())


def test_equal_images_stay_in_one_split(tmp_path: Path):
    schema = pa.schema([("row", pa.int64()), ("image", IMAGE_TYPE)])
    files = [{"row": row, "image": {"bytes": bytes([row // 2]), "path": f"{row}.png"}} for row in range(200)]
    with new_dataset(tmp_path / "images", schema, Work("data.images", None)) as writer:
        writer.write("all", pa.Table.from_pylist(files, schema))
    run(tmp_path / "images", tmp_path / "splits", Config())
    found = members(open_dataset(tmp_path / "splits"))
    assert {name: len(rows) for name, rows in found.items()} == {"train": 160, "validation": 20, "test": 20}
    assert all((row ^ 1) in rows for rows in found.values() for row in rows), "both copies are in one split"


def test_a_missing_group_column_is_an_error(tmp_path: Path):
    with pytest.raises(DataError, match="no column 'author'"):
        run(clean(tmp_path / "clean", reviews(100)), tmp_path / "splits", Config(group_column="author"))


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=60),
    classes=st.integers(1, 3),
    seed=st.integers(0, 2**32),
    limit=st.integers(0, 30),
)
def test_units_stay_whole_and_shares_are_right_within_a_unit(sizes: list[int], classes: int, seed: int, limit: int):
    random = np.random.default_rng(seed)
    units = np.repeat(np.arange(len(sizes)), sizes)
    class_of_unit = random.integers(0, classes, len(sizes))
    ranks = random.integers(0, 2**63, len(sizes)).astype(np.uint64)
    shares = Shares(validation=0.2, test=0.3, rows=limit)
    assignment = split(units, class_of_unit[units], ranks, shares)
    for unit in range(len(sizes)):
        assert len(set(np.where(assignment == UNUSED, TRAIN, assignment)[units == unit])) == 1
    for name in range(classes):
        of_class = assignment[class_of_unit[units] == name]
        assert abs((of_class == TEST).sum() - 0.3 * len(of_class)) <= max(sizes)
        assert abs((of_class == VALIDATION).sum() - 0.2 * len(of_class)) <= max(sizes) + 1
    if limit:
        assert (assignment == TRAIN).sum() <= limit


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"test_fraction": 0.0}, "test_fraction=0.0"),
        ({"validation_fraction": 0.5}, "validation_fraction=0.5"),
        ({"max_train_rows": -1}, "max_train_rows=-1"),
    ],
)
def test_invalid_settings_are_rejected(config: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        Config(**config)
