"""Storage: the one door to files elsewhere (S3, the web; the hub behind its own) and to this machine's scratch space.

Environment: AWS_ENDPOINT_URL and the usual AWS_* credentials (boto3 reads them), TOOLCHAIN_SCRATCH (where a step keeps
what must outlive a killed attempt; ``~/.cache/toolchain`` otherwise).
"""

import hashlib
import http.client
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from toolchain.artifacts.digest import CHUNK_BYTES, sha256_of_file, sha256_of_json
from toolchain.artifacts.folder import disk_space_reported
from toolchain.errors import DataError, ServiceError
from toolchain.progress import say, track
from toolchain.services import hub, packages

TIMEOUT_SECONDS = 30.0  # of silence, on a connection that should be delivering
ATTEMPTS = 4  # with the waits between them, about 10 s: a restart of a server, not a lost weekend
SCHEMES = ("s3", "https", "http", "hf")


@dataclass(frozen=True)
class Fetched:
    """What a URI led to, on this machine."""

    uri: str
    files: tuple[Path, ...]  # in order; one, except for a hub's data set in several Parquet files
    sha256: str  # of the bytes as they are stored there; of several files: of the list of their digests
    revision: str  # what ``version`` said of it


def scratch() -> Path:
    """Return the folder for what outlives a killed attempt (checkpoints, dictionaries), made when it is missing."""
    folder = Path(os.environ.get("TOOLCHAIN_SCRATCH") or Path.home() / ".cache" / "toolchain").expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def fetch(uri: str, folder: Path) -> Fetched:
    """Return the file at ``uri``: where it is, when it is on this machine, and as a copy in ``folder`` otherwise.

    Args:
        uri: A path (relative to the working directory), ``file://``, ``package:NAME/FILE`` (in an installed Python
            package), ``s3://bucket/key``, ``https://...`` or ``hf://OWNER/DATASET[/CONFIG][#SPLIT]``.
        folder: An empty folder for copies.

    Raises:
        DataError: there is no such local file, or the scheme is unknown.
        ServiceError: the service is down or refuses; the line says what to do.
        StorageFullError: the disk is full.
    """
    scheme = _scheme(uri)
    if scheme == "":
        path = _local(uri)
        return Fetched(uri, (path,), digest := sha256_of_file(path), digest)
    if scheme == "hf":
        files, revision = hub.fetch(uri, folder)
        digests = [sha256_of_file(file) for file in files]
        return Fetched(uri, files, digests[0] if len(digests) == 1 else sha256_of_json(digests), revision)
    copy = folder / (Path(urllib.parse.urlsplit(uri).path).name or "source")
    revision = version(uri)
    return Fetched(uri, (copy,), _download(uri, copy), revision)


def version(uri: str) -> str:
    """Return a short text that changes when what is at ``uri`` changes, without reading remote data.

    Local files: their SHA-256. S3: ETag and size. The web: ETag, else date and length. The hub: the commit.

    Raises:
        DataError, ServiceError: as ``fetch``.
    """
    scheme = _scheme(uri)
    if scheme == "":
        return sha256_of_file(_local(uri))
    if scheme == "s3":
        bucket, key = _bucket_and_key(uri)
        with _s3_reported(uri):
            head = _s3().head_object(Bucket=bucket, Key=key)
        return f"{head['ETag']} {head['ContentLength']}"
    return hub.version(uri) if scheme == "hf" else _web_version(uri)


def _scheme(uri: str) -> str:
    scheme, separator, _ = uri.partition("://")
    if not separator or scheme == "file":
        return ""
    if scheme not in SCHEMES:
        raise DataError(
            f"{uri}: {scheme}:// is not known; use a path, or one of {', '.join(f'{s}://' for s in SCHEMES)}"
        )
    return scheme


def _local(uri: str) -> Path:
    if uri.startswith(packages.PREFIX):
        path = packages.find(uri)
    else:
        path = Path(
            urllib.parse.unquote(uri.removeprefix("file://")) if uri.startswith("file://") else uri
        ).expanduser()
    if path.is_dir():
        raise DataError(f"{uri} is a folder; name one file in it")
    if not path.is_file():
        raise DataError(f"{uri} does not exist (looked for {path.absolute()}); check the path")
    return path


def _download(uri: str, copy: Path) -> str:
    """Copy what is at ``uri`` to ``copy`` and return its SHA-256."""
    if _scheme(uri) == "s3":
        return _patiently(uri, lambda: _download_from_s3(uri, copy))
    return _patiently(uri, lambda: _download_from_web(uri, copy))


def _save(chunks: Iterator[bytes], copy: Path) -> tuple[str, int]:
    digest, length = hashlib.sha256(), 0
    with disk_space_reported(copy), copy.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
            length += len(chunk)
    return digest.hexdigest(), length


def _patiently(uri: str, attempt: Callable[[], str]) -> str:
    """Return what ``attempt`` returns, after as many tries as a passing fault may need."""
    from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential

    def tell(state: RetryCallState) -> None:
        say(f"{uri}: {state.outcome.exception() if state.outcome else 'failed'}; trying again")

    tries = Retrying(
        retry=retry_if_exception(_passes),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential(multiplier=0.5, max=8),
        before_sleep=tell,
        reraise=True,
    )
    try:
        return tries(attempt)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.URLError | http.client.HTTPException | TimeoutError | ConnectionError):
            raise ServiceError(_web_fault(uri, error)) from error
        raise


def _passes(error: BaseException) -> bool:
    """Whether ``error`` may pass when one waits a little: the server is busy, or the line was cut."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500 or error.code == 429
    return isinstance(error, urllib.error.URLError | http.client.HTTPException | TimeoutError | ConnectionError)


# --- the web ---


def _open_web(uri: str, method: str = "GET") -> Any:
    request = urllib.request.Request(uri, method=method, headers={"User-Agent": "dl-toolchain"})
    return urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)


def _download_from_web(uri: str, copy: Path) -> str:
    with _open_web(uri) as answer:
        announced = answer.headers.get("Content-Length")
        digest, length = _save(_chunks(answer), copy)
    if announced is not None and int(announced) != length:  # the server hung up: urllib takes that for the end
        raise ConnectionError(f"{length:,} of {announced} bytes came")
    return digest


def _chunks(answer: IO[bytes]) -> Iterator[bytes]:
    while chunk := answer.read(CHUNK_BYTES):
        yield chunk


def _web_version(uri: str) -> str:
    def ask() -> str:
        with _open_web(uri, "HEAD") as answer:
            headers = answer.headers
        return " ".join(
            filter(None, (headers.get("ETag") or headers.get("Last-Modified"), headers.get("Content-Length")))
        )

    return _patiently(uri, ask)


def _web_fault(uri: str, error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        hint = {401: "it needs a login", 403: "it refuses access", 404: "there is nothing there; check the address"}
        return f"{uri} answered {error.code} {error.reason}: {hint.get(error.code, 'try again later')}"
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return f"{uri} cannot be read after {ATTEMPTS} tries ({reason}); check the address and the network"


# --- S3 ---


def _s3() -> Any:
    import boto3
    from botocore.config import Config

    style = "path" if os.environ.get("AWS_ENDPOINT_URL") else "auto"  # MinIO and its like have no host for each bucket
    config = Config(
        connect_timeout=5, read_timeout=TIMEOUT_SECONDS, retries={"mode": "standard"}, s3={"addressing_style": style}
    )
    return boto3.session.Session().client("s3", config=config)  # a session of its own sees today's environment


def knows_who_asks() -> bool:
    """Return whether anything (environment, ~/.aws, the node's role) tells S3 who is asking."""
    import boto3

    return boto3.session.Session().get_credentials() is not None


def _bucket_and_key(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not bucket or not key or key.endswith("/"):
        raise DataError(f"{uri} names no file; write s3://BUCKET/PATH/FILE")
    return bucket, key


def _download_from_s3(uri: str, copy: Path) -> str:
    bucket, key = _bucket_and_key(uri)
    with _s3_reported(uri):
        body = _s3().get_object(Bucket=bucket, Key=key)["Body"]
        return _save(body.iter_chunks(CHUNK_BYTES), copy)[0]  # botocore raises when fewer bytes come than announced


def fetch_s3_prefix(uri: str, target: Path) -> None:
    """Copy every file under ``uri``, s3://BUCKET/PREFIX/, to ``target``, under its name after the prefix.

    Raises:
        DataError: there is none, or a name would lead outside ``target``.
        ServiceError: S3 is down or refuses.
        StorageFullError: the disk is full.
    """
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    with _s3_reported(uri):
        pages = _s3().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", []) if not entry["Key"].endswith("/")]
    if not keys:
        raise DataError(f"{uri} holds no files; check the bucket and the prefix")
    for key in track(keys, "fetch", len(keys), "files"):
        copy = target / key.removeprefix(prefix)
        if not copy.resolve().is_relative_to(target.resolve()):
            raise DataError(f"{uri} holds {key!r}, which leads outside its folder; rename it")
        copy.parent.mkdir(parents=True, exist_ok=True)
        _download(f"s3://{bucket}/{key}", copy)


@contextmanager
def _s3_reported(uri: str) -> Iterator[None]:
    """Turn what boto3 raises inside the block into one line that says which credential or address to mend."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise ServiceError(_s3_refusal(uri, error)) from error
    except (BotoCoreError, Boto3Error) as error:
        raise ServiceError(_s3_fault(uri, error)) from error


def _s3_refusal(uri: str, error: Any) -> str:
    code = str(error.response["Error"].get("Code", ""))
    if code in {"404", "NoSuchKey", "NoSuchBucket"}:
        return f"{uri} does not exist; check the bucket's and the file's name"
    if code == "InvalidAccessKeyId":
        return f"{uri}: S3 does not know the key in AWS_ACCESS_KEY_ID; set that of this endpoint"
    if code == "SignatureDoesNotMatch":
        return f"{uri}: S3 refused the signature; AWS_SECRET_ACCESS_KEY does not belong to AWS_ACCESS_KEY_ID"
    if code in {"403", "AccessDenied", "Forbidden"}:
        return f"{uri}: S3 denied access; give the owner of AWS_ACCESS_KEY_ID the right to read it (s3:GetObject)"
    return f"{uri}: S3 answered {code or error}; try again later"


def _s3_fault(uri: str, error: Exception) -> str:
    kind = type(error).__name__
    if kind in {"NoCredentialsError", "PartialCredentialsError"}:
        return f"{uri}: S3 credentials are missing; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "AWS")
    return f"{uri} cannot be read from {endpoint} ({error}); check AWS_ENDPOINT_URL and the network"
