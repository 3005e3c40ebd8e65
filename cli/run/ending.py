"""Record how a run on a cluster ended: the final state of each step, and the reason of a failure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cli.cluster.kfp_client import RunStatus
from cli.records import runs
from cli.records.runs import Run, StepRecord
from cli.run.failures import failure_reason, signal_of
from cli.run.local import Watcher
from cli.run.pod_diagnostics import artifact_failure, exit_status, first_cause, termination_message
from cli.run.pod_logs import PodLogs, pods_of
from cli.run.waiting_pods import task_of
from toolchain.services import kubernetes
from toolchain.services.kubernetes import Pod

STATES = {"RUNNING": runs.RUNNING, "SUCCEEDED": runs.SUCCEEDED, "FAILED": runs.FAILED, "CANCELED": runs.INTERRUPTED}
LAUNCHER_LINE = re.compile(  # of KFP's launcher and executor, and of Argo, in the log of a step
    r"^(?:[IWEF]\d{4} \d\d:\d\d:\d\d\.|time=|\[KFP Executor |Error: exit status \d+$)"
)


@dataclass(frozen=True)
class Ending:
    """The end of a run: its final status, and the pods that still exist."""

    run: Run
    status: RunStatus
    pods: Sequence[Pod]
    logs: PodLogs
    watcher: Watcher
    sees_pods: bool  # whether this machine has access to the pods

    def record(self) -> None:
        """Record the final states and errors of the run and its steps."""
        self.run.state = STATES.get(self.status.state, runs.FAILED)
        if self.status.stopped and self.run.state != runs.SUCCEEDED:
            self._record_stop()
            return
        for step in self.run.steps:
            self._record_step(step)
        if self.run.state == runs.FAILED and not any(step.error for step in self.run.steps):
            self._record_driver_failure()
        self.run.save()

    def _record_step(self, step: StepRecord) -> None:
        pods = pods_of(step, self.pods)
        if step.state == runs.RUNNING:
            step.state = runs.FAILED if pods and pods[-1].phase == "Failed" else runs.INTERRUPTED
            step.seconds = duration(pods)
        if step.state == runs.WAITING and self.run.state == runs.SUCCEEDED:
            step.state, step.cached = runs.SUCCEEDED, self.sees_pods
            self.watcher.changed(step)
        if step.state == runs.FAILED and not step.error:
            step.error = self._reason(step, pods)
            self.watcher.changed(step)

    def _record_stop(self) -> None:
        """Record that a user stopped the run, so that no step failed."""
        self.run.state = runs.INTERRUPTED
        for step in self.run.steps:
            step.state = runs.INTERRUPTED if step.state in (runs.RUNNING, runs.FAILED) else step.state
        self.run.save()

    def _reason(self, step: StepRecord, pods: Sequence[Pod]) -> str:
        last = pods[-1] if pods else None
        if last and (message := termination_message(last)):
            return message
        log = self.logs.text(step)
        if message := artifact_failure(log):
            return message
        lines = [line for line in log.splitlines() if not LAUNCHER_LINE.match(line)]
        status = exit_status(log)
        if status is None and last:
            status = last.exit_code
        if lines or signal_of(status):
            return failure_reason("\n".join(lines), status)
        return (last and last.message) or self._driver_error(step) or "no error message was found; see the UI"

    def _driver_error(self, step: StepRecord) -> str:
        """Return why ``step`` could not be prepared, or "" if Argo has no message of its driver."""
        messages = {node: text for node, text in self._argo_messages().items() if task_of(node) == step.task}
        _, cause = first_cause(messages)
        return f"the step could not be prepared: {cause}" if cause else ""

    def _argo_messages(self) -> Mapping[str, str]:
        return kubernetes.argo_messages(self.logs.namespace, self.run.kfp_run_id) if self.sees_pods else {}

    def _record_driver_failure(self) -> None:
        """Record why the run failed although no step did, at the step that was being prepared."""
        node, cause = first_cause(self._argo_messages())
        step = next((step for step in self.run.steps if step.task == task_of(node)), self.run.steps[0])
        message = f"the step could not be prepared: {cause}; see docs/operate/faults.md" if cause else ""
        step.state, step.error = runs.FAILED, message or self.status.error or "Kubeflow Pipelines failed; see its log"
        self.watcher.changed(step)


def duration(pods: Sequence[Pod]) -> float:
    """Return the seconds from the creation of the first pod to the end of the last; 0 before its end."""
    return (pods[-1].finished - pods[0].created).total_seconds() if pods and pods[-1].finished else 0.0
