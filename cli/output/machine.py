"""Print JSON for programs; docs/start/command-line.md describes the fields."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from cli.records.cost import Prices, cost_of, read_prices, step_cost
from cli.records.runs import Run, StepRecord


@contextmanager
def text_output(as_json: bool) -> Iterator[None]:
    """Redirect standard output to standard error during the block if ``as_json``, which reserves it for a document."""
    if not as_json:
        yield
        return
    with redirect_stdout(sys.stderr):
        yield


def print_json(content: Any) -> None:
    print(json.dumps(content, indent=1, ensure_ascii=False))


def run_fields(run: Run) -> dict[str, Any]:
    """Return what ``toolchain runs --json`` prints of a run."""
    return {
        "id": run.id,
        "pipeline": run.pipeline,
        "engine": run.engine,
        "state": run.state,
        "started": run.started,
        "seconds": run.seconds,
        "verdict": run.verdict,
        "kfp_run_id": run.kfp_run_id,
    }


def print_run_details(run: Run) -> None:
    print_json(run_details(run, read_prices()))


def run_details(run: Run, prices: Prices) -> dict[str, Any]:
    """Return what ``toolchain show --json`` and ``submit --json`` print: a run, its steps and their costs."""
    return {
        **run_fields(run),
        "parameters": run.parameters,
        "folder": str(run.folder),
        "cost": cost_of(run).to_json(prices),
        "steps": [_step_fields(step, run, prices) for step in run.steps],
    }


def _step_fields(step: StepRecord, run: Run, prices: Prices) -> dict[str, Any]:
    return {
        "step": step.step,
        "task": step.task,
        "state": step.state,
        "cached": step.cached,
        "seconds": step.seconds,
        "outputs": step.outputs,
        "error": step.error,
        "cost": step_cost(step, run).to_json(prices),
    }
