"""Show the progress of a run: a live table in a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli.records import runs
from cli.records.runs import Run, StepRecord

MARKS = {
    runs.WAITING: ("·", "dim"),
    runs.RUNNING: ("▶", "cyan"),
    runs.SUCCEEDED: ("✓", "green"),
    runs.FAILED: ("✗", "red"),
    runs.INTERRUPTED: ("◼", "yellow"),
}
PROGRESS = "progress: "  # prefix of a progress line of toolchain.progress in a step's output
WARNING = "warning: "  # prefix of a warning of toolchain.progress
REDRAWS_PER_SECOND = 4


class PlainLines:
    """Prints a line for each state, progress line and warning of a step."""

    def __init__(self, run: Run) -> None:
        self.width = max(len(step.step) for step in run.steps)

    def changed(self, step: StepRecord) -> None:
        print(f"{step.step:<{self.width}}  {describe(step)}", flush=True)

    def printed(self, step: StepRecord, line: str) -> None:
        if line.startswith((PROGRESS, WARNING)):
            print(f"{step.step:<{self.width}}  {line.removeprefix(PROGRESS)}", flush=True)


class LiveTable:
    """Redraws a table of all steps, with the elapsed time and progress of running ones."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._last: dict[str, str] = {}  # progress by task: on a cluster, several run at once
        self._began: dict[str, float] = {}
        self._warnings: list[str] = []

    def changed(self, step: StepRecord) -> None:
        self._last[step.task], self._began[step.task] = "", time.monotonic()

    def printed(self, step: StepRecord, line: str) -> None:
        if line.startswith(PROGRESS):
            self._last[step.task] = line.removeprefix(PROGRESS)
        elif line.startswith(WARNING):
            self._warnings.append(f"{step.step}: {line}")

    def __rich__(self) -> Group:
        return Group(self._table(), *(Text(line, "yellow") for line in self._warnings))

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for step in self.run.steps:
            mark, colour = MARKS[step.state]
            style = "" if step.state == runs.RUNNING else "dim"
            table.add_row(Text(mark, colour), Text(step.step), Text(self._status(step), style))
        return table

    def _status(self, step: StepRecord) -> str:
        last = self._last.get(step.task, "")
        if step.state == runs.RUNNING:
            began = self._began.setdefault(step.task, time.monotonic())  # if it was running already, from now on
            return f"{time.monotonic() - began:.0f} s  {last}"
        return last if last and step.state == runs.WAITING else describe(step)


@contextmanager
def watching(run: Run) -> Iterator[PlainLines | LiveTable]:
    """Yield a watcher that shows ``run`` on standard output."""
    console = Console()
    if not console.is_terminal:
        yield PlainLines(run)
        return
    table = LiveTable(run)
    with Live(table, console=console, refresh_per_second=REDRAWS_PER_SECOND):
        yield table


def describe(step: StepRecord) -> str:
    """Return the state of ``step`` in a few words."""
    if step.cached:
        return "cached"
    if step.state == runs.SUCCEEDED:
        return f"done, {step.seconds:.1f} s"
    if step.state in (runs.FAILED, runs.INTERRUPTED):
        return f"{step.state} after {step.seconds:.1f} s"
    return {runs.RUNNING: "started", runs.WAITING: "waiting"}[step.state]
