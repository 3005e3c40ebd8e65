"""Detection of formats, encodings and delimiters, and the errors when it fails."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from toolchain.artifacts.dataset import open_dataset
from toolchain.data.ingest import Config, run
from toolchain.data.ingest.encodings import detect_encoding
from toolchain.errors import ConfigError, DataError

ROWS = [("I like it, très", "pos"), ("no; not 5€", "neg")]
FRAME = pd.DataFrame(ROWS, columns=["text", "label"])
Read = Callable[..., list[tuple[str, str]]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def rows(name: str, content: bytes | str, **config: object) -> list[tuple[str, str]]:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        run(tmp_path / "out", Config(source=str(tmp_path / name), **config))
        table = open_dataset(tmp_path / "out").table("all")
        return list(zip(table["text"].to_pylist(), table["label"].to_pylist(), strict=True))

    return rows


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.txt", "a.dat", "a"])
def test_the_delimiter_is_detected_for_any_file_name(read: Read, name: str, delimiter: str):
    assert read(name, FRAME.to_csv(sep=delimiter, index=False)) == ROWS


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("ending", ["csv", "jsonl", "csv.gz"])
def test_the_encoding_is_detected_by_marks_and_zero_bytes(read: Read, encoding: str, ending: str):
    lines = FRAME.to_json(orient="records", lines=True, force_ascii=False)
    content = (lines if ending == "jsonl" else FRAME.to_csv(index=False)).encode(encoding)
    assert read(f"a.{ending}", gzip.compress(content) if ending.endswith(".gz") else content) == ROWS


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("orient", ["records", "columns", "index", "split", "table"])
def test_json_is_read_in_each_orientation_of_pandas(read: Read, orient: str, indent: int | None):
    assert read("a.json", FRAME.to_json(orient=orient, indent=indent)) == ROWS  # type: ignore[call-overload]


def test_json_columns_as_lists_are_read(read: Read):
    assert read("lists.json", json.dumps(FRAME.to_dict("list"))) == ROWS


def test_rows_under_a_key_are_read(read: Read):
    assert read("keyed.json", json.dumps({"version": 1, "data": FRAME.to_dict("records")}, indent=1)) == ROWS


def test_a_long_array_is_read_in_chunks(read: Read, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("toolchain.data.ingest.json_rows.CHUNK_CHARACTERS", 7)
    rows = [*ROWS, ("half of a pair \ufffd", "1"), ('"]}, \\', "2.5")]
    content = json.dumps([{"text": text, "label": label} for text, label in rows]).replace("\\ufffd", "\\ud83d")
    assert read("a.json", content) == rows


def test_carriage_returns_and_empty_rows_are_read(read: Read):
    assert read("a.csv", FRAME.to_csv(index=False, lineterminator="\r") + "\r\r") == ROWS


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", "it’s 5€ – “really” good"),
        ("cp1252", "Die Küche war schön und groß"),
        ("cp1252", "une sœur à la plage, très agréable"),
        ("cp1251", "Это очень хороший фильм, мне понравилось"),
        ("koi8_r", "Это очень хороший фильм, мне понравилось"),
        ("cp1250", "Zażółć gęślą jaźń, to był świetny film i książka"),
        ("cp1253", "Η ταινία ήταν πολύ καλή και μου άρεσε"),
        ("cp932", "この映画はとても面白かったです。また見たい"),
        ("gb18030", "这部电影非常好看，我很喜欢"),
        ("big5", "這部電影非常好看，我很喜歡"),
        ("cp949", "이 영화는 정말 재미있었어요 다시 보고 싶어요"),
    ],
)
def test_the_encoding_of_a_text_is_detected(encoding: str, text: str):
    assert detect_encoding(f"{text}\n".encode(encoding) * 5) == encoding


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_an_invalid_byte_is_reported_with_its_line_and_encoding(read: Read, ending: str):
    row = "fine,pos\n" if ending == "csv" else '{"text": "fine", "label": "pos"}\n'
    head, count = ("text,label\n", 100_001) if ending == "csv" else ("", 100_000)
    content = (head + row * 100_000 + row.replace("fine", "it’s fine")).encode("cp1252")
    with pytest.raises(DataError, match=rf"byte 0x92 in line {count + 1:,}; set encoding=cp1252.*it’s fine"):
        read(f"a.{ending}", content)


def test_latin_1_with_control_characters_is_windows_1252(read: Read):
    with pytest.raises(DataError, match=r"not latin-1 text .*set encoding=cp1252"):
        read("a.csv", "text,label\nit’s,pos\n".encode("cp1252"), encoding="latin-1")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1", "old Excel"),
        ("a.csv", b"ARROW1\0\0", "an Arrow file"),
        ("a.tar", b"a.csv".ljust(257, b"\0") + b"ustar\0", "a tar archive"),
        ("a.txt", b"__label__pos I like it\n", "set format"),
        ("a.csv", b"text,label\nI like it, really,pos\n", "line 2 has 3 fields, expected 2"),
        ("a.csv", b'text,label\n"two\nlines",x\nI like it, really,pos\n', "line 4 has 3 fields, expected 2"),
        ("a.csv", b"# exported\ntext,label\nfine,pos\n", "line 2 has 2 fields, expected 1"),
        ("a.json", b'[["text", "label"], ["x", "pos"]]', "row 0: str found"),
        ("a.jsonl", b'{"text": ' + b"[" * 100_000, "not JSON"),
    ],
)
def test_unsupported_content_is_an_error_in_one_line(read: Read, name: str, content: bytes, message: str):
    with pytest.raises(DataError, match=message) as error:
        read(name, content)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["text"], "has 2 columns, column_names has 1 names"),
        (["text", "label"], "has these names in its first row; leave column_names empty"),
    ],
)
def test_wrong_column_names_are_rejected(read: Read, names: list[str], message: str):
    with pytest.raises(DataError, match=message):
        read("a.csv", "text,label\nfine,pos\n", column_names=names)


def test_column_names_are_for_text_tables_only(read: Read):
    with pytest.raises(DataError, match="leave column_names empty"):
        read("a.jsonl", '{"text": "x", "label": 1}\n', column_names=["text", "label"])


def test_null_words_are_missing_only_among_numbers(read: Read):
    assert read("a.csv", "text,label\na,1\nb,NA\nc,NULL\nd,\n") == [("a", "1"), ("b", None), ("c", None), ("d", None)]


def test_na_among_text_labels_is_a_label(read: Read):
    assert read("a.csv", "text,label\na,DE\nb,NA\n") == [("a", "DE"), ("b", "NA")]


def test_codes_in_other_columns_keep_their_digits(tmp_path: Path):
    (tmp_path / "a.csv").write_text("text,zip,account,post,size\nx,01067,12345678901234567890,1234567890123456789,5\n")
    run(tmp_path / "out", Config(source=str(tmp_path / "a.csv"), label_column="", columns=["*"]))
    assert open_dataset(tmp_path / "out").table("all").to_pylist() == [
        {
            "text": "x",
            "zip": "01067",
            "account": "12345678901234567890",
            "post": 1234567890123456789,
            "size": 5,
            "row": 0,
        }
    ]


@pytest.mark.parametrize("names", [("part-0.csv", "part-1.csv", "_SUCCESS", ".part-0.csv.crc"), ("a/1.csv", "b/2.csv")])
def test_a_folder_of_files_is_one_table(tmp_path: Path, names: tuple[str, ...]):
    for number, name in enumerate(names):
        path = tmp_path / "parts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text,label\nrow {number},pos\n" if name.endswith(".csv") else "")
    run(tmp_path / "out", Config(source=str(tmp_path / "parts")))
    table = open_dataset(tmp_path / "out").table("all")
    assert table["text"].to_pylist() == ["row 0", "row 1"]
    assert table["row"].to_pylist() == [0, 1]


def test_the_format_of_a_folder_is_that_of_its_files(tmp_path: Path):
    (tmp_path / "reviews.csv").mkdir()
    pq.write_table(pa.table({"text": ["x"], "label": ["pos"]}), tmp_path / "reviews.csv" / "part-0.parquet")
    run(tmp_path / "out", Config(source=str(tmp_path / "reviews.csv")))
    assert open_dataset(tmp_path / "out").rows("all") == 1


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.csv": "x", "b.jsonl": "{}"}, "without files of a single format"),
        (
            {"train.csv": "text,label\n", "other.csv": "text,label\n", "test.csv": "x"},
            "other.csv without a split",
        ),
        ({"a.csv": "text,label\nx,1\n", "b.csv": "text,class\nx,1\n"}, "no column 'label'"),
    ],
)
def test_a_folder_of_different_files_is_an_error(tmp_path: Path, files: dict[str, str], message: str):
    (tmp_path / "parts").mkdir()
    for name, content in files.items():
        (tmp_path / "parts" / name).write_text(content)
    with pytest.raises(DataError, match=message):
        run(tmp_path / "out", Config(source=str(tmp_path / "parts")))


def test_files_with_different_column_types_are_an_error(tmp_path: Path):
    (tmp_path / "parts").mkdir()
    for number, size in enumerate(([1], [["x"]])):
        pq.write_table(pa.table({"text": ["x"], "size": size}), tmp_path / "parts" / f"{number}.parquet")
    with pytest.raises(DataError, match="column 'size' is int64 in one, list"):
        run(tmp_path / "out", Config(source=str(tmp_path / "parts"), label_column="", columns=["size"]))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"quoting": "some"}, "quoting='some'"),
        ({"delimiter": "§"}, "an ASCII character"),
        ({"delimiter": '"'}, "ASCII"),
    ],
)
def test_invalid_settings_are_rejected(config: dict[str, str], message: str):
    with pytest.raises(ConfigError, match=message):
        Config(**config)


def test_a_tab_can_be_given_by_name(read: Read):
    assert read("a.csv", "text\tlabel\nx\ty\n", delimiter="\\t") == [("x", "y")]
