"""S3: files in buckets, by boto3, of which this is the one door; a server that is away for a moment is waited for.

Environment: AWS_ENDPOINT_URL and the usual AWS_* credentials (boto3 reads them).
"""

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from toolchain.artifacts.digest import CHUNK_BYTES, sha256_of_file, sha256_of_json
from toolchain.errors import DataError, ServiceError
from toolchain.progress import Progress, log_info, track
from toolchain.services.locations import files_in

Answer = TypeVar("Answer")
SILENCE_SECONDS = 30.0  # on a connection that should be delivering
PATIENCE_SECONDS = 120.0  # a storage server whose pod is moved to another node is back within 60 s; twice that
LONGEST_WAIT_SECONDS = 10.0  # between two tries: at most so much is lost when the server is back
KEYS_OF_A_REQUEST = 1000  # S3 deletes no more at once
SHA256 = "sha256"  # the mark that ``upload`` leaves on what it stored: the digest of the file
ABSENT = {"404", "NoSuchKey", "NoSuchBucket"}
DENIED = {"403", "AccessDenied", "Forbidden"}
BUSY = {"InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown", "Throttling", "TooManyRequests"}
RIGHTS = {  # that each deed needs
    "read": "read it (s3:GetObject)",
    "written": "write it (s3:PutObject and s3:GetObject)",
    "deleted": "delete it (s3:DeleteObject)",
    "listed": "list the bucket (s3:ListBucket)",
}


@dataclass(frozen=True)
class Stored:
    """A file in S3."""

    uri: str
    size_bytes: int
    changed: datetime  # when it was stored, with its time zone
    etag: str = ""  # S3's own mark of the content


def version(uri: str) -> str:
    """Return the ETag and the size of the file at ``uri``; where that is a prefix, a digest of those of its files."""
    head = None if uri.endswith("/") else _head(uri, "read")
    if head is not None:
        return f"{head['ETag']} {head['ContentLength']}"
    files = listing(f"{uri.rstrip('/')}/")
    if not files:
        raise ServiceError(_refusal(uri, "read", "404"))
    return sha256_of_json([[file.uri, file.etag, file.size_bytes] for file in files])


def read(uri: str, take: Callable[[Iterator[bytes]], Answer]) -> Answer:
    """Return what ``take`` makes of the bytes at ``uri``; it is called again when the line was cut."""
    bucket, key = _bucket_and_key(uri)

    def attempt() -> Answer:
        body = client().get_object(Bucket=bucket, Key=key)["Body"]
        return take(body.iter_chunks(CHUNK_BYTES))  # botocore raises when fewer bytes come than announced

    return _patiently(uri, "read", attempt)


def content(uri: str) -> bytes:
    """Return the bytes at ``uri``, of a small file."""
    return read(uri, b"".join)


class Watched:
    """A small file at ``uri`` that is looked at again and again, by one client: making one takes 80 ms of a core."""

    def __init__(self, uri: str) -> None:
        self.uri, (self._bucket, self._key) = uri, _bucket_and_key(uri)
        self._client: Any = None

    def content(self) -> bytes:
        """Return its bytes as they are now.

        Raises:
            ServiceError: S3 is away, which is not waited for, or refuses; there is no such file.
        """
        with reported(self.uri):
            self._client = self._client or client()
            return bytes(self._client.get_object(Bucket=self._bucket, Key=self._key)["Body"].read())


def marks(uri: str, done: str = "read") -> dict[str, str] | None:
    """Return the marks (S3's metadata) of the file at ``uri``, None when there is no such file.

    ``done`` is what they are wanted for, a key of ``RIGHTS``, as an error says it.

    Raises:
        ServiceError: there is no such bucket, or S3 is down or refuses.
    """
    head = _head(uri, done)
    return None if head is None else dict(head["Metadata"])


def _head(uri: str, done: str) -> dict[str, Any] | None:
    """Return what S3 says of the file at ``uri``, None when there is no such file; raises as ``marks``."""
    from botocore.exceptions import ClientError

    bucket, key = _bucket_and_key(uri)

    def attempt() -> dict[str, Any] | None:
        try:
            return dict(client().head_object(Bucket=bucket, Key=key))
        except ClientError as error:
            if _code(error) not in ABSENT:
                raise
            # S3 says the same of a bucket that is not there. SeaweedFS grants no HeadBucket to a key of a prefix.
            client().list_objects_v2(Bucket=bucket, MaxKeys=1)
            return None

    return _patiently(uri, done, attempt)


def exists(uri: str) -> bool:
    """Return whether there is a file at ``uri``; raises as ``marks``."""
    return marks(uri) is not None


def listing(uri: str) -> list[Stored]:
    """Return every file whose URI begins with ``uri``, s3://BUCKET[/PREFIX], in the order of their names."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")

    def attempt() -> list[Stored]:
        pages = client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        entries = [entry for page in pages for entry in page.get("Contents", [])]
        return [
            Stored(f"s3://{bucket}/{entry['Key']}", entry["Size"], entry["LastModified"], entry.get("ETag", ""))
            for entry in entries
        ]

    return [file for file in _patiently(uri, "listed", attempt) if not file.uri.endswith("/")]


def upload(path: Path, uri: str, also: Mapping[str, str] | None = None, shown: bool = True) -> str:
    """Store the file or folder at ``path`` under ``uri`` and return ``uri``.

    A file is there whole or not at all, large ones in parts; the same content at the same place is not sent again. The
    files of a folder come one by one under their names in it, so only its parts are.

    Args:
        uri: s3://BUCKET/PATH/FILE for a file, s3://BUCKET/PREFIX/ for a folder.
        also: Marks that a file gets besides its digest; names in small letters.
        shown: Whether to tell how far it has come; not in the background of work that tells of itself.

    Raises:
        DataError: there is nothing at ``path``, or ``uri`` names no place in S3.
        ServiceError: S3 is down for longer than ``PATIENCE_SECONDS``, or refuses.
    """
    if path.is_dir():
        files = list(files_in(path))
        for file in track(files, "upload", len(files), "files") if shown else files:
            _upload_file(file, f"{uri.rstrip('/')}/{file.relative_to(path).as_posix()}", {}, shown=False)
    elif path.is_file():
        _upload_file(path, uri, also or {}, shown)
    else:
        raise DataError(f"{path} does not exist; there is nothing to store at {uri}")
    return uri


def _upload_file(path: Path, uri: str, also: Mapping[str, str], shown: bool) -> None:
    bucket, key = _bucket_and_key(uri)
    wanted = {SHA256: sha256_of_file(path), **also}
    if marks(uri, "written") == wanted:
        return

    def attempt() -> None:
        size = path.stat().st_size
        progress = Progress("upload", size, "bytes")
        with path.open("rb") as file, progress if shown else nullcontext():
            tell = progress.advance if shown else None
            client().upload_fileobj(file, bucket, key, ExtraArgs={"Metadata": wanted}, Callback=tell)
        stored = client().head_object(Bucket=bucket, Key=key)
        if stored["ContentLength"] != size:
            raise ServiceError(
                f"{uri} holds {stored['ContentLength']:,} of {size:,} bytes; {path} changed, or S3 lost some"
            )

    _patiently(uri, "written", attempt)


def write(content: bytes, uri: str) -> None:
    """Store ``content`` at ``uri``."""
    bucket, key = _bucket_and_key(uri)
    _patiently(uri, "written", lambda: client().put_object(Bucket=bucket, Key=key, Body=content))


def delete(uris: Iterable[str]) -> None:
    """Delete the files at ``uris``, in their order; those that are not there cost nothing.

    Raises:
        ServiceError: S3 is down for longer than ``PATIENCE_SECONDS``, or refuses; those before it are gone.
    """
    for bucket, group in groupby(map(_bucket_and_key, uris), key=lambda place: place[0]):
        keys = [key for _, key in group]
        for start in range(0, len(keys), KEYS_OF_A_REQUEST):
            _delete(bucket, keys[start : start + KEYS_OF_A_REQUEST])


def _delete(bucket: str, keys: list[str]) -> None:
    from botocore.exceptions import ClientError

    wanted = {"Objects": [{"Key": key} for key in keys], "Quiet": True}

    def attempt() -> Any:
        try:
            return client().delete_objects(Bucket=bucket, Delete=wanted)
        except ClientError as error:
            if _code(error) not in DENIED:
                raise
        for key in keys:  # SeaweedFS grants the deletion of many to keys of a whole bucket only
            client().delete_object(Bucket=bucket, Key=key)
        return {}

    answer = _patiently(f"s3://{bucket}/{keys[0]}", "deleted", attempt)
    for fault in answer.get("Errors", []):
        raise ServiceError(_refusal(f"s3://{bucket}/{fault['Key']}", "deleted", str(fault.get("Code", ""))))


def client() -> Any:
    """Return boto3's client for the endpoint and the credentials of today's environment."""
    import boto3
    from botocore.config import Config

    logging.getLogger("botocore").setLevel(logging.WARNING)  # it tells in each step's log where it found its keys
    style = "path" if os.environ.get("AWS_ENDPOINT_URL") else "auto"  # MinIO and its like have no host for each bucket
    config = Config(
        connect_timeout=5, read_timeout=SILENCE_SECONDS, retries={"mode": "standard"}, s3={"addressing_style": style}
    )
    return boto3.session.Session().client("s3", config=config)  # a session of its own sees today's environment


def knows_who_asks() -> bool:
    """Return whether anything (environment, ~/.aws, the node's role) tells S3 who is asking."""
    import boto3

    return boto3.session.Session().get_credentials() is not None


def _bucket_and_key(uri: str) -> tuple[str, str]:
    scheme, _, path = uri.partition("://")
    bucket, _, key = path.partition("/")
    if scheme != "s3" or not bucket or not key or key.endswith("/"):
        raise DataError(f"{uri} names no file; write s3://BUCKET/PATH/FILE")
    return bucket, key


def _patiently(uri: str, done: str, attempt: Callable[[], Answer]) -> Answer:
    """Return what ``attempt`` answers, tried again with a line each while S3 is away or busy."""
    from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_exponential

    began = time.monotonic()

    def tell(state: RetryCallState) -> None:
        left = max(0, PATIENCE_SECONDS - (time.monotonic() - began))
        reason = _in_one_line(state.outcome.exception()) if state.outcome else ""
        log_info(f"{uri} cannot be {done} now ({reason}); trying for {left:.0f} s more")

    tries = Retrying(
        retry=retry_if_exception(_passes),
        stop=stop_after_delay(PATIENCE_SECONDS),
        wait=wait_exponential(max=LONGEST_WAIT_SECONDS),
        before_sleep=tell,
        reraise=True,
    )
    with reported(uri, done):
        return tries(attempt)


def _passes(error: BaseException) -> bool:
    """Whether ``error`` may pass when one waits a little: S3 is away or busy, or the line was cut."""
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or status == 429 or _code(error) in BUSY
    cut = (exceptions.ConnectionError, exceptions.HTTPClientError, exceptions.ResponseStreamingError)
    never = (exceptions.SSLError, exceptions.ProxyConnectionError)
    return isinstance(error, (*cut, exceptions.IncompleteReadError)) and not isinstance(error, never)


@contextmanager
def reported(uri: str, done: str = "read") -> Iterator[None]:
    """Turn what boto3 raises inside the block into one line that says which credential or address to mend.

    ``done`` says what cannot be done to ``uri``: a key of ``RIGHTS``.
    """
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise ServiceError(_refusal(uri, done, _code(error) or str(error))) from error
    except (BotoCoreError, Boto3Error) as error:
        raise ServiceError(_fault(uri, done, error)) from error


def _code(error: Any) -> str:
    return str(error.response["Error"].get("Code", ""))


def _refusal(uri: str, done: str, code: str) -> str:
    if code in ABSENT:
        bucket = uri.removeprefix("s3://").partition("/")[0]
        return (
            f"{uri} does not exist; check the bucket's and the file's name"
            if done == "read"
            else f"{uri} cannot be {done}: there is no bucket {bucket!r}; make it, or check its name"
        )
    if code == "InvalidAccessKeyId":
        return f"{uri}: S3 does not know the key in AWS_ACCESS_KEY_ID; set that of this endpoint"
    if code == "SignatureDoesNotMatch":
        return f"{uri}: S3 refused the signature; AWS_SECRET_ACCESS_KEY does not belong to AWS_ACCESS_KEY_ID"
    if code in DENIED:
        return f"{uri}: S3 denied access; give the owner of AWS_ACCESS_KEY_ID the right to {RIGHTS[done]}"
    return f"{uri} cannot be {done}: S3 answered {code}; try again later"


def _fault(uri: str, done: str, error: Exception) -> str:
    kind = type(error).__name__
    if kind in {"NoCredentialsError", "PartialCredentialsError"}:
        return f"{uri}: S3 credentials are missing; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    where = "from" if done == "read" else "at"
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "AWS")
    return f"{uri} cannot be {done} {where} {endpoint} ({_in_one_line(error)}); check AWS_ENDPOINT_URL and the network"


def _in_one_line(error: BaseException | None) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
