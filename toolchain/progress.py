"""Report the progress of long tasks: a live bar in a terminal, plain lines in a log."""

import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from toolchain.redaction import redact

Item = TypeVar("Item")
DIRECTION_MARKS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # can hide parts of a text
WARNING = "warning: "  # prefix of lines that are also shown to the user who follows the run
LOG_INTERVAL_S = 2.0  # frequent enough to show activity, rare enough for a log


def log_info(message: str) -> None:
    """Print a line to the log of the step."""
    print(printable(redact(message)), flush=True)


def printable(text: str) -> str:
    """Return ``text`` with control characters escaped, such as ``\\x1b``, so that a terminal does not interpret them.

    Names, reasons and tags come from services that other users write to. Line breaks and tabs are kept. Characters of
    category Cc (control) and direction marks (Unicode Standard Annex 9, table 4) are escaped.
    """
    return "".join(_escape(character) if _is_control(character) else character for character in text)


def _is_control(character: str) -> bool:
    return character not in "\n\t" and (unicodedata.category(character) == "Cc" or character in DIRECTION_MARKS)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def log_warning(message: str) -> None:
    """Print a line to the log of the step that is also shown to the user who follows the run."""
    log_info(f"{WARNING}{message}")


def track(items: Iterable[Item], description: str, total: int | None = None, unit: str = "") -> Iterator[Item]:
    """Yield ``items`` and show how many of ``total`` are done."""
    with Progress(description, total, unit) as progress:
        for item in items:
            yield item
            progress.advance()


class ReportThrottle:
    """Limits how often a loop reports metrics, which can be expensive to compute.

    It reports after the first step, which shows how long all will take, then every ``steps`` steps, and when
    ``seconds`` have passed since the last report, so that slow loops are not silent for minutes.
    """

    def __init__(self, steps: int, seconds: float = LOG_INTERVAL_S) -> None:
        self.steps, self.seconds = steps, seconds
        self._steps_left, self._next_report = 1, 0.0

    def should_report(self) -> bool:
        """Count a step; return whether to report after it."""
        self._steps_left -= 1
        if self._steps_left > 0 and time.monotonic() < self._next_report:
            return False
        self._steps_left, self._next_report = self.steps, time.monotonic() + self.seconds
        return True


class Progress:
    """Shows the progress of a task; use it in a ``with`` block and call ``advance``.

    A plain line reads ``progress: train 120/300 batches (40 %), 35 s left, loss 0.312``.
    """

    def __init__(self, description: str, total: int | None = None, unit: str = "") -> None:
        self.description, self.total, self.unit = description, total, unit
        self.done = 0
        self._values: dict[str, float] = {}
        self._bar: Bar | None = None

    def __enter__(self) -> Self:
        self._start = self._last_line = time.monotonic()
        if sys.stdout.isatty():
            self._bar = _bar()
            self._bar.start()
            self._task = self._bar.add_task(self.description, total=self.total, values="")
        return self

    def advance(self, by: int = 1, **values: float) -> None:
        """Add ``by`` to the count; ``values``, such as a loss, are shown after it."""
        self.done += by
        self._values |= values
        if self._bar:
            self._bar.update(self._task, advance=by, values=self._format_values())
        elif time.monotonic() - self._last_line >= LOG_INTERVAL_S:
            self._print_line()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        elif self._last_line > self._start:  # a last line only if there was a first one
            self._print_line()

    def _print_line(self) -> None:
        self._last_line = time.monotonic()
        log_info(f"progress: {self._line()}")

    def _line(self) -> str:
        count = f"{self.done:,}" + (f"/{self.total:,}" if self.total else "")
        parts = [f"{self.description} {count} {self.unit}".rstrip()]
        if self.total and self.done:
            left = (time.monotonic() - self._start) * (self.total - self.done) / self.done
            parts[0] += f" ({100 * self.done // self.total} %)"
            parts.append(f"{left:.0f} s left")
        return ", ".join([*parts, self._format_values()] if self._values else parts)

    def _format_values(self) -> str:
        return ", ".join(f"{name} {value:.4g}" for name, value in self._values.items())


def _bar() -> Bar:
    return Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[values]}"),
        console=Console(file=sys.stdout),
        transient=True,
    )
