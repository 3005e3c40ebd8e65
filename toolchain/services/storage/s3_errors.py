"""Retries and errors of S3: wait while it is unavailable, and report in one line which credential or address to fix."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from toolchain.errors import ServiceError, first_line
from toolchain.progress import log_info

Result = TypeVar("Result")
MAX_RETRY_S = 120.0  # a storage server whose pod moves to another node is back within 60 s; twice that
MAX_WAIT_S = 10.0  # between two attempts: the most that is lost when the server is back
ABSENT = {"404", "NoSuchKey", "NoSuchBucket"}
DENIED = {"403", "AccessDenied", "Forbidden"}
BUSY = {"InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown", "Throttling", "TooManyRequests"}
PERMISSIONS = {  # that each operation needs
    "read": "read it (s3:GetObject)",
    "written": "write it (s3:PutObject and s3:GetObject)",
    "deleted": "delete it (s3:DeleteObject)",
    "listed": "list the bucket (s3:ListBucket)",
}


def with_retries(uri: str, operation: str, attempt: Callable[[], Result]) -> Result:
    """Return what ``attempt`` returns, retried with a log line while S3 is unavailable or busy."""
    from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_exponential

    began = time.monotonic()

    def log(state: RetryCallState) -> None:
        left = max(0, MAX_RETRY_S - (time.monotonic() - began))
        error = state.outcome.exception() if state.outcome else None
        reason = first_line(error) if error else ""
        log_info(f"{uri} cannot be {operation} now ({reason}); retrying for {left:.0f} s")

    tries = Retrying(
        retry=retry_if_exception(_is_transient),
        stop=stop_after_delay(MAX_RETRY_S),
        wait=wait_exponential(max=MAX_WAIT_S),
        before_sleep=log,
        reraise=True,
    )
    with reported(uri, operation):
        return tries(attempt)


def _is_transient(error: BaseException) -> bool:
    """Return whether a retry may help: S3 is unavailable or busy, or the connection was lost."""
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or status == 429 or error_code(error) in BUSY
    lost = (exceptions.ConnectionError, exceptions.HTTPClientError, exceptions.ResponseStreamingError)
    never = (exceptions.SSLError, exceptions.ProxyConnectionError)
    return isinstance(error, (*lost, exceptions.IncompleteReadError)) and not isinstance(error, never)


@contextmanager
def reported(uri: str, operation: str = "read") -> Iterator[None]:
    """Turn boto3's errors in the block into one line that names the credential or address to fix.

    ``operation`` is the one that fails on ``uri``: a key of ``PERMISSIONS``.
    """
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise ServiceError(rejection(uri, operation, error_code(error) or str(error))) from error
    except (BotoCoreError, Boto3Error) as error:
        raise ServiceError(_fault(uri, operation, error)) from error


def error_code(error: Any) -> str:
    return str(error.response["Error"].get("Code", ""))


def rejection(uri: str, operation: str, code: str) -> str:
    if code in ABSENT:
        bucket = uri.removeprefix("s3://").partition("/")[0]
        return (
            f"{uri} does not exist; check the bucket's and the file's name"
            if operation == "read"
            else f"{uri} cannot be {operation}: there is no bucket {bucket!r}; create it, or check its name"
        )
    if code == "InvalidAccessKeyId":
        return f"{uri}: S3 does not know the key in AWS_ACCESS_KEY_ID; set that of this endpoint"
    if code == "SignatureDoesNotMatch":
        return f"{uri}: S3 rejected the signature; AWS_SECRET_ACCESS_KEY does not belong to AWS_ACCESS_KEY_ID"
    if code in DENIED:
        return f"{uri}: S3 denied access; give the owner of AWS_ACCESS_KEY_ID the right to {PERMISSIONS[operation]}"
    return f"{uri} cannot be {operation}: S3 returned {code}; try again later"


def _fault(uri: str, operation: str, error: Exception) -> str:
    if type(error).__name__ in {"NoCredentialsError", "PartialCredentialsError"}:
        return f"{uri}: S3 credentials are missing; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    where = "from" if operation == "read" else "at"
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "AWS")
    return (
        f"{uri} cannot be {operation} {where} {endpoint} ({first_line(error)}); check AWS_ENDPOINT_URL and the network"
    )
