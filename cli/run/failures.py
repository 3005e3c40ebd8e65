"""Why a step ended, from its log and its exit status: the traceback's last line, or the signal that ended it."""

import re
import signal
from dataclasses import dataclass

from cli.output.progress import PROGRESS

MAX_LINES = 6  # of an error's message that are shown; the log has the rest
MAX_CHARACTERS = 600  # of a line that is shown
OURS = "toolchain."  # what the types of our own errors begin with in a traceback
HEADER = re.compile(r"^\s*(?:\+ )?(?:Exception Group )?Traceback \(most recent call last\):$")
LAST = re.compile(r"^toolchain\.[\w.]+: ")
ASIDE = ("Exception ignored ", "Exception in thread ")  # before a traceback that did not end the process
TYPE = re.compile(r"^([^\W\d][\w.]*(?:<locals>[\w.]*)*)(?::(?: (.*))?)?$")
AFTERWORD = re.compile(r"^(?:Exception ignored |\S+:\d+: \w*Warning: |Killed$|Aborted|Segmentation fault)")
FATAL = "Fatal Python error:"
SHELL_SIGNAL = 128  # a shell adds this to the number of the signal that ended its command
MEMORY = "probably out of memory; use less data or smaller batches, or give it more memory"


@dataclass(frozen=True)
class Raised:
    """An exception, as its traceback ends."""

    kind: str  # with its module: "pyarrow.lib.ArrowInvalid"
    message: tuple[str, ...]  # its lines, none for an exception without words


def reason_of(log: str, status: int | None) -> str:
    """Return why a step ended that printed ``log``.

    Args:
        log: What it printed.
        status: Its exit status: negative, or above 128, where a signal ended it; None where nobody knows it.
    """
    number = signal_of(status)
    if number == signal.SIGKILL:
        return f"it was killed by the system (SIGKILL): {MEMORY}"
    raised = last_raised(log)
    if raised is None:
        return _without_traceback(log, number, status)
    told = _told(raised)
    unexpected = number not in (None, signal.SIGINT)
    return f"{told}\nthen it was ended by {_name(number)}" if number and unexpected else told


def signal_of(status: int | None) -> int | None:
    """Return the number of the signal in an exit ``status``, None where it holds none."""
    number = 0 if status is None else -status if status < 0 else status - SHELL_SIGNAL
    return number if number in {entry.value for entry in signal.Signals} else None


def last_raised(log: str) -> Raised | None:
    """Return the exception whose traceback comes last in ``log``; those of threads count where there is no other.

    Of a log whose beginning is lost, as a cluster's may be, the last line of our own errors is enough.
    """
    lines = log.splitlines()
    starts = [position for position, line in enumerate(lines) if HEADER.match(line)]
    main = [start for start in starts if not (start and lines[start - 1].startswith(ASIDE))]
    threads = [start for start in starts if start and lines[start - 1].startswith(ASIDE[1])]
    for start in reversed(main or threads):
        if raised := _raised(lines[start + 1 :]):
            return raised
    ends = [position for position, line in enumerate(lines) if LAST.match(line)]
    return _raised(lines[ends[-1] :]) if ends and not starts else None


def _raised(lines: list[str]) -> Raised | None:
    """Return the exception at the end of the traceback that ``lines`` go on with."""
    group = bool(lines) and lines[0].lstrip().startswith("|")
    lines = [re.sub(r"^\s*\| ?", "", line) if group else line for line in lines if not line.startswith(PROGRESS)]
    first = next((position for position, line in enumerate(lines) if line and not line[0].isspace()), None)
    match = TYPE.match(lines[first]) if first is not None else None
    if first is None or match is None:
        return None
    message = [match[2] or ""]
    for line in lines[first + 1 :]:
        if HEADER.match(line) or AFTERWORD.match(line) or (group and line.lstrip().startswith("+-")):
            break
        message.append(line)
    return Raised(match[1], tuple(line for line in message if line.strip()))


def _told(raised: Raised) -> str:
    kept = [_cut(line) for line in raised.message[:MAX_LINES]]
    if len(raised.message) > MAX_LINES:
        kept.append(f"... ({len(raised.message) - MAX_LINES} more lines in the log)")
    if raised.kind.startswith(OURS) and kept:
        return "\n".join(kept)
    name, message = raised.kind.rpartition(".")[2], kept or ["no message"]
    if len(message) > 1:
        return "\n".join([f"{name} (unexpected error in the step): {message[0]}", *message[1:]])
    return f"{name}: {message[0]} (unexpected error in the step)"


def _without_traceback(log: str, number: int | None, status: int | None) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip() and not line.startswith(PROGRESS)]
    telling = [line for line in lines if line.startswith(FATAL)] or lines
    last = f"; its last line: {_cut(telling[-1])}" if telling else ""
    if number is not None:
        return f"it was ended by {_name(number)}{last}"
    ended = "ended" if status is None else f"ended with exit status {status}"
    return f"it {ended} without a traceback{last}"


def _name(number: int) -> str:
    return f"{signal.Signals(number).name} ({(signal.strsignal(number) or '').lower()})"


def _cut(line: str) -> str:
    return line if len(line) <= MAX_CHARACTERS else f"{line[:MAX_CHARACTERS]}..."
