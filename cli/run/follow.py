"""Follow a run on a cluster until it ends: its states from Kubeflow Pipelines, its logs and problems from its pods."""

import time
from collections.abc import Sequence
from typing import Any

from cli.cluster.kfp_client import RunStatus, Server, TaskStatus, UnavailableError
from cli.compiled.spec import Specification
from cli.records import runs
from cli.records.runs import Run, StepRecord
from cli.run import outputs
from cli.run.ending import STATES, Ending, duration
from cli.run.local import Watcher
from cli.run.pod_logs import PodLogs, pods_of
from cli.run.waiting_pods import WaitingPods
from toolchain.errors import ServiceError
from toolchain.progress import log_info
from toolchain.services import kubernetes
from toolchain.services.kubernetes import Pod

POLL_INTERVAL_S = 2.0  # the interval at which steps print their progress
SERVER_TIMEOUT_S = 900.0  # without a response of the server, which the run does not need


def follow(run: Run, spec: Specification | None, server: Server, watcher: Watcher) -> None:
    """Update the record of ``run`` until it has ended, then copy its descriptions and reports to this machine.

    Raises:
        ServiceError: the server does not respond for ``SERVER_TIMEOUT_S``; the run continues.
        KeyboardInterrupt: the user stopped following; the run continues.
    """
    follower = Follower(run, spec, server, watcher)
    while not follower.poll():
        time.sleep(POLL_INTERVAL_S)
    outputs.fetch(run, server.settings, server.namespace)


class Follower:
    """Updates the record and the logs of a run from its pods and from the server."""

    def __init__(self, run: Run, spec: Specification | None, server: Server, watcher: Watcher) -> None:
        self.run, self.spec, self.server, self.watcher = run, spec, server, watcher
        self.sees_pods = kubernetes.is_configured()
        self.logs = PodLogs(run, server.namespace, watcher)
        self.waiting = WaitingPods(run, server, watcher, self.sees_pods)
        self._unavailable_since: float | None = None
        self._warned_of_pods = False

    def poll(self) -> bool:
        """Update the record once; return whether the run has ended."""
        status = self._status()
        if status is None:
            return False
        pods = self._pods()
        for step in self.run.steps:
            self._update(step, status.tasks.get(step.task), pods_of(step, pods))
        self.run.seconds = self.run.age()
        self.run.save()
        if status.ended:
            if self.spec:
                outputs.trace_cached(self.run, self.spec, pods)
            Ending(self.run, status, pods, self.logs, self.watcher, self.sees_pods).record()
        return status.ended or self.waiting.stop_if_stuck(pods)

    def _status(self) -> RunStatus | None:
        """Return the status of the run, or None while the server does not respond, for up to ``SERVER_TIMEOUT_S``."""
        try:
            status = self.server.status(self.run.kfp_run_id)
        except UnavailableError as error:
            now = time.monotonic()
            if self._unavailable_since is None:
                self._unavailable_since = now
                log_info(f"{self.server.name} does not respond; the run continues, retrying")
            if now - self._unavailable_since > SERVER_TIMEOUT_S:
                raise ServiceError(f"{error}; the run continues: {follow_hint(self.run)}") from error
            return None
        if self._unavailable_since is not None:
            self._unavailable_since = None
            log_info(f"{self.server.name} responds again")
        return status

    def _pods(self) -> list[Pod]:
        if not self.sees_pods:
            return []
        try:
            return kubernetes.pods(self.server.namespace, f"pipeline/runid={self.run.kfp_run_id}")
        except ServiceError as error:
            if not self._warned_of_pods:
                log_info(f"no logs and progress, because pods cannot be listed: {error}")
            self._warned_of_pods = True
            return []

    def _update(self, step: StepRecord, task: TaskStatus | None, pods: Sequence[Pod]) -> None:
        for pod in pods:
            self.logs.read(step, pod)
        if pods:
            step.pods = [_pod_record(pod) for pod in pods]
            step.outputs |= outputs.artifact_uris(pods[-1], "outputs")
        state = _state(task, pods if self.sees_pods else None)
        if state == step.state or step.state in (runs.SUCCEEDED, runs.FAILED):
            return
        step.state = state
        step.seconds = task.seconds if task and task.seconds else duration(pods)
        step.cached = state == runs.SUCCEEDED and self.sees_pods and not pods and not step.pods
        if state != runs.FAILED:  # a failure is shown at the end, with its reason
            self.watcher.changed(step)


def follow_hint(run: Run) -> str:
    """Return the commands that follow and stop ``run``."""
    return f"toolchain follow {run.id} follows it, toolchain stop {run.id} stops it"


def _state(task: TaskStatus | None, pods: Sequence[Pod] | None) -> str:
    """Return the state of a step: that of its last pod if ``pods`` are known, else that of its task on the server.

    The server is some seconds late, and has no state of the later steps of a long run: Argo compresses a record of over
    1 MB, which Kubeflow Pipelines cannot read. A failed pod may be retried, so only the server, or the end of the run,
    determines that a step failed.
    """
    state = STATES.get(task.state, runs.WAITING) if task else runs.WAITING
    if pods is None or state in (runs.SUCCEEDED, runs.FAILED):
        return state
    if pods and pods[-1].phase == "Succeeded":
        return runs.SUCCEEDED
    return runs.RUNNING if any(pod.started for pod in pods) else runs.WAITING


def _pod_record(pod: Pod) -> dict[str, Any]:
    times = {"created": pod.created, "started": pod.started, "finished": pod.finished}
    return {
        "name": pod.name,
        "node": pod.node,
        "cpu": pod.cpu,
        "memory_bytes": pod.memory_bytes,
        "gpus": sum(pod.gpus.values()),
        "termination_reason": pod.termination_reason,
        **{name: time.isoformat() if time else "" for name, time in times.items()},
    }
