"""Read and write files in S3 buckets, by boto3.

Environment: AWS_ENDPOINT_URL and the usual AWS_* credentials (boto3 reads them).
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from toolchain.artifacts.digest import CHUNK_BYTES, sha256_of_file, sha256_of_json
from toolchain.errors import DataError, ServiceError
from toolchain.progress import Progress, track
from toolchain.services.locations import files_in
from toolchain.services.storage.s3_errors import (
    ABSENT,
    DENIED,
    Result,
    error_code,
    rejection,
    reported,
    with_retries,
)

READ_TIMEOUT_S = 30.0  # without a byte
MAX_KEYS = 1000  # that S3 deletes in one request
SHA256 = "sha256"  # metadata that ``upload`` sets: the digest of the file


@dataclass(frozen=True)
class Stored:
    """A file in S3."""

    uri: str
    size_bytes: int
    changed: datetime  # when it was stored, with its time zone
    etag: str = ""  # S3's identifier of the content


def version(uri: str) -> str:
    """Return the ETag and the size of the file at ``uri``; where that is a prefix, a digest of those of its files."""
    head = None if uri.endswith("/") else _head(uri, "read")
    if head is not None:
        return f"{head['ETag']} {head['ContentLength']}"
    files = listing(f"{uri.rstrip('/')}/")
    if not files:
        raise ServiceError(rejection(uri, "read", "404"))
    return sha256_of_json([[file.uri, file.etag, file.size_bytes] for file in files])


def read(uri: str, take: Callable[[Iterator[bytes]], Result]) -> Result:
    """Return what ``take`` makes of the bytes at ``uri``; it is called again after a lost connection."""
    bucket, key = _bucket_and_key(uri)

    def attempt() -> Result:
        body = client().get_object(Bucket=bucket, Key=key)["Body"]
        return take(body.iter_chunks(CHUNK_BYTES))  # botocore raises when fewer bytes come than announced

    return with_retries(uri, "read", attempt)


def content(uri: str) -> bytes:
    """Return the bytes at ``uri``, of a small file."""
    return read(uri, b"".join)


class PolledFile:
    """A small file at ``uri`` that is polled, by one client: creating one takes 80 ms of a core."""

    def __init__(self, uri: str) -> None:
        self.uri, (self._bucket, self._key) = uri, _bucket_and_key(uri)
        self._client: Any = None

    def content(self) -> bytes:
        """Return its current bytes.

        Raises:
            ServiceError: S3 is unavailable (without a retry) or denies access, or there is no such file.
        """
        with reported(self.uri):
            self._client = self._client or client()
            return bytes(self._client.get_object(Bucket=self._bucket, Key=self._key)["Body"].read())


def metadata(uri: str, operation: str = "read") -> dict[str, str] | None:
    """Return S3's metadata of the file at ``uri``, None when there is no such file.

    ``operation`` is what they are needed for, a key of ``PERMISSIONS``, for the error.

    Raises:
        ServiceError: there is no such bucket, or S3 is down or denies access.
    """
    head = _head(uri, operation)
    return None if head is None else dict(head["Metadata"])


def _head(uri: str, operation: str) -> dict[str, Any] | None:
    """Return S3's HEAD response for the file at ``uri``, None when there is no such file; raises as ``metadata``."""
    from botocore.exceptions import ClientError

    bucket, key = _bucket_and_key(uri)

    def attempt() -> dict[str, Any] | None:
        try:
            return dict(client().head_object(Bucket=bucket, Key=key))
        except ClientError as error:
            if error_code(error) not in ABSENT:
                raise
            # A missing bucket gives the same response. SeaweedFS grants no HeadBucket to a key of a prefix.
            client().list_objects_v2(Bucket=bucket, MaxKeys=1)
            return None

    return with_retries(uri, operation, attempt)


def exists(uri: str) -> bool:
    """Return whether there is a file at ``uri``; raises as ``metadata``."""
    return metadata(uri) is not None


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

    return [file for file in with_retries(uri, "listed", attempt) if not file.uri.endswith("/")]


def upload(path: Path, uri: str, also: Mapping[str, str] | None = None, shown: bool = True) -> str:
    """Store the file or folder at ``path`` under ``uri`` and return ``uri``.

    A file is stored completely or not at all, large ones in parts; unchanged content is not sent again. The files of a
    folder are stored one by one, so a failed upload leaves a part of it.

    Args:
        uri: s3://BUCKET/PATH/FILE for a file, s3://BUCKET/PREFIX/ for a folder.
        also: Metadata of a file besides its digest; names in lower case.
        shown: Whether to show progress; not in the background of work that shows its own.

    Raises:
        DataError: ``path`` does not exist, or ``uri`` is not an S3 location.
        ServiceError: S3 is down for longer than ``MAX_RETRY_S``, or denies access.
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
    if metadata(uri, "written") == wanted:
        return

    def attempt() -> None:
        size = path.stat().st_size
        progress = Progress("upload", size, "bytes")
        with path.open("rb") as file, progress if shown else nullcontext():
            callback = progress.advance if shown else None
            client().upload_fileobj(file, bucket, key, ExtraArgs={"Metadata": wanted}, Callback=callback)
        stored = client().head_object(Bucket=bucket, Key=key)
        if stored["ContentLength"] != size:
            raise ServiceError(
                f"{uri} holds {stored['ContentLength']:,} of {size:,} bytes; {path} changed, or S3 lost some"
            )

    with_retries(uri, "written", attempt)


def write(content: bytes, uri: str) -> None:
    """Store ``content`` at ``uri``."""
    bucket, key = _bucket_and_key(uri)
    with_retries(uri, "written", lambda: client().put_object(Bucket=bucket, Key=key, Body=content))


def delete(uris: Iterable[str]) -> None:
    """Delete the files at ``uris``, in their order; missing ones are no error.

    Raises:
        ServiceError: S3 is down for longer than ``MAX_RETRY_S``, or denies access; earlier files are deleted.
    """
    for bucket, group in groupby(map(_bucket_and_key, uris), key=lambda location: location[0]):
        keys = [key for _, key in group]
        for start in range(0, len(keys), MAX_KEYS):
            _delete(bucket, keys[start : start + MAX_KEYS])


def _delete(bucket: str, keys: list[str]) -> None:
    from botocore.exceptions import ClientError

    wanted = {"Objects": [{"Key": key} for key in keys], "Quiet": True}

    def attempt() -> Any:
        try:
            return client().delete_objects(Bucket=bucket, Delete=wanted)
        except ClientError as error:
            if error_code(error) not in DENIED:
                raise
        for key in keys:  # SeaweedFS grants the deletion of many to keys of a whole bucket only
            client().delete_object(Bucket=bucket, Key=key)
        return {}

    response = with_retries(f"s3://{bucket}/{keys[0]}", "deleted", attempt)
    for fault in response.get("Errors", []):
        raise ServiceError(rejection(f"s3://{bucket}/{fault['Key']}", "deleted", str(fault.get("Code", ""))))


def client() -> Any:
    """Return boto3's client for the endpoint and the credentials of the current environment."""
    import boto3
    from botocore.config import Config

    logging.getLogger("botocore").setLevel(logging.WARNING)  # it logs where it found its credentials
    style = "path" if os.environ.get("AWS_ENDPOINT_URL") else "auto"  # MinIO and others have no host per bucket
    config = Config(
        connect_timeout=5, read_timeout=READ_TIMEOUT_S, retries={"mode": "standard"}, s3={"addressing_style": style}
    )
    return boto3.session.Session().client("s3", config=config)  # a new session reads the environment again


def has_credentials() -> bool:
    """Return whether credentials are found (environment, ~/.aws, the node's role)."""
    import boto3

    return boto3.session.Session().get_credentials() is not None


def _bucket_and_key(uri: str) -> tuple[str, str]:
    scheme, _, path = uri.partition("://")
    bucket, _, key = path.partition("/")
    if scheme != "s3" or not bucket or not key or key.endswith("/"):
        raise DataError(f"{uri} is not a file in S3; write s3://BUCKET/PATH/FILE")
    return bucket, key
