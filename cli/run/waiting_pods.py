"""Print why pods of a run do not start, and stop the run if they never will."""

import re
import time
from collections.abc import Sequence

from cli.cluster.kfp_client import Server
from cli.output.progress import PROGRESS
from cli.records import runs
from cli.records.runs import Run, StepRecord
from cli.run.local import Watcher
from cli.run.pod_diagnostics import Problem, find_denial, find_problem
from cli.run.pod_logs import COMPONENT
from toolchain.errors import ServiceError
from toolchain.services import kubernetes
from toolchain.services.kubernetes import Pod

ARGO_NODE = "workflows.argoproj.io/node-name"  # annotation of every pod, including those of drivers


class WaitingPods:
    """Tracks the problems of pods that wait, and for how long each has lasted."""

    def __init__(self, run: Run, server: Server, watcher: Watcher, sees_pods: bool) -> None:
        self.run, self.server, self.watcher, self.sees_pods = run, server, watcher, sees_pods
        self._printed: dict[str, str] = {}  # the last message, by task
        self._since: dict[tuple[str, str], float] = {}  # when each current problem began, by step and type

    def stop_if_stuck(self, pods: Sequence[Pod]) -> bool:
        """Print the problems of ``pods``; stop the run and return True if one of them has lasted too long."""
        try:
            problems = self._problems(pods)
        except ServiceError:
            return False  # the next poll may succeed
        now = time.monotonic()  # a problem that was solved and came back starts anew
        self._since = {key: self._since.get(key, now) for key in ((name, one.type) for name, one in problems)}
        for name, problem in problems:
            step = next((step for step in self.run.steps if name in (step.step, step.task)), self.run.steps[0])
            if self._printed.get(step.task) != problem.message:
                self._printed[step.task] = problem.message
                self.watcher.printed(step, f"{PROGRESS}waiting: {problem.message}")
            if problem.timeout_s is not None and now - self._since[name, problem.type] >= problem.timeout_s:
                self._stop(step, problem)
                return True
        return False

    def _problems(self, pods: Sequence[Pod]) -> list[tuple[str, Problem]]:
        waiting = [pod for pod in pods if pod.waiting_reason]
        nodes = kubernetes.nodes() if any(pod.waiting_reason == "Unschedulable" for pod in waiting) else []
        found = [(_step_of(pod), problem) for pod in waiting if (problem := find_problem(pod, nodes))]
        if self.sees_pods and not waiting and not any(pod.phase == "Running" for pod in pods):
            messages = kubernetes.argo_messages(self.server.namespace, self.run.kfp_run_id)
            found += [(task_of(node), problem) for node, text in messages.items() if (problem := find_denial(text))]
        return found

    def _stop(self, step: StepRecord, problem: Problem) -> None:
        self.server.stop(self.run.kfp_run_id)
        step.state, step.error = runs.FAILED, f"{problem.message}; {problem.hint}"
        self.run.state = runs.FAILED
        self.watcher.changed(step)
        self.run.save()


def task_of(node: str) -> str:
    """Return the name in KFP of the task of Argo's ``node``, "workflow(0).root(0).TASK(0).executor"."""
    parts = node.split(".")
    return re.sub(r"(-driver)?(\(\d+\))?$", "", parts[2]) if len(parts) > 2 else ""


def _step_of(pod: Pod) -> str:
    """Return the step, or the task, that ``pod`` runs or prepares; "" for the driver of the whole run."""
    return pod.labels.get(COMPONENT) or task_of(pod.annotations.get(ARGO_NODE, ""))
