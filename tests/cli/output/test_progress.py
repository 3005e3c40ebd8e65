"""What a person sees of a run while it is at work."""

from io import StringIO
from pathlib import Path

from rich.console import Console

from cli.output.progress import LiveTable, PlainLines
from cli.records import runs


def test_a_step_that_was_at_work_before_the_first_poll_is_shown(tmp_path: Path):
    run = runs.new_run("prepare", tmp_path, {}, [runs.StepRecord("split", "data.split", "key", state=runs.RUNNING)])
    screen = StringIO()
    Console(file=screen, width=80).print(LiveTable(run))
    assert screen.getvalue().split() == ["▶", "data.split", "0", "s"]


def test_a_warning_of_a_step_is_shown_below_the_table_and_as_a_plain_line(tmp_path: Path, capsys):
    run = runs.new_run("prepare", tmp_path, {}, [runs.StepRecord("check", "data.validate", "key", state=runs.RUNNING)])
    table, screen = LiveTable(run), StringIO()
    for watcher in (table, PlainLines(run)):
        watcher.printed(run.steps[0], "warning: the test split has 20 rows")
        watcher.printed(run.steps[0], "a line for the log alone")
    Console(file=screen, width=80).print(table)
    assert screen.getvalue().splitlines()[-1].rstrip() == "data.validate: warning: the test split has 20 rows"
    assert capsys.readouterr().out == "data.validate  warning: the test split has 20 rows\n"
