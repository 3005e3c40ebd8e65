"""Patience: how MLflow is asked, again while it may only be away for a moment, and what is said when it is not."""

from collections.abc import Callable
from typing import TypeVar

from toolchain.errors import ServiceError
from toolchain.progress import log_info

Answer = TypeVar("Answer")
TRIES = 3  # of a database on this machine: what is still wrong then stays wrong
TRIES_OF_A_SERVER = 25  # with the waits two minutes: it, its database or its S3 moves to another node within one
SECONDS_BETWEEN_TRIES = 5.0
MOST_SECONDS = 120.0  # from the first try to the last, when it takes long to say no
PASSING = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "DEADLINE_EXCEEDED", "REQUEST_LIMIT_EXCEEDED", "ABORTED")


def ask(call: Callable[[], Answer], uri: str) -> Answer:
    """Return what ``call`` answers, asked again while the server, or what it needs, is away or ill."""
    from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, stop_after_delay, wait_fixed

    tries = TRIES_OF_A_SERVER if uri.startswith("http") else TRIES

    def tell(state: RetryCallState) -> None:
        log_info(f"MLflow at {shown(uri)} does not answer, asking again ({state.attempt_number}/{tries - 1})")

    retrying = Retrying(
        stop=stop_after_attempt(tries) | stop_after_delay(MOST_SECONDS),
        wait=wait_fixed(SECONDS_BETWEEN_TRIES),
        retry=retry_if_exception(_is_passing),
        before_sleep=tell,
        reraise=True,
    )
    try:
        answer: Answer = retrying(call)
        return answer
    except Exception as error:
        raise _explained(error, uri) from error


def shown(uri: str) -> str:
    """Return ``uri`` without the name and password that it may hold."""
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rsplit('@', 1)[-1]}"


def _is_passing(error: BaseException) -> bool:
    code = getattr(error, "error_code", None)  # an MlflowException has one
    return isinstance(error, OSError) or (code in PASSING and "out-of-date" not in str(error))


def _explained(error: Exception, uri: str) -> ServiceError:
    said = str(error).replace(uri, shown(uri)).strip()
    first_line = (said.splitlines() or [type(error).__name__])[0][:300]
    if isinstance(error, ModuleNotFoundError):
        return ServiceError(f"{shown(uri)} needs the whole of MLflow, and {error.name} is not installed here")
    if isinstance(error, OSError) or "API request to" in first_line:
        return ServiceError(f"MLflow at {shown(uri)} does not answer; start it, then submit again ({first_line})")
    return ServiceError(f"MLflow at {shown(uri)} refuses: {first_line}")
