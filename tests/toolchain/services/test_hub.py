import io
import json
import threading
import urllib.parse
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from toolchain.data.ingest import Config, run
from toolchain.errors import DataError, ServiceError
from toolchain.services import hub, storage

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = ("default/train/0000.parquet", "default/train/0001.parquet", "default/test/0000.parquet")


def parquet(name: str) -> bytes:
    content = io.BytesIO()
    pq.write_table(pa.table({"text": [f"{name} says"], "label": ["good"]}), content)
    return content.getvalue()


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's HTTP interface as reading a data set takes."""

    def do_GET(self) -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        if path == "/api/datasets/me/reviews/revision/refs/convert/parquet":
            siblings = [{"rfilename": name} for name in (*FILES, ".gitattributes")]
            self.answer(200, json.dumps({"id": "me/reviews", "sha": COMMIT, "siblings": siblings}).encode())
        elif path == "/api/datasets/me/gated/revision/refs/convert/parquet":
            self.answer(403, b"{}", {"X-Error-Code": "GatedRepo"})
        elif path.startswith(f"/datasets/me/reviews/resolve/{COMMIT}/"):
            self.answer(
                200,
                parquet(path.split(f"{COMMIT}/")[1]),
                {"X-Repo-Commit": COMMIT, "ETag": f'"{sha256(path.encode()).hexdigest()}"'},
            )
        else:
            self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(autouse=True)
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_split_comes_in_with_all_its_files(tmp_path: Path):
    from toolchain.artifacts.dataset import open_dataset

    run(tmp_path / "out", Config(source="hf://me/reviews"))
    dataset = open_dataset(tmp_path / "out")
    assert dataset.table("all")["text"].to_pylist() == [f"{name} says" for name in FILES[:2]]
    assert dataset.table("all")["row"].to_pylist() == [0, 1]
    assert dataset.lineage[-1].source["version"] == COMMIT


@pytest.mark.parametrize("uri", ["hf://me/reviews#test", "hf://me/reviews/default#test"])
def test_split_and_configuration_can_be_named(tmp_path: Path, uri: str):
    files, commit = hub.fetch(uri, tmp_path)
    assert [file.read_bytes() for file in files] == [parquet(FILES[2])]
    assert commit == COMMIT


def test_the_version_is_the_commit():
    assert storage.version("hf://me/reviews") == COMMIT


def test_a_split_that_is_not_there_is_an_error(tmp_path: Path):
    with pytest.raises(DataError, match=r"there is no default#dev .*; the Hub has default#test, default#train"):
        hub.fetch("hf://me/reviews#dev", tmp_path)


@pytest.mark.parametrize("uri", ["hf://", "hf://a/b/c/d", "hf://a//b"])
def test_an_address_that_names_no_data_set_is_an_error(tmp_path: Path, uri: str):
    with pytest.raises(DataError, match="is not a data set of the Hub"):
        hub.fetch(uri, tmp_path)


def test_an_unknown_data_set_is_an_error(tmp_path: Path):
    with pytest.raises(ServiceError, match="not a public data set in Parquet"):
        hub.fetch("hf://me/none", tmp_path)


def test_a_gated_data_set_is_an_error(tmp_path: Path):
    with pytest.raises(ServiceError, match="is gated"):
        hub.fetch("hf://me/gated", tmp_path)


def test_an_unreachable_hub_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        ServiceError, match=r"cannot be downloaded from http://127\.0\.0\.1:9 .*; check the network"
    ) as error:
        hub.fetch("hf://me/reviews", tmp_path)
    assert "\n" not in str(error.value)
