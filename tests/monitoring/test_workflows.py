"""The dashboard of workflows, on series like those of Argo's controller: a counter begins with its first event."""

import json
import subprocess
from pathlib import Path
from shutil import which

import pytest
import yaml

from tests.support.prometheus import expand

ROOT = Path(__file__).parents[2]
BOARD = json.loads((ROOT / "monitoring" / "grafana" / "dashboards" / "workflows.json").read_text(encoding="utf-8"))
QUERIES = {panel["title"]: panel["targets"][0]["expr"] for panel in BOARD["panels"]}
WINDOW, SPAN = 60, 3600  # seconds that stand for Grafana's variables
SERIES = {  # each 15 s; the first controller ends after 20 minutes, and another begins with counters of its own
    'argo_workflows_gauge{phase="Running", instance="one"}': "0x3 2x39 1x35 stale",
    'argo_workflows_gauge{phase="Running", instance="two"}': "_x79 1x19 0x60",
    'argo_workflows_total_count{phase="Succeeded", instance="one"}': "_x40 1x38 stale",
    'argo_workflows_total_count{phase="Succeeded", instance="two"}': "_x99 1x60",
    'argo_workflows_total_count{phase="Failed", instance="one"}': "_x50 1x5 3x22 stale",
    'argo_workflows_pod_pending_count{reason="Unschedulable", instance="one"}': "_x3 2x75 stale",
    'argo_workflows_log_messages{level="error", instance="one"}': "0x50 3x28 stale",
    'argo_workflows_queue_latency_sum{queue_name="workflow_queue", instance="one"}': "0+0.3x79",
    'argo_workflows_queue_latency_count{queue_name="workflow_queue", instance="one"}': "0+3x79",
    'argo_workflows_operation_duration_seconds_sum{instance="one"}': "0+8x79",
    'argo_workflows_operation_duration_seconds_count{instance="one"}': "0+10x79",
}
pytestmark = pytest.mark.skipif(not which("promtool"), reason="needs promtool: apt-get install prometheus")


ALL = "{}"  # the labels of a sum over everything


@pytest.mark.parametrize(
    ("panel", "minute", "shown"),
    [
        ("Succeeded", 11, {ALL: 1}),
        ("Succeeded", 40, {ALL: 2}),
        ("Failed", 13, {ALL: 1}),
        ("Failed", 40, {ALL: 3}),
        ("Logged errors", 40, {ALL: 3}),
        ("Completed runs", 10.75, {'{phase="Succeeded"}': 1}),
        ("Completed runs", 18, {'{phase="Succeeded"}': 0, '{phase="Failed"}': 0}),
        ("Pending reasons", 1.5, {'{reason="Unschedulable"}': 2}),
        ("Mean run duration", 40, {ALL: 15 * (40 * 2 + 36 + 20) / 5}),
        ("Queue latency", 10, {'{queue_name="workflow_queue"}': 0.1}),
        ("Reconcile duration", 10, {ALL: 0.8}),
    ],
)
def test_panels_show_recorded_events(panel: str, minute: float, shown: dict[str, float], tmp_path: Path):
    due = {
        "expr": f"round({expand(QUERIES[panel], WINDOW, SPAN, {})}, 0.001)",
        "eval_time": f"{60 * minute:.0f}s",
        "exp_samples": [{"labels": labels, "value": value} for labels, value in shown.items()],
    }
    series = [{"series": name, "values": values} for name, values in SERIES.items()]
    tests = [{"interval": "15s", "input_series": series, "promql_expr_test": [due]}]
    (tmp_path / "test.yml").write_text(yaml.safe_dump({"evaluation_interval": "15s", "tests": tests}))
    command = ["promtool", "test", "rules", str(tmp_path / "test.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
