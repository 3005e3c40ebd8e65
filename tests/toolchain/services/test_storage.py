import gzip
import hashlib
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from toolchain.errors import ConfigError, DataError, ServiceError, StorageFullError
from toolchain.services.storage import (
    checkpoints,
    delete,
    exists,
    fetch,
    fetch_s3_prefix,
    listing,
    s3,
    s3_errors,
    scratch,
    upload,
    version,
)

CONTENT = b"text,label\nx,1\n" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
    monkeypatch.setattr(s3_errors, "MAX_RETRY_S", 0.2)


# --- this machine ---


def test_a_local_file_is_read_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a b.csv").write_bytes(CONTENT)
    monkeypatch.chdir(tmp_path)
    for uri in ("a b.csv", str(tmp_path / "a b.csv"), f"file://{urllib.parse.quote(str(tmp_path / 'a b.csv'))}"):
        fetched = fetch(uri, tmp_path / "unused")
        assert fetched.files[0].samefile(tmp_path / "a b.csv")
        assert fetched.sha256 == version(uri) == SHA256


def test_an_unknown_scheme_is_reported(tmp_path: Path):
    with pytest.raises(DataError, match="ftp:// is not known; use a path, or one of s3://"):
        fetch("ftp://host/a.csv", tmp_path)


def test_scratch_is_made_where_the_environment_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TOOLCHAIN_SCRATCH", str(tmp_path / "new"))
    assert scratch() == tmp_path / "new"
    assert scratch().is_dir()


def test_scratch_is_in_the_users_cache_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TOOLCHAIN_SCRATCH", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert scratch() == tmp_path / ".cache" / "toolchain"


# --- the web ---


class Site(ThreadingHTTPServer):
    """Serves CONTENT; the next requests get one of ``answers`` instead: a status, or bytes to cut off at."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Page)
        self.answers: list[int] = []
        self.requests: list[str] = []

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/a.csv"


class Page(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.requests.append(self.command)
        answer = self.server.answers.pop(0) if self.server.answers else 200
        self.send_response(answer if 200 <= answer < 600 else 200)
        if answer < 400 or answer >= 600:
            self.send_header("Content-Length", str(len(CONTENT)))
            self.send_header("ETag", '"tag"')
        self.end_headers()
        if self.command == "GET" and (answer < 400 or answer >= 600):
            self.wfile.write(CONTENT[: answer if answer >= 600 else None])

    do_HEAD = do_GET

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_the_web_is_copied_and_its_bytes_are_digested(site: Site, tmp_path: Path):
    fetched = fetch(site.uri, tmp_path)
    assert fetched.files == (tmp_path / "a.csv",)
    assert fetched.files[0].read_bytes() == CONTENT
    assert fetched.sha256 == SHA256


def test_the_version_of_a_page_is_requested_without_its_body(site: Site):
    assert version(site.uri) == f'"tag" {len(CONTENT)}'
    assert site.requests == ["HEAD"]


@pytest.mark.parametrize("answer", [503, 429, 700], ids=["busy", "too many requests", "cut off"])
def test_a_passing_fault_is_tried_again_and_reported(
    site: Site, tmp_path: Path, answer: int, capsys: pytest.CaptureFixture[str]
):
    site.answers = [200, answer]  # to HEAD, then to GET
    assert fetch(site.uri, tmp_path).sha256 == SHA256
    assert "trying again" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "hint"), [(404, "check the address"), (403, "access is denied"), (401, "needs a login")]
)
def test_a_rejection_is_reported_at_once(site: Site, tmp_path: Path, answer: int, hint: str):
    site.answers = [answer]
    with pytest.raises(ServiceError, match=f"returned {answer} .*: .*{hint}"):
        fetch(site.uri, tmp_path)
    assert len(site.requests) == 1


def test_a_server_that_stays_down_is_reported_after_some_tries(tmp_path: Path):
    with Site() as gone:
        uri = gone.uri
    with pytest.raises(ServiceError, match="cannot be read after 4 tries"):
        fetch(uri, tmp_path)


@pytest.mark.parametrize("uri", ["http://[::1", "http://127.0.0.1:9/a.csv ", " http://127.0.0.1:9/a.csv"])
def test_an_address_that_is_not_valid_is_reported(uri: str, tmp_path: Path):
    with pytest.raises(DataError, match="http://"):
        fetch(uri, tmp_path)
    with pytest.raises(DataError, match="http://"):
        version(uri)


def test_a_scheme_in_capitals_is_the_same_scheme(site: Site, tmp_path: Path):
    assert fetch(site.uri.replace("http:", "HTTP:"), tmp_path).sha256 == SHA256


def test_a_permanent_fault_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/certificates.pem")
    with pytest.raises(ServiceError, match="SSL_CERT_FILE"):
        fetch("https://127.0.0.1:9/a.csv", tmp_path)
    assert "trying again" not in capsys.readouterr().out


def test_a_full_disk_is_no_fault_of_the_web(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(path: Path, *args: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(StorageFullError, match="no space"):
        fetch(site.uri, tmp_path)


# --- S3 ---


@pytest.fixture
def bucket(s3_bucket: str) -> str:
    s3.client().put_object(Bucket=s3_bucket, Key="2026/a.csv.gz", Body=gzip.compress(CONTENT, mtime=0))
    return f"s3://{s3_bucket}"


def test_s3_is_copied_and_its_bytes_are_digested(bucket: str, tmp_path: Path):
    fetched = fetch(f"{bucket}/2026/a.csv.gz", tmp_path)
    assert fetched.files == (tmp_path / "a.csv.gz",)
    assert gzip.decompress(fetched.files[0].read_bytes()) == CONTENT
    assert fetched.sha256 == hashlib.sha256(gzip.compress(CONTENT, mtime=0)).hexdigest()


def test_the_version_in_s3_changes_with_the_file(bucket: str):
    before = version(f"{bucket}/2026/a.csv.gz")
    assert version(f"{bucket}/2026/a.csv.gz") == before
    s3.client().put_object(Bucket=bucket.removeprefix("s3://"), Key="2026/a.csv.gz", Body=b"other")
    assert version(f"{bucket}/2026/a.csv.gz") != before


def test_the_absolute_path_of_a_missing_file_is_shown_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    absolute = str(tmp_path / "none.csv")
    with pytest.raises(DataError, match=f"^{absolute} does not exist;"):
        fetch(absolute, tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=rf"^none\.csv does not exist \({absolute}\);"):
        fetch("none.csv", tmp_path)


@pytest.mark.parametrize("path", ["2026/none.csv", "2026/none/"])
def test_a_file_that_s3_lacks_is_reported(bucket: str, tmp_path: Path, path: str):
    with pytest.raises((ServiceError, DataError), match=r"does not exist|names no file"):
        fetch(f"{bucket}/{path}", tmp_path)


def test_a_bucket_that_is_not_there_is_reported(bucket: str, tmp_path: Path):
    with pytest.raises(ServiceError, match="does not exist; check the bucket"):
        fetch("s3://nowhere/a.csv", tmp_path)


def test_missing_credentials_are_named(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(ServiceError, match="credentials are missing; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        fetch(f"{bucket}/2026/a.csv.gz", tmp_path)


@pytest.mark.parametrize(
    ("done", "hint"),
    [
        ("written", r"the right to write it \(s3:PutObject and s3:GetObject\)"),
        ("deleted", r"the right to delete it \(s3:DeleteObject\)"),
        ("listed", r"the right to list the bucket \(s3:ListBucket\)"),
    ],
)
def test_a_rejection_names_the_right_that_the_operation_needs(done: str, hint: str):
    from botocore.exceptions import ClientError

    with pytest.raises(ServiceError, match=hint), s3_errors.reported("s3://a/b", done):
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "..."}}, "PutObject")


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("AccessDenied", "S3 denied access; give the owner of AWS_ACCESS_KEY_ID the right to read"),
        ("403", "S3 denied access"),
        ("InvalidAccessKeyId", "does not know the key in AWS_ACCESS_KEY_ID"),
        ("SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY does not belong to AWS_ACCESS_KEY_ID"),
        ("SlowDown", "SlowDown; try again later"),
    ],
)
def test_a_rejection_shows_which_credential_to_mend(code: str, hint: str):
    from botocore.exceptions import ClientError

    with pytest.raises(ServiceError, match=hint), s3_errors.reported("s3://a/b"):
        raise ClientError({"Error": {"Code": code, "Message": "..."}}, "GetObject")


def test_s3_denied_is_one_clear_line(tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch):
    import boto3

    iam = boto3.session.Session().client("iam")
    iam.create_user(UserName="reader")  # who may do nothing
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    monkeypatch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0)  # from now on the server checks rights
    with pytest.raises(ServiceError, match="S3 denied access; give the owner of AWS_ACCESS_KEY_ID the right"):
        fetch(f"{bucket}/2026/a.csv.gz", tmp_path)


def test_an_endpoint_that_is_down_is_named(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ServiceError, match=r"cannot be read from http://127\.0\.0\.1:9"):
        fetch(f"{bucket}/2026/a.csv.gz", tmp_path)


def test_every_file_under_a_prefix_is_copied(bucket: str, tmp_path: Path):
    for key in ("set/cats/1.txt", "set/dogs/2.txt", "other/3.txt"):
        s3.client().put_object(Bucket=bucket.removeprefix("s3://"), Key=key, Body=CONTENT)
    fetch_s3_prefix(f"{bucket}/set/", tmp_path / "copy")
    found = sorted(str(path.relative_to(tmp_path / "copy")) for path in (tmp_path / "copy").rglob("*.txt"))
    assert found == ["cats/1.txt", "dogs/2.txt"]
    with pytest.raises(DataError, match="holds no files"):
        fetch_s3_prefix(f"{bucket}/none/", tmp_path / "copy")


def test_a_file_is_stored_with_its_digest_and_once(bucket: str, tmp_path: Path):
    (tmp_path / "a.csv").write_bytes(CONTENT)
    assert upload(tmp_path / "a.csv", f"{bucket}/new/a.csv") == f"{bucket}/new/a.csv"
    assert fetch(f"{bucket}/new/a.csv", tmp_path).sha256 == SHA256
    assert s3.metadata(f"{bucket}/new/a.csv") == {"sha256": SHA256}
    (first,) = listing(f"{bucket}/new/")
    assert (first.uri, first.size_bytes) == (f"{bucket}/new/a.csv", len(CONTENT))
    upload(tmp_path / "a.csv", f"{bucket}/new/a.csv")
    assert listing(f"{bucket}/new/") == [first], "the same content is not sent again"
    (tmp_path / "a.csv").write_bytes(CONTENT[::-1])
    upload(tmp_path / "a.csv", f"{bucket}/new/a.csv")
    assert fetch(f"{bucket}/new/a.csv", tmp_path).files[0].read_bytes() == CONTENT[::-1]


def test_a_file_of_many_parts_comes_back_whole(bucket: str, tmp_path: Path):
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(range(256)) * (20 << 12))  # 20 MiB: three parts of boto3's 8
    upload(large, f"{bucket}/large.bin")
    (tmp_path / "copy").mkdir()
    assert fetch(f"{bucket}/large.bin", tmp_path / "copy").sha256 == hashlib.sha256(large.read_bytes()).hexdigest()
    assert "-" in version(f"{bucket}/large.bin"), "its ETag is that of a file in parts"


def test_a_folder_is_stored_under_the_names_in_it(bucket: str, tmp_path: Path):
    for name in ("cats/1.txt", "dogs/2.txt"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(CONTENT)
    upload(tmp_path / "set", f"{bucket}/uploaded/")
    assert [file.uri for file in listing(f"{bucket}/uploaded/")] == [
        f"{bucket}/uploaded/cats/1.txt",
        f"{bucket}/uploaded/dogs/2.txt",
    ]


def test_what_is_deleted_is_gone_and_nothing_else(bucket: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(s3, "MAX_KEYS", 3)
    uris = [f"{bucket}/old/{number}.txt" for number in range(8)]  # more than one request takes
    for uri in (*uris, f"{bucket}/older.txt"):
        s3.client().put_object(Bucket=bucket.removeprefix("s3://"), Key=uri.removeprefix(f"{bucket}/"), Body=b"x")
    assert exists(uris[-1])
    delete([*uris, f"{bucket}/old/never.txt"])
    assert not exists(uris[-1])
    assert [file.uri for file in listing(f"{bucket}/old")] == [f"{bucket}/older.txt"]


@pytest.mark.parametrize("path", ["", "a.csv"])
def test_what_is_not_there_cannot_be_stored(bucket: str, tmp_path: Path, path: str):
    with pytest.raises(DataError, match=r"there is nothing to store|names no file"):
        upload(tmp_path / "none.csv", f"{bucket}/{path}")


def test_a_bucket_that_is_not_there_cannot_be_written_listed_or_emptied(bucket: str, tmp_path: Path):
    (tmp_path / "a.csv").write_bytes(CONTENT)
    with pytest.raises(ServiceError, match="cannot be written: there is no bucket 'nowhere'"):
        upload(tmp_path / "a.csv", "s3://nowhere/a.csv")
    with pytest.raises(ServiceError, match="cannot be listed: there is no bucket 'nowhere'"):
        listing("s3://nowhere/")
    with pytest.raises(ServiceError, match="cannot be deleted: there is no bucket 'nowhere'"):
        delete(["s3://nowhere/a.csv"])


def test_a_storage_that_comes_back_is_waited_for(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    address = s3.client().meta.endpoint_url
    waits = iter([*[lambda: None] * 2, lambda: monkeypatch.setenv("AWS_ENDPOINT_URL", address)])
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: next(waits)())
    monkeypatch.setattr(s3_errors, "MAX_RETRY_S", 60.0)
    (tmp_path / "a.csv").write_bytes(CONTENT)
    upload(tmp_path / "a.csv", f"{bucket}/late/a.csv")
    assert fetch(f"{bucket}/late/a.csv", tmp_path).sha256 == SHA256
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3
    assert all("cannot be written now" in line and "retrying" in line for line in said)


@pytest.mark.parametrize("uri", ["checkpoints", "/var/checkpoints", "s3://bucket", "s3:///prefix", "https://a/b"])
def test_checkpoints_belong_in_s3(uri: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TOOLCHAIN_CHECKPOINTS", uri)
    with pytest.raises(ConfigError, match=r"TOOLCHAIN_CHECKPOINTS is .*; write s3://BUCKET/PREFIX"):
        checkpoints()


def test_checkpoints_have_a_location_in_s3_when_it_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TOOLCHAIN_CHECKPOINTS", raising=False)
    assert checkpoints() == ""
    monkeypatch.setenv("TOOLCHAIN_CHECKPOINTS", "s3://bucket/checkpoints/")
    assert checkpoints() == "s3://bucket/checkpoints"
