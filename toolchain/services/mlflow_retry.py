"""Retries of MLflow requests while the server is unavailable, and its errors in one line."""

from collections.abc import Callable
from typing import TypeVar

from toolchain.errors import ServiceError
from toolchain.progress import log_info

Result = TypeVar("Result")
DATABASE_ATTEMPTS = 3  # on this machine, where errors rarely pass
SERVER_ATTEMPTS = 25  # two minutes: the server, its database or its S3 moves to another node within one
RETRY_INTERVAL_S = 5.0
MAX_RETRY_S = 120.0  # from the first attempt to the last, when each takes long to fail
TRANSIENT_CODES = (
    "INTERNAL_ERROR",
    "TEMPORARILY_UNAVAILABLE",
    "DEADLINE_EXCEEDED",
    "REQUEST_LIMIT_EXCEEDED",
    "ABORTED",
)


def call_with_retries(call: Callable[[], Result], uri: str) -> Result:
    """Return what ``call`` returns, retried while the server or its database or storage is unavailable."""
    from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, stop_after_delay, wait_fixed

    attempts = SERVER_ATTEMPTS if uri.startswith("http") else DATABASE_ATTEMPTS

    def log(state: RetryCallState) -> None:
        log_info(
            f"MLflow at {without_credentials(uri)} does not respond, retrying ({state.attempt_number}/{attempts - 1})"
        )

    retrying = Retrying(
        stop=stop_after_attempt(attempts) | stop_after_delay(MAX_RETRY_S),
        wait=wait_fixed(RETRY_INTERVAL_S),
        retry=retry_if_exception(_is_transient),
        before_sleep=log,
        reraise=True,
    )
    try:
        result: Result = retrying(call)
        return result
    except Exception as error:
        raise _explained(error, uri) from error


def without_credentials(uri: str) -> str:
    """Return ``uri`` without user name and password."""
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rsplit('@', 1)[-1]}"


def _is_transient(error: BaseException) -> bool:
    code = getattr(error, "error_code", None)  # an MlflowException has one
    return isinstance(error, OSError) or (code in TRANSIENT_CODES and "out-of-date" not in str(error))


def _explained(error: Exception, uri: str) -> ServiceError:
    message = str(error).replace(uri, without_credentials(uri)).strip()
    first_line = (message.splitlines() or [type(error).__name__])[0][:300]
    if isinstance(error, ModuleNotFoundError):
        return ServiceError(f"{without_credentials(uri)} needs the full mlflow package: {error.name} is not installed")
    if isinstance(error, OSError) or "API request to" in first_line:
        return ServiceError(
            f"MLflow at {without_credentials(uri)} does not respond; start it, then submit again ({first_line})"
        )
    return ServiceError(f"MLflow at {without_credentials(uri)} rejected the request: {first_line}")
