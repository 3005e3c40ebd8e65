import gzip
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.artifacts.dataset import Dataset, open_dataset
from toolchain.data.ingest import Config, run
from toolchain.errors import ConfigError, DataError

SAMPLE = Path(__file__).parents[3] / "samples" / "movie_reviews.csv.gz"
CSV = 'text,label,stars\n"a ""fine"", long\nfilm",good,5\nbad,bad,1\n'
Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(name: str, content: str | bytes) -> Path:
        content = content.encode() if isinstance(content, str) else content
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return tmp_path / name

    return written


def ingested(source: Path | str, **config: object) -> Dataset:
    target = Path(source).parent / "out"
    run(target, Config(source=str(source), **config))
    return open_dataset(target)


def error_of(source: Path | str, **config: object) -> str:
    target = Path(source).parent / "out"
    with pytest.raises(DataError) as error:
        run(target, Config(source=str(source), **config))
    assert not target.exists()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_sample_is_ingested_with_its_digest(tmp_path: Path):
    result = run(tmp_path / "out", Config(source=str(SAMPLE), columns=["*"]))
    dataset = open_dataset(tmp_path / "out")
    assert result.rows == dataset.rows("all") == 10_605  # samples/README.md
    assert dataset.schema.names == ["text", "label", "id", "rating", "row"]
    assert dataset.lineage[-1].source["sha256"] == hashlib.sha256(SAMPLE.read_bytes()).hexdigest()
    assert dataset.lineage[-1].source["rows"] == 10_605
    table = dataset.table("all", ["row", "label"])
    assert table["row"].to_pylist() == list(range(10_605))
    assert table["label"].to_pylist().count("positive") == 4_996


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "A.CSV"])
def test_reads_csv_with_quotes_and_line_breaks_inside(write: Write, name: str):
    dataset = ingested(write(name, CSV), columns=["stars"])
    assert dataset.table("all").to_pylist() == [
        {"text": 'a "fine", long\nfilm', "label": "good", "stars": 5, "row": 0},
        {"text": "bad", "label": "bad", "stars": 1, "row": 1},
    ]


@pytest.mark.parametrize("name", ["a.tsv", "a.tab.gz"])
def test_reads_tabs(write: Write, name: str):
    assert ingested(write(name, "text\tlabel\na, b\tgood\n")).table("all")["text"].to_pylist() == ["a, b"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson.gz", "a.json"])
def test_reads_json_lines(write: Write, name: str):
    lines = [{"text": "é", "label": 1, "more": {"deep": [1]}}, {"label": 2.5, "text": None}]
    dataset = ingested(write(name, "\n\n".join(map(json.dumps, lines))), columns=["more"])
    assert dataset.table("all").to_pylist() == [
        {"text": "é", "label": "1", "more": '{"deep": [1]}', "row": 0},
        {"text": None, "label": "2.5", "more": None, "row": 1},
    ]


def test_reads_parquet(tmp_path: Path):
    columns = {"body": pa.array(["x", None]).dictionary_encode(), "label": pa.array(["a", "b"], pa.large_string())}
    pq.write_table(pa.table({**columns, "day": pa.array([0, 1], pa.date32())}), tmp_path / "a.parquet")
    dataset = ingested(tmp_path / "a.parquet", text_column="body", columns=["day"])
    assert dataset.table("all")["text"].to_pylist() == ["x", None]
    assert dataset.schema.field("label").type == pa.string()
    assert dataset.schema.field("day").type == pa.date32()


def test_class_indices_become_the_names_in_the_metadata(tmp_path: Path):
    features = {"info": {"features": {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}}}}
    schema = pa.schema({"text": pa.string(), "label": pa.int64()}, metadata={"huggingface": json.dumps(features)})
    pq.write_table(pa.table({"text": ["x", "y", "z"], "label": [1, 0, -1]}, schema=schema), tmp_path / "a.parquet")
    assert ingested(tmp_path / "a.parquet").table("all")["label"].to_pylist() == ["pos", "neg", None]


def test_columns_get_standard_names(write: Write):
    dataset = ingested(write("a.csv", "body,stars,id\nx,5,7\n"), text_column="body", label_column="stars")
    assert dataset.table("all").to_pylist() == [{"text": "x", "label": "5", "row": 0}]


def test_a_table_without_text_and_classes_is_ingested(write: Write):
    dataset = ingested(write("a.csv", "height,width\n1,2.5\n"), text_column="", label_column="", columns=["*"])
    assert dataset.table("all").to_pylist() == [{"height": 1, "width": 2.5, "row": 0}]


def test_text_of_digits_stays_text(write: Write):
    assert ingested(write("a.csv", "text,label\n007,1\n")).table("all")["text"].to_pylist() == ["007"]


def test_an_empty_label_is_missing(write: Write):
    assert ingested(write("a.csv", "text,label\nx,\ny,1\n")).table("all")["label"].to_pylist() == [None, "1"]


@pytest.mark.parametrize(
    ("late", "expected"),
    [("2.5", [1.0, 2.5]), ("high", ["1", "high"]), ("007", ["1", "007"]), ("9" * 20, ["1", "9" * 20])],
    ids=["a fraction", "a word", "a code with zeros", "a code of 20 digits"],
)
@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_column_whose_type_changes_later_is_read_again(write: Write, ending: str, late: str, expected: list[object]):
    count = 120_000 if ending == "csv" else 12_000  # more rows than are read to detect the type
    if ending == "csv":
        content = "text,size\n" + "some text,1\n" * count + f"more,{late}\n"
    else:
        value = late if late in ("2.5", "9" * 20) else json.dumps(late)
        content = '{"text": "some text", "size": 1}\n' * count + f'{{"text": "more", "size": {value}}}\n'
    dataset = ingested(write(f"a.{ending}", content), label_column="", columns=["size"])
    assert [dataset.table("all")["size"][at].as_py() for at in (0, -1)] == expected


@pytest.mark.parametrize(("encoding", "mark"), [("latin-1", b""), ("utf-16", b""), ("utf-8", b"\xef\xbb\xbf")])
@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_reads_configured_encodings_and_skips_byte_order_marks(write: Write, encoding: str, mark: bytes, ending: str):
    content = "text,label\ncafé,1\n" if ending == "csv" else '{"text": "café", "label": 1}\n'
    dataset = ingested(write(f"a.{ending}", mark + content.encode(encoding)), encoding=encoding)
    assert dataset.table("all").to_pylist() == [{"text": "café", "label": "1", "row": 0}]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), min_size=1, max_size=20))
def test_any_text_survives_csv(tmp_path_factory: pytest.TempPathFactory, texts: list[str]):
    import csv

    folder = tmp_path_factory.mktemp("csv")
    with (folder / "a.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["text", "label"], *([text, "x"] for text in texts)])
    assert ingested(folder / "a.csv").table("all")["text"].to_pylist() == texts


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"text,label\n", "no rows"),
        ("a.csv", b"PK\x03\x04...", "is damaged or locked (File is not a zip file)"),
        ("a.csv", b"PAR1....", "appears to be parquet"),
        ("a.csv", b"<!DOCTYPE html><html>", "appears to be a web page"),
        ("a.csv", b'{"text": "x", "label": 1}\n', "appears to be jsonl, expected csv"),
        ("a.csv", "text,label\ncafé,1\n".encode("latin-1"), "not utf-8 text (byte 0xe9 in line 2; set encoding=cp1252"),
        ("a.csv", b"text,label\na,b,c\n", "line 2 has 3 fields, expected 2: a,b,c"),
        ("a.csv", b"text:label\nx:1\n", "set delimiter"),
        ("a.csv", b"text,text\nx,1\n", "two columns 'text'"),
        ("a.csv", b'text,label\n"' + b"x" * (3 << 20), "quotation mark may not be closed"),
        ("a.jsonl", b"[1]\n", "row 0: int found"),
        ("a.jsonl", b"1\n", "line 1: int found"),
        ("a.json", b'[{"text": "x", "label": 1},\n{"text"', "row 1: not JSON"),
        ("a.json", b'[{"text": "x", "label": 1}', "row 1: not JSON"),
        ("a.json", b'{"text": {"0": "x"}, "label": {"1": "y"}}', "column 'label' has other rows than the first"),
        ("a.jsonl", b'{"text": "x", "label": 1}\n{"text"\n', "line 2: not JSON"),
        ("a.jsonl", '{"text": "café"}\n'.encode("latin-1"), "not utf-8 text"),
        ("a.parquet", b"text,label\n", "not Parquet"),
        ("a.parquet", b"PAR1 and then nothing", "not valid Parquet"),
        ("a.txt", b"x", "set format to one of csv"),
    ],
)
def test_an_invalid_file_is_an_error_in_one_line(write: Write, name: str, content: bytes, message: str):
    source = write(name, content)
    error = error_of(source)
    assert message in error
    assert str(source) in error


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_truncated_gz_is_an_error(write: Write, tmp_path: Path, ending: str):
    content = CSV if ending == "csv" else '{"text": "x", "label": 1}\n'
    whole = write(f"a.{ending}.gz", content + "".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(99)))
    (tmp_path / f"cut.{ending}.gz").write_bytes(whole.read_bytes()[:-300])
    assert "cut off" in error_of(tmp_path / f"cut.{ending}.gz")


def test_a_wrong_gzip_ending_is_an_error(tmp_path: Path):
    (tmp_path / "a.csv.gz").write_text(CSV)
    assert "the ending of a gzip file but is not compressed" in error_of(tmp_path / "a.csv.gz")
    (tmp_path / "a.parquet").write_bytes(gzip.compress(b"x"))
    assert "unpack it first" in error_of(tmp_path / "a.parquet")


def test_a_damaged_gz_is_an_error(tmp_path: Path):
    packed = bytearray(gzip.compress(b'{"text": "x", "label": 1}\n' * 1_000))
    packed[-8:-4] = b"\0\0\0\0"  # the checksum
    (tmp_path / "a.jsonl.gz").write_bytes(packed)
    assert "damaged" in error_of(tmp_path / "a.jsonl.gz")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"text_column": "body"}, "no column 'body'; it has 'text', 'label', 'stars': set text_column"),
        ({"label_column": "class"}, "no column 'class'; it has 'text', 'label', 'stars': set label_column"),
        ({"columns": ["id"]}, "no column 'id'; it has 'text', 'label', 'stars': set columns"),
        ({"text_column": "label", "label_column": "stars", "columns": ["text"]}, "rename it"),
        ({"text_column": "", "label_column": ""}, "no column of"),
    ],
)
def test_an_invalid_column_selection_is_an_error(write: Write, config: dict[str, object], message: str):
    assert message in error_of(write("a.csv", CSV), **config)


def test_a_source_column_named_row_is_an_error(write: Write):
    assert "rename it" in error_of(write("a.csv", "text,label,row\nx,1,9\n"), columns=["*"])


def test_a_similar_column_is_suggested(write: Write):
    source = write("a.csv", "Text,,Bewertung (1-3)\nx,y,1\n")
    error = error_of(source, text_column="Text", label_column="bewertung")
    assert "it has 'Text', '', 'Bewertung (1-3)': set label_column (did you mean 'Bewertung (1-3)'?)" in error


def test_text_and_label_must_be_single_values(tmp_path: Path):
    pq.write_table(pa.table({"text": [["x"]], "label": [1]}), tmp_path / "a.parquet")
    assert "(row 0); one value for each row is needed: set text_column" in error_of(tmp_path / "a.parquet")
    assert "needed: set label_column" in error_of(tmp_path / "a.parquet", text_column="", label_column="text")


def test_a_missing_file_and_an_empty_folder_are_errors(tmp_path: Path):
    assert "does not exist" in error_of(tmp_path / "none.csv")
    (tmp_path / "folder").mkdir()
    assert "is a folder without files of a single format (found: none)" in error_of(tmp_path / "folder")


def test_the_digest_is_checked(write: Write):
    source = write("a.csv", CSV)
    right = hashlib.sha256(CSV.encode()).hexdigest()
    assert right in error_of(source, digest="0" * 64)
    assert ingested(source, digest=right.upper()).rows("all") == 2


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "site"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_reads_from_http(site: str, tmp_path: Path):
    run(tmp_path / "out", Config(source=f"{site}/a.csv.gz?download=1"))
    source = open_dataset(tmp_path / "out").lineage[-1].source
    assert source["rows"] == 2
    assert source["sha256"] == hashlib.sha256((tmp_path / "site" / "a.csv.gz").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"source": ""}, "source is empty"),
        ({"digest": "abc"}, "digest='abc'"),
        ({"format": "xlsx"}, "format='xlsx'"),
        ({"text_column": "a", "label_column": "a"}, "both 'a'"),
        ({"delimiter": "||"}, "has 2 characters"),
        ({"encoding": "utf-9"}, "encoding='utf-9'"),
    ],
)
def test_invalid_settings_are_rejected(config: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message.replace("|", r"\|")):
        Config(**config)


def pairs(dataset: Dataset) -> list[tuple[str, str | None]]:
    table = dataset.table("all", ["text", "label"])
    return list(zip(table["text"].to_pylist(), table["label"].to_pylist(), strict=True))


@pytest.mark.parametrize("line", ['b two,"neg', '"b two,neg'])
def test_an_unclosed_quotation_mark_loses_no_rows(write: Write, line: str):
    rows = ["a one,pos", line, "c three,pos", "d four,neg"]
    source = write("a.csv", "\n".join(["text,label", *rows, ""]))
    assert pairs(ingested(source)) == [tuple(row.split(",")) for row in rows]


def test_a_repeated_header_is_skipped(write: Write, capsys: pytest.CaptureFixture[str]):
    part = "text,label\na b,pos\nc d,neg\n"
    source = write("a.csv", part + "\ufeff" + part.replace("a b", "e f"))
    assert pairs(ingested(source)) == [("a b", "pos"), ("c d", "neg"), ("e f", "pos"), ("c d", "neg")]
    assert "1 rows that repeat the header" in capsys.readouterr().out


@pytest.mark.parametrize("missing", ["None", "NaN", "NULL", r"\N", "<NA>", ""])
def test_null_words_are_missing_among_numeric_labels(write: Write, missing: str):
    source = write("a.csv", f"text,label\na b,0\nc d,{missing}\ne f,1\n")
    assert [label for _, label in pairs(ingested(source))] == ["0", None, "1"]


def test_excels_separator_line_is_read_with_any_line_end(write: Write):
    assert pairs(ingested(write("a.csv", "sep=;\rtext;label\ra, b;pos\rc d;neg\r"))) == [
        ("a, b", "pos"),
        ("c d", "neg"),
    ]


def test_a_number_with_too_many_digits_is_an_error(write: Write):
    source = write("a.jsonl", '{"text": "a", "label": %s}\n{"text": "b", "label": 1}\n' % ("9" * 5_000))
    assert "row 0: not JSON (Exceeds the limit (4300 digits)" in error_of(source)


def test_only_errors_of_delimited_files_suggest_a_delimiter(write: Write):
    assert "set delimiter" not in error_of(write("a.json", '{"data": {"items": [{"text": "a", "label": "b"}]}}'))
    assert "set delimiter" in error_of(write("b.csv", "text\na\n"))
