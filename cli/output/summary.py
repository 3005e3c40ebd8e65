"""Print the summary or the failure of a run, and tables of runs and steps."""

from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

from cli.cluster.kfp_client import NAMESPACE
from cli.output.progress import MARKS, describe
from cli.records import runs
from cli.records.artifacts import DATA_REPORT, DRIFT, REGISTRATION, REPORT, REPORTS, find_artifact
from cli.records.cost import Cost, Prices, cost_of, step_cost
from cli.records.runs import Run
from cli.settings import Settings
from cli.state_files import read_record
from toolchain.artifacts.variants import REFERENCE
from toolchain.services.mlflow_retry import without_credentials

MIN_WIDTH = 110  # columns of a table if the output is not a terminal


def print_table(table: RenderableType) -> None:
    """Print a table or tree, without blanks at the ends of its lines; it is not folded if the output is a file."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(MIN_WIDTH, console.width))
    with console.capture() as capture:
        console.print(table)
    for line in capture.get().splitlines():
        print(line.rstrip())


def read_report(run: Run, kind: str = REPORT) -> dict[str, Any] | None:
    """Return report.json of the run's report of ``kind``, or None if the run has none (yet)."""
    artifact = find_artifact(run, kind)
    return read_record(artifact.folder / "report.json", "the report is not shown") if artifact else None


def summary(run: Run, settings: Settings) -> None:
    """Print the summary of a successful run: data, variants, verdict or drift, and the paths of its results."""
    cached = sum(step.cached for step in run.steps)
    print(f"\n{run.id}: succeeded in {run.seconds:.1f} s, {len(run.steps)} steps, {cached} of them cached")
    if data := read_report(run, DATA_REPORT):
        print_data(data)
    if report := read_report(run):
        _print_verdict(report)
    if drift := find_artifact(run, DRIFT):
        _print_drift(drift.description["data"])
    if file := report_file(run):
        print(f"Report:  {file}")
    if find_artifact(run, REGISTRATION):
        print(f"MLflow:  {_registry(run, settings)}")
        if run.parameters.get("require_approval"):
            print(f"Approval required: toolchain approve {run.id}, or toolchain reject {run.id} --reason REASON")


def _print_verdict(report: dict[str, Any]) -> None:
    print_table(_variants(report))
    print(f"Verdict: {report['verdict']['reason']}")


def _print_drift(report: dict[str, Any]) -> None:
    """Print the verdict of drift.json, and the descriptors that drifted, each with its distance."""
    subject = f"{report['model']}, version {report['model_version']}"
    if not report["has_verdict"]:
        print(f"Verdict: no drift verdict for {subject}: {report['reason']}")
        return
    drifted = [f"{one['name']} ({one['distance']:.2f})" for one in report["columns"] if one["drift_detected"]]
    found = f"drift detected in {len(drifted)}" if drifted else "no drift detected in any"
    rows = f"{report['window']['rows']:,} rows"
    print(f"Verdict: {found} of {len(report['columns'])} descriptors for {subject}, {rows}")
    if drifted:
        print(f"Drifted: {', '.join(drifted)}")


def _registry(run: Run, settings: Settings) -> str:
    if run.engine == runs.CLUSTER or settings.registry:
        namespace = settings.namespace or NAMESPACE
        return f"kubectl -n {namespace} port-forward service/toolchain-mlflow 5000, then http://127.0.0.1:5000"
    local = settings.tracking_uri.startswith("sqlite")
    return "make mlflow, then http://127.0.0.1:5000" if local else without_credentials(settings.tracking_uri)


def report_file(run: Run) -> Path | None:
    """Return the path of the run's report, an HTML page, or None if it has no report."""
    artifact = find_artifact(run, *REPORTS)
    return artifact.folder / REPORTS[artifact.kind] if artifact else None


def print_data(report: dict[str, Any]) -> None:
    """Print the number of rows by class and split, and the number of rows that each rule dropped."""
    rows, counts = report["rows"], report["class_counts"]
    table = Table("class", *(f"{split} rows" for split in rows), box=None, pad_edge=False)
    for label in report["labels"]:
        table.add_row(escape(label), *(f"{counts.get(split, {}).get(label, 0):,}" for split in rows))
    table.add_row("all", *(f"{count:,}" for count in rows.values()))
    print_table(table)
    dropped = Table("dropped rows", "rule", "step", box=None, pad_edge=False)
    for entry in report["dropped"]:
        if entry["rows"]:
            dropped.add_row(f"{entry['rows']:,}", escape(entry["rule"]), entry["step"])
    print_table(dropped if dropped.row_count else "no rows were dropped")


def failure(run: Run) -> None:
    """Print the step that failed, its error, and the path of its log."""
    for step in run.steps:
        if step.state == runs.FAILED:
            print(f"\n{step.step} failed: {step.error}")
            log = run.folder / "logs" / f"{step.step}.log"
            if log.is_file():
                print(f"full log: {log}")


def print_run(run: Run, prices: Prices) -> None:
    """Print the state, the steps, the failure and, if there are prices, the cost of a run."""
    verdict = f", verdict {run.verdict}" if run.verdict else ""
    print(f"{run.id}: {run.state}, {run.seconds:.1f} s{verdict}")
    print_table(table_of_steps(run, prices))
    if prices.known:
        print(f"Cost: {cost_of(run).text(prices)}")
    failure(run)


def table_of_runs(known: list[Run]) -> Table:
    """Return a table with a row for each run."""
    table = Table("run", "pipeline", "state", "duration", "verdict", box=None, pad_edge=False)
    for run in known:
        table.add_row(run.id, run.pipeline, run.state, f"{run.seconds:.1f} s", run.verdict)
    return table


def table_of_steps(run: Run, prices: Prices) -> Table:
    """Return a table with a row for each step of ``run``."""
    priced = ["cost"] if prices.known else []
    table = Table("", "step", "state", "result", "core-hours", *priced, box=None, pad_edge=False)
    for step in run.steps:
        cost = step_cost(step, run)
        row = [MARKS[step.state][0], step.step, step.state, describe(step), f"{cost.cpu_hours:.4f}"]
        table.add_row(*row, *([_price(cost, prices)] if prices.known else []))
    return table


def _price(cost: Cost, prices: Prices) -> str:
    money = cost.money(prices)
    return "" if money is None else f"{money:.4f} {prices.currency}"


def _variants(report: dict[str, Any]) -> Table:
    table = Table("variant", "accuracy", "agreement", "p50 ms", "speedup", "MB", "gate", box=None, pad_edge=False)
    for variant in report["variants"]:
        table.add_row(
            variant["name"] + (" ◀" if variant["name"] == report["verdict"]["winner"] else ""),
            f"{variant['accuracy']:.3f}",
            f"{variant['agreement']:.3f}",
            f"{variant['p50_ms']:.1f}",
            f"{variant['speedup']:.2f} ({variant['speedup_low']:.2f}-{variant['speedup_high']:.2f})",
            f"{variant['size_bytes'] / 1e6:.1f}",
            _gate(variant),
        )
    return table


def _gate(variant: dict[str, Any]) -> str:
    """Return the result of the gate for a variant; the reference is not compared with itself."""
    if variant["name"] == REFERENCE:
        return "reference"
    return f"{'accurate' if variant['accurate'] else 'rejected'}, {'faster' if variant['faster'] else 'not faster'}"
