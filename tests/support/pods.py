"""A pod of a run on a cluster, and a watcher of its events."""

from datetime import UTC, datetime

from cli.records.runs import StepRecord
from toolchain.services.kubernetes import Pod

NOW = datetime(2026, 11, 25, 10, tzinfo=UTC)
POD = Pod(
    name="tidy-1",
    labels={"app.kubernetes.io/component": "data.ingest"},
    annotations={},
    phase="Running",
    node="node0",
    image="ghcr.io/toolchain/base:1",
    command=(),
    waiting_reason="",
    termination_reason="",
    message="",
    created=NOW,
    started=NOW,
    finished=None,
    cpu=0.25,
    memory_bytes=1 << 30,
    gpus={},
)


class Recorder:
    """A watcher that records its events."""

    def __init__(self) -> None:
        self.states: list[tuple[str, str]] = []
        self.lines: list[str] = []

    def changed(self, step: StepRecord) -> None:
        self.states.append((step.task, step.state))

    def printed(self, step: StepRecord, line: str) -> None:
        self.lines.append(line)
