"""Quotation marks: no row is lost silently, for any texts and block boundaries."""

import csv
import io
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.artifacts.dataset import open_dataset
from toolchain.data.ingest import Config, run
from toolchain.data.ingest.quoting import QuoteChecker, QuotingError, TableShape
from toolchain.errors import DataError

Pairs = list[tuple[str, str]]
TEXTS = st.text(st.sampled_from('ab "\n,;\t\\'), min_size=1, max_size=12)
LABELS = st.sampled_from(["pos", "neg"])


def read(folder: Path, name: str, content: str, **config: object) -> Pairs:
    (folder / name).write_text(content, "utf-8", newline="")
    run(folder / "out", Config(source=str(folder / name), **config))
    table = open_dataset(folder / "out").table("all")
    return list(zip(table["text"].to_pylist(), table["label"].to_pylist(), strict=True))


def checked(shape: TableShape, content: bytes, size: int) -> bytes:
    chunks: Iterator[bytes] = (content[at : at + size] for at in range(0, len(content), size))
    return b"".join(QuoteChecker(shape).checked(chunks))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TEXTS, LABELS), min_size=1, max_size=8), st.sampled_from([",", ";", "\t"]))
def test_csv_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: Pairs, delimiter: str):
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter).writerows([("text", "label"), *rows])
    content = file.getvalue()
    assert read(tmp_path_factory.mktemp("csv"), "a.csv", content, delimiter=delimiter) == rows


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.text(st.sampled_from('ab "'), min_size=1, max_size=6), LABELS), min_size=2, max_size=8),
    st.booleans(),
)
def test_an_unquoted_table_keeps_all_rows_or_is_an_error(
    tmp_path_factory: pytest.TempPathFactory, rows: Pairs, label_first: bool
):
    rows = [("a good one", "pos"), ("a bad one", "neg"), *rows]  # each label is known from one sound row
    ordered = [row[::-1] if label_first else row for row in [("text", "label"), *rows]]
    content = "".join("\t".join(row) + "\n" for row in ordered)
    with suppress(DataError):
        found = read(tmp_path_factory.mktemp("tsv"), "a.tsv", content)
        assert [label for _, label in found] == [label for _, label in rows]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60).map(lambda data: bytes(b'ab",\n\r\\'[byte % 7] for byte in data)), st.integers(1, 20))
def test_the_check_does_not_depend_on_block_boundaries(content: bytes, size: int):
    shape = TableShape(b",", 2, 1, frozenset({b"a"}))

    def verdict(size: int) -> str:
        try:
            return str(len(checked(shape, content, size)))
        except QuotingError as error:
            return str(error).partition(":")[0]

    assert verdict(size) == verdict(1_000)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('text,label\nfine,pos\nbad,neg\n"hello,pos\nbye,neg\nhe said yes",neg\nok,pos\n', 6),
        ('label\ttext\npos\t"hello\nneg\tbye 24"\nneg\tok\npos\tok\n', 4),
        ('text;label\nfine;pos\n"never closed;neg\nok;pos\n', 3),
    ],
    ids=["closed at a field's end", "the label first", "never closed"],
)
def test_rows_inside_a_quoted_field_are_read_as_rows(tmp_path: Path, content: str, expected: int):
    rows = read(tmp_path, "a.csv", content, delimiter=content[4] if content[4] in ",;" else "\t")
    assert len(rows) == expected
    assert {label for _, label in rows} == {"pos", "neg"}


def test_quoted_line_breaks_and_delimiters_are_kept(tmp_path: Path):
    texts = ["one, two\nthree, four", "a\nb, c\nd", "pos\nneg", 'said "no", twice\nok']
    file = io.StringIO(newline="")
    csv.writer(file).writerows([("text", "label"), *((text, "pos") for text in texts), ("x", "neg")])
    assert [text for text, _ in read(tmp_path, "a.csv", file.getvalue())][:4] == texts


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('text,label\nfine,pos\n"a "bad" film",neg\n"ok, fine",pos\n', "line 3: text follows the closing"),
        ('text,label\n"a, b",pos\n"never closed,neg\n"ok, fine",pos\n', "line 3: text follows the closing"),
        ('text,label\n"a, b",pos\n"never, closed,neg\nok,pos\n', "line 3: a quotation mark may not be closed"),
    ],
)
def test_errors_name_the_line_and_the_setting(tmp_path: Path, content: str, message: str):
    with pytest.raises(DataError, match=message) as error:
        read(tmp_path, "a.csv", content)
    assert "set quoting to" in str(error.value)


def test_quotation_marks_inside_a_field_are_text(tmp_path: Path):
    content = 'text,label\n24" screen,pos\n"a, 24"" screen",neg\nthe 5"x7" frame,pos\n'
    texts = [text for text, _ in read(tmp_path, "a.csv", content)]
    assert texts == ['24" screen', 'a, 24" screen', 'the 5"x7" frame']


def test_quoting_can_be_set(tmp_path: Path):
    for name, quoting, text in (("a", "none", '"x"'), ("b", "standard", "x"), ("c", "backslash", "x")):
        (tmp_path / name).mkdir()
        assert read(tmp_path / name, "a.csv", 'text,label\n"x",pos\n', quoting=quoting) == [(text, "pos")]


def test_a_late_quoting_error_changes_the_quoting(tmp_path: Path):
    rows = [(f"number {number} of a long file that fills some blocks", "pos") for number in range(60_000)]
    rows += [('"It was', "neg"), ('the "best" one', "pos")]
    content = "text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows)
    assert read(tmp_path, "a.tsv", content) == rows
