"""What is printed of a run when it has ended: its summary, its failure, the list of all runs."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.cluster.kfp_client import NAMESPACE
from cli.output.progress import MARKS, describe
from cli.records import runs
from cli.records.cost import Prices, cost_of, step_cost
from cli.records.runs import Run
from cli.settings import Settings
from cli.state_files import read_record
from toolchain.services.mlflow_retry import without_credentials

REGISTERING = "release.register"
REPORT, DATA_REPORT = "release.report", "data.report"  # steps that write report.html and report.json
LEAST_WIDTH = 110  # columns for a table where there is no terminal to ask


def console() -> Console:
    """Return a console that does not fold tables when its output is a file."""
    plain = Console()
    return plain if plain.is_terminal else Console(width=max(LEAST_WIDTH, plain.width))


def report_of(run: Run) -> dict[str, Any] | None:
    """Return the run's report.json, or None when the pipeline makes none, or has not yet."""
    return _read_report(run, REPORT)


def _read_report(run: Run, step: str) -> dict[str, Any] | None:
    folder = run.output(step, "report")
    file = folder / "report.json" if folder else None
    return read_record(file, "the report is not shown") if file else None


def summary(run: Run, settings: Settings) -> None:
    """Print how a run that succeeded went: variants, verdict, and where to look."""
    cached = sum(step.cached for step in run.steps)
    print(f"\n{run.id}: succeeded in {run.seconds:.1f} s, {len(run.steps)} steps, {cached} of them cached")
    if prepared := _read_report(run, DATA_REPORT):
        print_data(prepared)
        print(f"Report:  {report_file(run)}")
    report = report_of(run)
    if report is None:
        return
    console().print(_variants(report))
    verdict = report["verdict"]
    print(
        f"Verdict: {verdict['winner']}. {verdict['reason']}"
        if verdict["promotable"]
        else f"Verdict: {verdict['reason']}"
    )
    print(f"Report:  {report_file(run)}")
    if any(step.step == REGISTERING and step.state == runs.SUCCEEDED for step in run.steps):
        print(f"MLflow:  {_registry(run, settings)}")
        if run.parameters.get("require_approval"):
            print(f"Waits for a person: toolchain approve {run.id}, or reject {run.id} --reason REASON")


def _registry(run: Run, settings: Settings) -> str:
    if run.engine == runs.CLUSTER or settings.registry:
        namespace = settings.namespace or NAMESPACE
        return f"kubectl -n {namespace} port-forward service/toolchain-mlflow 5000, then http://127.0.0.1:5000"
    local = settings.tracking_uri.startswith("sqlite")
    return "make mlflow, then http://127.0.0.1:5000" if local else without_credentials(settings.tracking_uri)


def report_file(run: Run) -> Path | None:
    """Return the path of the run's report.html, or None when it has none."""
    folder = run.output(REPORT, "report") or run.output(DATA_REPORT, "report")
    return folder / "report.html" if folder else None


def print_data(report: dict[str, Any]) -> None:
    """Print the rows of each split, by class, and the rows that each rule dropped."""
    rows, counts = report["rows"], report["class_counts"]
    table = Table("class", *(f"{split} rows" for split in rows), box=None, pad_edge=False)
    for label in report["labels"]:
        table.add_row(escape(label), *(f"{counts.get(split, {}).get(label, 0):,}" for split in rows))
    table.add_row("all", *(f"{count:,}" for count in rows.values()))
    console().print(table)
    dropped = Table("dropped rows", "rule", "step", box=None, pad_edge=False)
    for entry in report["dropped"]:
        if entry["rows"]:
            dropped.add_row(f"{entry['rows']:,}", escape(entry["rule"]), entry["step"])
    console().print(dropped if dropped.row_count else "no row was dropped")


def failure(run: Run) -> None:
    """Print which step failed, its own words, and where its log is."""
    for step in run.steps:
        if step.state == runs.FAILED:
            print(f"\n{step.step} failed: {step.error}")
            log = run.folder / "logs" / f"{step.step}.log"
            if log.is_file():
                print(f"full log: {log}")


def print_run(run: Run, prices: Prices) -> None:
    """Print the state, the steps, the cost and the failure of a run."""
    verdict = f", verdict {run.verdict}" if run.verdict else ""
    print(f"{run.id}: {run.state}, {run.seconds:.1f} s{verdict}")
    console().print(table_of_steps(run, prices))
    print(f"Cost: {cost_of(run).text(prices)}")
    failure(run)


def table_of_runs(known: list[Run]) -> Table:
    """Return all runs, a row each."""
    table = Table("run", "pipeline", "state", "duration", "verdict", box=None, pad_edge=False)
    for run in known:
        table.add_row(run.id, run.pipeline, run.state, f"{run.seconds:.1f} s", run.verdict)
    return table


def table_of_steps(run: Run, prices: Prices) -> Table:
    """Return the steps of ``run``, a row each."""
    table = Table("", "step", "state", "how", "core-hours", "cost", box=None, pad_edge=False)
    for step in run.steps:
        cost = step_cost(step, run)
        money = cost.money(prices)
        priced = "" if money is None else f"{money:.4f} {prices.currency}"
        table.add_row(MARKS[step.state][0], step.step, step.state, describe(step), f"{cost.cpu_hours:.4f}", priced)
    return table


def _variants(report: dict[str, Any]) -> Table:
    table = Table("variant", "accuracy", "agreement", "p50 ms", "speedup", "MB", "gate", box=None, pad_edge=False)
    for variant in report["variants"]:
        verdict = "accurate" if variant["accurate"] else "rejected"
        table.add_row(
            variant["name"] + (" ◀" if variant["name"] == report["verdict"]["winner"] else ""),
            f"{variant['accuracy']:.3f}",
            f"{variant['agreement']:.3f}",
            f"{variant['p50_ms']:.1f}",
            f"{variant['speedup']:.2f} ({variant['speedup_low']:.2f}-{variant['speedup_high']:.2f})",
            f"{variant['size_bytes'] / 1e6:.1f}",
            f"{verdict}, {'faster' if variant['faster'] else 'not faster'}",
        )
    return table
