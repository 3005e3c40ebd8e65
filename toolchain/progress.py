"""Progress of long work: a live bar in a terminal, plain lines in a pod or a log."""

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
DIRECTION_MARKS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # hide what a text says
WARNING = "warning: "  # begins a line that whoever follows the run is shown
LOG_INTERVAL_S = 2.0  # often enough to see that it lives, seldom enough for a log


def log_info(message: str) -> None:
    """Print one line that a person watching the step should see."""
    print(printable(redact(message)), flush=True)


def printable(text: str) -> str:
    """Return ``text`` with its control characters written out, ``\\x1b`` for escape, so that a terminal shows them.

    Names, reasons and tags come from services that others write to. Line breaks and tabs stay. Escaped are the
    categories Cc (control) and the marks that change the direction of text (Unicode Standard Annex 9, table 4).
    """
    return "".join(_written_out(character) if _is_control(character) else character for character in text)


def _is_control(character: str) -> bool:
    kept = character in "\n\t"
    return not kept and (unicodedata.category(character) == "Cc" or character in DIRECTION_MARKS)


def _written_out(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def log_warning(message: str) -> None:
    """Print one line that a person watching the run, not only this step's log, should see."""
    log_info(f"{WARNING}{message}")


def track(items: Iterable[Item], description: str, total: int | None = None, unit: str = "") -> Iterator[Item]:
    """Yield ``items`` while showing how many of ``total`` have passed."""
    with Progress(description, total, unit) as progress:
        for item in items:
            yield item
            progress.advance()


class ReportThrottle:
    """Decides after which steps of a loop its progress is worth the time that a look at its figures costs.

    After the first, whose duration tells how long all will take; then every ``steps`` steps, and whenever ``seconds``
    have passed since the last time, so that slow steps are not silent for minutes.
    """

    def __init__(self, steps: int, seconds: float = LOG_INTERVAL_S) -> None:
        self.steps, self.seconds = steps, seconds
        self._left, self._due = 1, 0.0

    def should_report(self) -> bool:
        """Count a step; return whether to look after it."""
        self._left -= 1
        if self._left > 0 and time.monotonic() < self._due:
            return False
        self._left, self._due = self.steps, time.monotonic() + self.seconds
        return True


class Progress:
    """Shows how far a piece of work has come; use it in a ``with`` block and call ``advance``.

    A plain line reads ``progress: train 120/300 batches (40 %), 35 s left, loss 0.312``.
    """

    def __init__(self, description: str, total: int | None = None, unit: str = "") -> None:
        self.description, self.total, self.unit = description, total, unit
        self.done = 0
        self._values: dict[str, float] = {}
        self._bar: Bar | None = None

    def __enter__(self) -> Self:
        self._began = self._spoke = time.monotonic()
        if sys.stdout.isatty():
            self._bar = _bar()
            self._bar.start()
            self._task = self._bar.add_task(self.description, total=self.total, values="")
        return self

    def advance(self, by: int = 1, **values: float) -> None:
        """Count ``by`` more; ``values`` (a loss, say) are shown beside the count."""
        self.done += by
        self._values |= values
        if self._bar:
            self._bar.update(self._task, advance=by, values=self._shown_values())
        elif time.monotonic() - self._spoke >= LOG_INTERVAL_S:
            self._speak()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        elif self._spoke > self._began:  # a last line only where there was a first one
            self._speak()

    def _speak(self) -> None:
        self._spoke = time.monotonic()
        log_info(f"progress: {self._line()}")

    def _line(self) -> str:
        count = f"{self.done:,}" + (f"/{self.total:,}" if self.total else "")
        parts = [f"{self.description} {count} {self.unit}".rstrip()]
        if self.total and self.done:
            left = (time.monotonic() - self._began) * (self.total - self.done) / self.done
            parts[0] += f" ({100 * self.done // self.total} %)"
            parts.append(f"{left:.0f} s left")
        return ", ".join([*parts, self._shown_values()] if self._values else parts)

    def _shown_values(self) -> str:
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
