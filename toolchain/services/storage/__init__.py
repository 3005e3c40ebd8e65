"""Fetch files from S3, the web and the Hugging Face Hub, and provide this machine's scratch space.

Environment: TOOLCHAIN_SCRATCH (where a step keeps what must outlive a killed attempt; ``~/.cache/toolchain``
otherwise), TOOLCHAIN_CHECKPOINTS (where in S3 it keeps what must outlive the machine), and what ``s3`` reads.
"""

import base64
import hashlib
import os
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from toolchain.artifacts.digest import CHUNK_BYTES, sha256_of_file, sha256_of_json
from toolchain.artifacts.folder import disk_space_reported
from toolchain.errors import ConfigError, DataError, ServiceError
from toolchain.progress import log_info, track
from toolchain.services import http, hub
from toolchain.services.locations import local_path
from toolchain.services.storage import s3
from toolchain.services.storage.s3 import (
    PolledFile,
    Stored,
    content,
    delete,
    exists,
    has_credentials,
    listing,
    upload,
    write,
)

__all__ = [
    "Fetched",
    "PolledFile",
    "Stored",
    "checkpoints",
    "content",
    "delete",
    "exists",
    "fetch",
    "fetch_s3_prefix",
    "has_credentials",
    "is_s3_prefix",
    "listing",
    "scratch",
    "upload",
    "version",
    "write",
]

READ_TIMEOUT_S = 30.0  # without a byte
ATTEMPTS = 4  # with the waits between them, about 10 s: a restart of a server, not a lost weekend
SCHEMES = ("s3", "https", "http", "hf")


@dataclass(frozen=True)
class Fetched:
    """What a URI led to, on this machine."""

    uri: str
    files: tuple[Path, ...]  # in order; one, except for a hub's data set in several Parquet files
    sha256: str  # of the bytes as they are stored there; of several files: of the list of their digests
    revision: str  # as ``version`` returned it


def scratch() -> Path:
    """Return the folder for what outlives a killed attempt (checkpoints, dictionaries), made when it is missing."""
    folder = Path(os.environ.get("TOOLCHAIN_SCRATCH") or Path.home() / ".cache" / "toolchain").expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def checkpoints() -> str:
    """Return where in S3 trainings keep their checkpoints too, s3://BUCKET/PREFIX without a last slash, "" for nowhere.

    Raises:
        ConfigError: TOOLCHAIN_CHECKPOINTS is not an S3 location.
    """
    uri = os.environ.get("TOOLCHAIN_CHECKPOINTS", "").rstrip("/")
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    if uri and not (uri.startswith("s3://") and bucket and prefix):
        raise ConfigError(f"TOOLCHAIN_CHECKPOINTS is {uri!r}; write s3://BUCKET/PREFIX, or leave it out")
    return uri


def fetch(uri: str, folder: Path) -> Fetched:
    """Return the file at ``uri``: where it is, when it is on this machine, and as a copy in ``folder`` otherwise.

    Args:
        uri: A path (relative to the working directory), ``file://``, ``package:NAME/FILE`` (in an installed Python
            package), ``s3://bucket/key``, ``https://...`` or ``hf://OWNER/DATASET[/CONFIG][#SPLIT]``.
        folder: An empty folder for copies.

    Raises:
        DataError: there is no such local file, or the scheme is unknown.
        ServiceError: the service is down or denies access; the message has a remedy.
        StorageFullError: the disk is full.
    """
    uri = _checked(uri)
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

    Local files: their SHA-256. S3: ETag and size, of a prefix a digest of those of all its files. The web: ETag, else
    date and length. The hub: the commit.

    Raises:
        DataError, ServiceError: as ``fetch``.
    """
    uri = _checked(uri)
    scheme = _scheme(uri)
    if scheme == "":
        return sha256_of_file(_local(uri))
    if scheme == "s3":
        return s3.version(uri)
    return hub.version(uri) if scheme == "hf" else _web_version(uri)


def _checked(uri: str) -> str:
    """Return ``uri`` with its scheme in lower case, as RFC 3986 has it.

    Raises:
        DataError: it is an address that no server can have, or has blanks around it.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return uri
    if uri != uri.strip():
        raise DataError(f"{uri!r} has blanks around it; remove them")
    try:
        urllib.parse.urlsplit(uri)
    except ValueError as error:
        raise DataError(f"{uri} is not a valid address ({error}); correct it") from error
    return f"{scheme.lower()}{separator}{rest}"


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
    path = local_path(uri) or Path(uri)
    if path.is_dir():
        raise DataError(f"{uri} is a folder; name one file in it")
    if not path.is_file():
        absolute = str(path.absolute())
        where = "" if uri == absolute else f" ({absolute})"
        raise DataError(f"{uri} does not exist{where}; check the path")
    return path


def _download(uri: str, copy: Path) -> str:
    """Copy what is at ``uri`` to ``copy`` and return its SHA-256."""
    if _scheme(uri) == "s3":
        return s3.read(uri, lambda chunks: _save(chunks, copy))
    return _with_retries(uri, lambda: _download_from_web(uri, copy))


def _save(chunks: Iterator[bytes], copy: Path) -> str:
    digest = hashlib.sha256()
    with disk_space_reported(copy), copy.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
    return digest.hexdigest()


def _with_retries(uri: str, attempt: Callable[[], str]) -> str:
    """Return the result of ``attempt``, which is retried after transient faults."""
    from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential

    def is_transient(error: BaseException) -> bool:
        return isinstance(error, http.UnreachableError | _BusyError) and not isinstance(error, http.PermanentError)

    def log(state: RetryCallState) -> None:
        log_info(f"{uri}: {state.outcome.exception() if state.outcome else 'failed'}; trying again")

    tries = Retrying(
        retry=retry_if_exception(is_transient),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential(multiplier=0.5, max=8),
        before_sleep=log,
        reraise=True,
    )
    try:
        return tries(attempt)
    except http.PermanentError as error:
        raise ServiceError(f"{uri} cannot be read: {error}") from error
    except http.UnreachableError as error:
        advice = "check the address and the network"
        raise ServiceError(f"{uri} cannot be read after {ATTEMPTS} tries ({error}); {advice}") from error


# --- the web ---


class _BusyError(ServiceError):
    """The server returned an error that may pass."""


@contextmanager
def _open_web(uri: str, method: str = "GET") -> "Iterator[http.Response]":
    address, authorization = _without_user(uri)
    headers = {"User-Agent": "dl-toolchain", **authorization}
    with http.stream(address, method=method, headers=headers, timeout_s=READ_TIMEOUT_S) as response:
        if response.is_error:
            raise _web_error(uri, response)
        yield response


def _without_user(uri: str) -> tuple[str, dict[str, str]]:
    """Return ``uri`` without "user:password@", and the header that carries these (RFC 7617)."""
    parts = urllib.parse.urlsplit(uri)
    user, found, host = parts.netloc.rpartition("@")
    if not found:
        return uri, {}
    plain = base64.b64encode(urllib.parse.unquote(user).encode()).decode()
    return parts._replace(netloc=host).geturl(), {"Authorization": f"Basic {plain}"}


def _download_from_web(uri: str, copy: Path) -> str:
    with _open_web(uri) as response:
        return _save(response.iter_raw(CHUNK_BYTES), copy)


def _web_version(uri: str) -> str:
    def attempt() -> str:
        with _open_web(uri, "HEAD") as response:
            headers = response.headers
        return " ".join(
            filter(None, (headers.get("ETag") or headers.get("Last-Modified"), headers.get("Content-Length")))
        )

    return _with_retries(uri, attempt)


def _web_error(uri: str, response: "http.Response") -> ServiceError:
    status = response.status_code
    advice = {401: "it needs a login", 403: "access is denied", 404: "it does not exist; check the address"}
    error = _BusyError if status >= 500 or status == 429 else ServiceError
    return error(f"{uri} returned {status} {response.reason_phrase}: {advice.get(status, 'try again later')}")


# --- S3 ---


def is_s3_prefix(uri: str) -> bool:
    """Return whether ``uri``, s3://BUCKET/PREFIX without the last slash, names many files rather than one."""
    return not s3.exists(uri) and bool(s3.listing(f"{uri}/"))


def fetch_s3_prefix(uri: str, target: Path) -> None:
    """Copy every file under ``uri``, s3://BUCKET/PREFIX/, to ``target``, under its name after the prefix.

    Raises:
        DataError: there is none, or a name would lead outside ``target``.
        ServiceError: S3 is down or denies access.
        StorageFullError: the disk is full.
    """
    files = s3.listing(uri)
    if not files:
        raise DataError(f"{uri} holds no files; check the bucket and the prefix")
    for file in track(files, "fetch", len(files), "files"):
        copy = target / file.uri.removeprefix(uri)
        if not copy.resolve().is_relative_to(target.resolve()):
            raise DataError(f"{uri} holds {file.uri!r}, which leads outside its folder; rename it")
        copy.parent.mkdir(parents=True, exist_ok=True)
        _download(file.uri, copy)
