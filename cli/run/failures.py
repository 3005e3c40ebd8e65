"""Explain why a step failed, by its log and its exit status: the last line of a traceback, or a signal."""

import re
import signal
from dataclasses import dataclass

from cli.output.progress import PROGRESS

MAX_LINES = 6  # of an error message; the log has the rest
MAX_CHARACTERS = 600  # of a line
TOOLCHAIN = "toolchain."  # prefix of the types of the toolchain's own errors in a traceback
HEADER = re.compile(r"^\s*(?:\+ )?(?:Exception Group )?Traceback \(most recent call last\):$")
TOOLCHAIN_ERROR = re.compile(r"^toolchain\.[\w.]+: ")
NOT_FATAL = ("Exception ignored ", "Exception in thread ")  # before a traceback that did not end the process
ERROR = re.compile(r"^([^\W\d][\w.]*(?:<locals>[\w.]*)*)(?::(?: (.*))?)?$")  # the type and the message of an exception
AFTER_TRACEBACK = re.compile(r"^(?:Exception ignored |\S+:\d+: \w*Warning: |Killed$|Aborted|Segmentation fault)")
FATAL = "Fatal Python error:"
SHELL_SIGNAL = 128  # a shell adds this to the number of a signal
MEMORY_HINT = "possibly out of memory: use less data or smaller batches, or provide more memory"


@dataclass(frozen=True)
class Raised:
    """The exception at the end of a traceback."""

    type: str  # with its module: "pyarrow.lib.ArrowInvalid"
    message: tuple[str, ...]  # its lines; () if it has no message


def failure_reason(log: str, status: int | None) -> str:
    """Return why the step that printed ``log`` failed.

    Args:
        log: Its output.
        status: Its exit status: negative, or above 128, for a signal; None if it is not known.
    """
    number = signal_of(status)
    if number == signal.SIGKILL:
        return f"killed by SIGKILL ({MEMORY_HINT})"
    raised = last_raised(log)
    if raised is None:
        return _without_traceback(log, number, status)
    message = _message(raised)
    return f"{message}\nthen ended by {_name(number)}" if number and number != signal.SIGINT else message


def signal_of(status: int | None) -> int | None:
    """Return the number of the signal in an exit ``status``, or None."""
    number = 0 if status is None else -status if status < 0 else status - SHELL_SIGNAL
    return number if number in {entry.value for entry in signal.Signals} else None


def last_raised(log: str) -> Raised | None:
    """Return the exception of the last traceback in ``log``; those of threads count only if there is no other.

    If the beginning of the log is missing, as on a cluster, the last line of an error of the toolchain is enough.
    """
    lines = log.splitlines()
    starts = [position for position, line in enumerate(lines) if HEADER.match(line)]
    main = [start for start in starts if not (start and lines[start - 1].startswith(NOT_FATAL))]
    threads = [start for start in starts if start and lines[start - 1].startswith(NOT_FATAL[1])]
    for start in reversed(main or threads):
        if raised := _raised(lines[start + 1 :]):
            return raised
    ends = [position for position, line in enumerate(lines) if TOOLCHAIN_ERROR.match(line)]
    return _raised(lines[ends[-1] :]) if ends and not starts else None


def _raised(lines: list[str]) -> Raised | None:
    """Return the exception of the traceback in ``lines``, which begin after its header."""
    group = bool(lines) and lines[0].lstrip().startswith("|")
    lines = [re.sub(r"^\s*\| ?", "", line) if group else line for line in lines if not line.startswith(PROGRESS)]
    first = next((position for position, line in enumerate(lines) if line and not line[0].isspace()), None)
    match = ERROR.match(lines[first]) if first is not None else None
    if first is None or match is None:
        return None
    message = [match[2] or ""]
    for line in lines[first + 1 :]:
        if HEADER.match(line) or AFTER_TRACEBACK.match(line) or (group and line.lstrip().startswith("+-")):
            break
        message.append(line)
    return Raised(match[1], tuple(line for line in message if line.strip()))


def _message(raised: Raised) -> str:
    lines = [_cut(line) for line in raised.message[:MAX_LINES]]
    if len(raised.message) > MAX_LINES:
        lines.append(f"... ({len(raised.message) - MAX_LINES} more lines in the log)")
    if raised.type.startswith(TOOLCHAIN) and lines:
        return "\n".join(lines)
    name, lines = raised.type.rpartition(".")[2], lines or ["no message"]
    if len(lines) > 1:
        return "\n".join([f"{name} (unexpected error in the step): {lines[0]}", *lines[1:]])
    return f"{name}: {lines[0]} (unexpected error in the step)"


def _without_traceback(log: str, number: int | None, status: int | None) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip() and not line.startswith(PROGRESS)]
    candidates = [line for line in lines if line.startswith(FATAL)] or lines
    last = f"; last line: {_cut(candidates[-1])}" if candidates else ""
    if number is not None:
        return f"ended by {_name(number)}{last}"
    exited = "exited" if status is None else f"exited with status {status}"
    return f"{exited} without a traceback{last}"


def _name(number: int) -> str:
    return f"{signal.Signals(number).name} ({(signal.strsignal(number) or '').lower()})"


def _cut(line: str) -> str:
    return line if len(line) <= MAX_CHARACTERS else f"{line[:MAX_CHARACTERS]}..."
