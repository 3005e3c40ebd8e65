"""What a person sees while a pipeline runs: a live table in a terminal, plain lines elsewhere."""

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
PROGRESS = "progress: "  # begins a line of toolchain.progress in a step's output
WARNING = "warning: "  # begins a line of toolchain.progress that a person should see
REDRAWS_PER_SECOND = 4


class PlainLines:
    """Prints a line whenever a step changes or tells its progress."""

    def __init__(self, run: Run) -> None:
        self.width = max(len(step.step) for step in run.steps)

    def changed(self, step: StepRecord) -> None:
        print(f"{step.step:<{self.width}}  {describe(step)}", flush=True)

    def said(self, step: StepRecord, line: str) -> None:
        if line.startswith((PROGRESS, WARNING)):
            print(f"{step.step:<{self.width}}  {line.removeprefix(PROGRESS)}", flush=True)


class LiveTable:
    """Redraws a table of all steps, the one at work with its elapsed time and progress."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._last: dict[str, str] = {}  # progress by task: on a cluster several are at work
        self._began: dict[str, float] = {}
        self._warnings: list[str] = []

    def changed(self, step: StepRecord) -> None:
        self._last[step.task], self._began[step.task] = "", time.monotonic()

    def said(self, step: StepRecord, line: str) -> None:
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
            at_work = step.state == runs.RUNNING
            table.add_row(Text(mark, colour), Text(step.step), Text(self._told(step), "" if at_work else "dim"))
        return table

    def _told(self, step: StepRecord) -> str:
        last = self._last.get(step.task, "")
        if step.state == runs.RUNNING:
            began = self._began.setdefault(step.task, time.monotonic())  # at work before anybody looked: from then on
            return f"{time.monotonic() - began:.0f} s  {last}"
        return last if last and step.state == runs.WAITING else describe(step)


@contextmanager
def watching(run: Run) -> Iterator[PlainLines | LiveTable]:
    """Yield what shows ``run`` to whoever looks at standard output."""
    console = Console()
    if not console.is_terminal:
        yield PlainLines(run)
        return
    table = LiveTable(run)
    with Live(table, console=console, refresh_per_second=REDRAWS_PER_SECOND):
        yield table


def describe(step: StepRecord) -> str:
    """Return how ``step`` went, in a few words."""
    if step.cached:
        return "cached"
    if step.state == runs.SUCCEEDED:
        return f"done, {step.seconds:.1f} s"
    if step.state in (runs.FAILED, runs.INTERRUPTED):
        return f"{step.state} after {step.seconds:.1f} s"
    return {runs.RUNNING: "started", runs.WAITING: "waiting"}[step.state]
