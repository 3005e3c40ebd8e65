"""What a person sees of a run while it is at work."""

from io import StringIO
from pathlib import Path

from rich.console import Console

from pipelines.engine import runs
from pipelines.engine.display import LiveTable


def test_a_step_that_was_at_work_before_anybody_looked_is_shown(tmp_path: Path):
    run = runs.new_run("prepare", tmp_path, {}, [runs.StepRecord("split", "data.split", "key", state=runs.RUNNING)])
    screen = StringIO()
    Console(file=screen, width=80).print(LiveTable(run))
    assert screen.getvalue().split() == ["▶", "data.split", "0", "s"]
