import csv
import gzip
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.artifacts.dataset import Dataset, new_dataset, open_dataset
from toolchain.artifacts.provenance import Work
from toolchain.augment import text as step
from toolchain.augment.text import Config, Copy, augment, language, run
from toolchain.augment.text.operations import NEGATIONS
from toolchain.errors import ConfigError, DataError

LANGUAGES = json.loads((Path(__file__).parents[2] / "cases/text/languages.json").read_text(encoding="utf-8"))
SAMPLE = Path(__file__).parents[3] / "samples/movie_reviews.csv.gz"
SCHEMA = pa.schema({"text": pa.string(), "label": pa.int64(), "row": pa.int64()})


def snippets(number: int) -> list[str]:
    with gzip.open(SAMPLE, "rt", encoding="utf-8") as file:
        return [row["text"] for _, row in zip(range(number), csv.DictReader(file), strict=False)]


TEXTS = snippets(60)


def write_dataset(path: Path, schema: pa.Schema = SCHEMA, **splits: list[str]) -> Path:
    first = 0
    with new_dataset(path, schema, Work("test.make", None), labels=("negative", "positive")) as writer:
        for split, texts in splits.items():
            rows = list(range(first, first := first + len(texts)))
            columns = {"text": texts, "label": [row % 2 for row in rows], "row": rows}
            names = [name for name in schema.names if name in columns]
            writer.write(split, pa.table({name: columns[name] for name in names}, schema=schema))
    return path


def augmented(tmp_path: Path, **settings: object) -> Dataset:
    run(tmp_path / "in", tmp_path / "out", Config(**settings))
    return open_dataset(tmp_path / "out")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "in", train=TEXTS[:40], validation=TEXTS[40:50], test=TEXTS[50:])


def test_copies_keep_the_label_and_row_of_their_original(source: Path, tmp_path: Path):
    rows = augmented(tmp_path, fraction=1.0).table("train").to_pylist()
    originals = {row["row"]: row for row in rows if not row["augmented"]}
    copies = [row for row in rows if row["augmented"]]
    assert [row["text"] for row in originals.values()] == TEXTS[:40]
    assert 20 < len(copies) <= 40
    assert all(copy["label"] == originals[copy["row"]]["label"] for copy in copies)
    assert all(copy["text"] != originals[copy["row"]]["text"] for copy in copies)


def test_validation_and_test_are_unchanged(source: Path, tmp_path: Path):
    before, after = open_dataset(source), augmented(tmp_path, fraction=1.0)
    for split in ("validation", "test"):
        rows = after.table(split)
        assert rows.column("augmented").to_pylist() == [False] * 10
        assert rows.drop_columns("augmented").equals(before.table(split))


def test_no_copy_equals_a_row_of_another_split(source: Path, tmp_path: Path):
    copies = [copy.text for (copy,) in augment(range(40), TEXTS[:40], Config()) if copy.operations]
    write_dataset(tmp_path / "leaky", train=TEXTS[:40], test=[copies[0].upper(), *copies[1:4]])
    result = run(tmp_path / "leaky", tmp_path / "out", Config(fraction=1.0))
    assert result.in_other_splits == 4
    after = open_dataset(tmp_path / "out")
    assert not set(copies[:4]) & set(after.table("train").column("text").to_pylist())


def test_the_note_has_examples_and_counts(source: Path, tmp_path: Path):
    result = run(source, tmp_path / "out", Config(fraction=1.0, copies=2))
    made = open_dataset(tmp_path / "out")
    note = made.notes["augment.text"]
    assert len(note["examples"]) == 12
    first = note["examples"][0]
    assert first["before"] == TEXTS[first["row"]] != first["after"]
    assert first["operations"]
    assert note["counts"]["copies"] == result.copies == made.rows("train") - 40
    assert result.copies + result.unchanged + result.in_other_splits == 80
    assert made.lineage[-1].metrics["copies"] == result.copies
    assert note["counts"]["synonym"] > 10


def test_copies_of_a_row_differ(source: Path, tmp_path: Path):
    texts = augmented(tmp_path, fraction=1.0, copies=5).table("train").column("text").to_pylist()
    assert len(texts) == len(set(texts))


@pytest.mark.slow
def test_the_result_does_not_depend_on_workers_and_batches(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    alone = augmented(tmp_path, fraction=0.5, workers=1)
    monkeypatch.setattr(step, "TEXTS_PER_WORKER", 8)
    monkeypatch.setattr(step, "TEXTS_PER_TASK", 3)
    run(source, tmp_path / "two", Config(fraction=0.5, workers=2))
    assert open_dataset(tmp_path / "two").digest == alone.digest


def test_another_seed_makes_different_copies(source: Path, tmp_path: Path):
    one = augmented(tmp_path, fraction=1.0)
    run(source, tmp_path / "other", Config(fraction=1.0, seed=1))
    assert open_dataset(tmp_path / "other").digest != one.digest


@settings(deadline=None, max_examples=25)
@given(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=5), st.integers(0, 1000), st.floats(0, 1))
def test_copies_keep_the_negations_of_their_original(texts: list[str], seed: int, rate: float):
    config = Config(seed=seed, copies=2, synonyms=rate, insertion=rate, swap=rate, deletion=rate)
    for text, copies in zip(texts, augment(range(len(texts)), texts, config), strict=True):
        for copy in copies:
            assert copy.text.strip()
            assert negations(copy.text) == negations(text)


def negations(text: str) -> list[str]:
    return [word for word in text.lower().replace("n't", " n't ").replace(",", " ").split() if word in NEGATIONS]


def test_a_copy_does_not_depend_on_other_rows():
    together = augment(range(20), TEXTS[:20], Config())
    assert augment([7], [TEXTS[7]], Config()) == [together[7]]


def german() -> list[str]:
    with (Path(__file__).parents[2] / "cases/text/german.csv").open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)][:120]


def test_texts_in_another_language_are_kept_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = write_dataset(tmp_path / "source", train=[*german(), *snippets(40)], validation=[], test=[])
    result = run(source, tmp_path / "augmented", Config(fraction=1.0))
    copies = [row for row in open_dataset(tmp_path / "augmented").table("train").to_pylist() if row["augmented"]]
    assert result.non_english >= 120
    assert result.copies == len(copies) > 25
    assert min(row["row"] for row in copies) >= 120
    assert f"augment: {result.non_english} of the selected rows are not English and get no copy: de (120)" in (
        capsys.readouterr().out
    )


def test_texts_in_another_language_do_not_load_the_tagger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(language, "load_tagger", lambda: pytest.fail("the tagger was loaded"))
    assert augment(range(3), german()[:3], Config()) == [[Copy(text, (), "de")] for text in german()[:3]]


@pytest.mark.parametrize("name", sorted(LANGUAGES))
def test_other_languages_are_not_classified_as_english(name: str):
    assert all(language.language_of(text) != "en" for text in LANGUAGES[name]["sentences"])


def test_reviews_are_classified_as_english():
    found = [language.language_of(text) for text in snippets(300)]
    assert found.count("en") >= 0.98 * len(found)


def test_protected_words_are_kept():
    texts = ["It is a huge and engrossing film."] * 30
    copies = augment(range(30), texts, Config(synonyms=1.0, protected=["Film"]))
    assert all("film" in copy.text for (copy,) in copies)
    assert any("huge" not in copy.text for (copy,) in copies)


def test_settings_without_effect_keep_rows_and_load_no_model(source: Path, tmp_path: Path):
    idle = [{"fraction": 0.0}, {"copies": 0}, {"synonyms": 0, "insertion": 0, "swap": 0, "deletion": 0}]
    code = (
        "import sys; from pathlib import Path; from toolchain.augment.text import Config, run\n"
        f"for number, setting in enumerate({idle!r}):\n"
        f"    run(Path({str(source)!r}), Path({str(tmp_path)!r}) / str(number), Config(**setting))\n"
        "assert not {'spacy', 'nltk', 'lemminflect'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for number in range(len(idle)):
        rows = open_dataset(tmp_path / str(number)).table("train")
        assert rows.column("text").to_pylist() == TEXTS[:40]
        assert rows.column("augmented").to_pylist() == [False] * 40


def test_a_missing_text_gets_no_copy(tmp_path: Path):
    write_dataset(tmp_path / "in", train=[None, "A huge film, and an absorbing one."], test=["x"])  # type: ignore[list-item]
    rows = augmented(tmp_path, fraction=1.0, synonyms=1.0).table("train").to_pylist()
    assert [(row["row"], row["augmented"]) for row in rows] == [(0, False), (1, False), (1, True)]


def test_an_augmented_dataset_is_rejected(source: Path, tmp_path: Path):
    run(source, tmp_path / "once", Config(fraction=0.0))
    with pytest.raises(DataError, match="already augmented"):
        run(tmp_path / "once", tmp_path / "twice", Config())
    assert not (tmp_path / "twice").exists()


def test_a_dataset_without_splits_is_rejected(tmp_path: Path):
    write_dataset(tmp_path / "in", all=TEXTS[:3])
    with pytest.raises(DataError, match="no split 'train'; it has all"):
        run(tmp_path / "in", tmp_path / "out", Config())


def test_a_dataset_without_texts_is_rejected(tmp_path: Path):
    write_dataset(tmp_path / "in", pa.schema({"label": pa.int64(), "row": pa.int64()}), train=["a"])
    with pytest.raises(DataError, match="no column 'text'"):
        run(tmp_path / "in", tmp_path / "out", Config())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"fraction": 1.5}, r"fraction must be between 0 and 1, got 1\.5"),
        ({"synonyms": -0.1}, r"synonyms must be between 0 and 1, got -0\.1"),
        ({"deletion": float("nan")}, "deletion must be between 0 and 1, got nan"),
        ({"copies": 21}, "copies must be 0 to 20, got 21"),
        ({"workers": -1}, "workers must be 0 .* got -1"),
        ({"protected": [""]}, "protected must list words"),
    ],
)
def test_invalid_settings_are_rejected(setting: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        Config(**setting)


def test_config_imports_no_nlp_library():
    code = (
        "import sys; from toolchain.augment.text import Config; Config()\n"
        "assert not {'spacy', 'nltk', 'torch', 'lemminflect', 'sklearn'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
