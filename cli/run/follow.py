"""Follows a run on a cluster to its end: states from Kubeflow Pipelines, progress, logs and troubles from its pods."""

import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cli.cluster.bucket import reached
from cli.cluster.kfp_client import Away, Look, Server, Task
from cli.compiled.spec import Specification
from cli.output.progress import PROGRESS
from cli.records import runs
from cli.records.runs import Run, StepRecord
from cli.run.failures import reason_of, signal_of
from cli.run.local import Watcher
from cli.run.pod_diagnostics import Trouble, around, cause_of, ending_of, exit_status, forbidden, trouble_of
from toolchain.errors import ServiceError, ToolchainError
from toolchain.progress import log_info
from toolchain.services import kubernetes, storage
from toolchain.services.kubernetes import Pod

SECONDS_BETWEEN_LOOKS = 2.0  # as often as a step tells of its progress
SECONDS_OF_LOG = 30  # read again at each look: more than a look and a hiccup take
PATIENCE_SECONDS = 900.0  # that the server may be away while the run goes on without it
COMPONENT = "app.kubernetes.io/component"
ARGO_NODE = "workflows.argoproj.io/node-name"  # annotation of every pod, the drivers' too
STATES = {"RUNNING": runs.RUNNING, "SUCCEEDED": runs.SUCCEEDED, "FAILED": runs.FAILED, "CANCELED": runs.INTERRUPTED}
SURROUNDINGS = re.compile(  # lines of KFP's launcher and executor, and of Argo's, around a step's own
    r"^(?:[IWEF]\d{4} \d\d:\d\d:\d\d\.|time=|\[KFP Executor |Error: exit status \d+$)"
)


def follow(run: Run, spec: Specification | None, server: Server, watcher: Watcher) -> None:
    """Watch ``run`` until it has ended; its record then says how it went.

    Raises:
        ServiceError: the server is away for longer than ``PATIENCE_SECONDS``; the run goes on.
        KeyboardInterrupt: a person has seen enough; the run goes on.
    """
    follower = Follower(run, spec, server, watcher)
    while not follower.look():
        time.sleep(SECONDS_BETWEEN_LOOKS)
    follower.finish()


class Follower:
    """Keeps the record and the logs of one run as its pods come and go."""

    def __init__(self, run: Run, spec: Specification | None, server: Server, watcher: Watcher) -> None:
        self.run, self.spec, self.server, self.watcher = run, spec, server, watcher
        self.sees_pods = kubernetes.is_configured()
        self._read: dict[str, str] = {}  # by pod: the time of the last line read
        self._over: set[str] = set()  # pods whose logs are complete
        self._told: dict[str, str] = {}  # by task: the last trouble told
        self._since: dict[tuple[str, str], float] = {}  # by step and kind of the troubles there are: when each began
        self._away_since: float | None = None
        self._unseen = False

    def look(self) -> bool:
        """Look once; return whether the run has ended."""
        seen = self._patiently(lambda: self.server.look(self.run.kfp))
        if seen is None:
            return False
        pods = self._pods()
        for step in self.run.steps:
            own = [pod for pod in pods if pod.labels.get(COMPONENT) == step.step]
            self._follow(step, seen.tasks.get(step.task), own)
        self.run.seconds = self.run.age()
        self.run.save()
        if seen.ended:
            self._end(seen, pods)
        return seen.ended or self._gives_up(pods)

    def finish(self) -> None:
        """Fetch what the run left in S3 for this machine: its report, and its model's way back."""
        told = {step.step: step.outputs for step in self.run.steps}
        wanted = {("release.report", "report"): "", ("optimize.quantize", "quantized"): "variants.json"}
        uris = {key: uri for key in wanted if (uri := told.get(key[0], {}).get(key[1], "")).startswith("s3://")}
        if not uris:
            return
        try:
            with reached(self.server.settings, self.server.namespace):
                for (step, output), uri in uris.items():
                    folder = self.run.folder / "artifacts" / output
                    storage.fetch_s3_prefix(f"{uri}/{wanted[step, output]}", folder / wanted[step, output])
                    self._record(step, output, folder)
        except ToolchainError as error:
            log_info(f"the report stays in S3: {error}")
        self.run.save()

    def _record(self, step: str, output: str, folder: Path) -> None:
        for record in self.run.steps:
            if record.step == step:
                record.outputs[output] = str(folder)

    def _pods(self) -> list[Pod]:
        if not self.sees_pods:
            return []
        try:
            return kubernetes.pods(self.server.namespace, f"pipeline/runid={self.run.kfp}")
        except ServiceError as error:
            if not self._unseen:
                log_info(f"its pods are not seen: {error}")
            self._unseen = True
            return []

    def _patiently(self, ask: Callable[[], Any]) -> Any:
        """Return what ``ask`` answers, None while nobody does; say so once, and give up after ``PATIENCE_SECONDS``."""
        try:
            answer = ask()
        except Away as error:
            now = time.monotonic()
            if self._away_since is None:
                self._away_since = now
                log_info(f"{self.server.name} does not answer; the run goes on, and it is asked again")
            if now - self._away_since > PATIENCE_SECONDS:
                raise ServiceError(f"{error}; the run goes on: {how_to_follow(self.run)}") from error
            return None
        if self._away_since is not None:
            self._away_since = None
            log_info("it answers again")
        return answer

    def _follow(self, step: StepRecord, task: Task | None, pods: Sequence[Pod]) -> None:
        for pod in pods:
            self._read_log(step, pod)
        if pods:
            step.pods = [_noted(pod) for pod in pods]
            step.outputs |= _artifacts_of(pods[-1], "outputs")
        state = _state_of(task, pods if self.sees_pods else None)
        if state == step.state or step.state in (runs.SUCCEEDED, runs.FAILED):
            return
        step.state = state
        step.seconds = task.seconds if task and task.seconds else _seconds_of(pods)
        step.cached = state == runs.SUCCEEDED and self.sees_pods and not pods and not step.pods
        if state != runs.FAILED:  # a failure is told at the end, with its reason
            self.watcher.changed(step)

    def _read_log(self, step: StepRecord, pod: Pod) -> None:
        if pod.name in self._over or pod.started is None:
            return
        seen = self._read.get(pod.name)
        try:
            lines = kubernetes.log(self.server.namespace, pod.name, SECONDS_OF_LOG if seen else None)
        except ServiceError:
            return  # the pod is gone, or its node is away; what it said before is kept
        with self.log_file(step).open("a", encoding="utf-8") as file:
            for stamp, line in lines:
                if seen is None or stamp > seen:
                    file.write(line + "\n")
                    self.watcher.said(step, line)
        self._read[pod.name] = lines[-1][0] if lines else seen or ""
        if pod.finished:
            self._over.add(pod.name)

    def log_file(self, step: StepRecord) -> Path:
        return self.run.folder / "logs" / f"{step.step}.log"

    def _gives_up(self, pods: Sequence[Pod]) -> bool:
        """Tell why pods do not run; when that cannot mend itself, end the run and return True."""
        try:
            troubles = self._troubles(pods)
        except ServiceError:
            return False  # it is not seen now; the next look may see it
        now = time.monotonic()  # a trouble that went away and came back is a new one
        self._since = {key: self._since.get(key, now) for key in ((name, trouble.kind) for name, trouble in troubles)}
        for step_name, trouble in troubles:
            step = next((step for step in self.run.steps if step_name in (step.step, step.task)), self.run.steps[0])
            waited = now - self._since[step_name, trouble.kind]
            if self._told.get(step.task) != trouble.told:
                self._told[step.task] = trouble.told
                self.watcher.said(step, f"{PROGRESS}waits: {trouble.told}")
            if trouble.patience is not None and waited >= trouble.patience:
                self._stop(step, trouble)
                return True
        return False

    def _troubles(self, pods: Sequence[Pod]) -> list[tuple[str, Trouble]]:
        waiting = [pod for pod in pods if pod.waits]
        nodes = kubernetes.nodes() if any(pod.waits == "Unschedulable" for pod in waiting) else []
        found = [(_step_of(pod), trouble) for pod in waiting if (trouble := trouble_of(pod, nodes))]
        if self.sees_pods and not waiting and not any(pod.phase == "Running" for pod in pods):
            messages = kubernetes.argo_messages(self.server.namespace, self.run.kfp)
            found += [(_task_in(name), trouble) for name, said in messages.items() if (trouble := forbidden(said))]
        return found

    def _stop(self, step: StepRecord, trouble: Trouble) -> None:
        self.server.stop(self.run.kfp)
        step.state, step.error = runs.FAILED, f"{trouble.told}; {trouble.advice}"
        self.run.state = runs.FAILED
        self.watcher.changed(step)
        self.run.save()

    def _end(self, seen: Look, pods: Sequence[Pod]) -> None:
        self.run.state = STATES.get(seen.state, runs.FAILED)
        self._trace_outputs(pods)
        if seen.stopped and self.run.state != runs.SUCCEEDED:
            self._stopped()
            return
        for step in self.run.steps:
            own = [pod for pod in pods if pod.labels.get(COMPONENT) == step.step]
            if step.state == runs.RUNNING:
                step.state = runs.FAILED if own and own[-1].phase == "Failed" else runs.INTERRUPTED
                step.seconds = _seconds_of(own)
            if step.state == runs.WAITING and self.run.state == runs.SUCCEEDED:
                step.state, step.cached = runs.SUCCEEDED, self.sees_pods
                self.watcher.changed(step)
            if step.state == runs.FAILED and not step.error:
                step.error = self._reason(step, own)
                self.watcher.changed(step)
        if self.run.state == runs.FAILED and not any(step.error for step in self.run.steps):
            self._blame(seen)
        self.run.save()

    def _stopped(self) -> None:
        """Record that somebody ended the run: no step is at fault."""
        self.run.state = runs.INTERRUPTED
        for step in self.run.steps:
            step.state = runs.INTERRUPTED if step.state in (runs.RUNNING, runs.FAILED) else step.state
        self.run.save()

    def _reason(self, step: StepRecord, pods: Sequence[Pod]) -> str:
        last = pods[-1] if pods else None
        if last and (ending := ending_of(last)):
            return ending
        log = self.log_file(step)
        text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
        if told := around(text):
            return told
        own = [line for line in text.splitlines() if not SURROUNDINGS.match(line)]
        status = exit_status(text)
        if status is None and last:
            status = last.exit_code
        if own or signal_of(status):
            return reason_of("\n".join(own), status)
        return (last and last.told) or self._cause_of(step) or "no error message was found; see the UI"

    def _cause_of(self, step: StepRecord) -> str:
        """Return why ``step`` could not be prepared, "" where Argo's record has no message of it."""
        said = {node: words for node, words in self._complaints().items() if _task_in(node) == step.task}
        _, cause = cause_of(said)
        return f"it could not be prepared: {cause}" if cause else ""

    def _complaints(self) -> dict[str, str]:
        return kubernetes.argo_messages(self.server.namespace, self.run.kfp) if self.sees_pods else {}

    def _blame(self, seen: Look) -> None:
        """Record why the run failed where no step did, at the step that was being prepared."""
        node, cause = cause_of(self._complaints())
        step = next((step for step in self.run.steps if step.task == _task_in(node)), self.run.steps[0])
        told = f"it could not be prepared: {cause}; see docs/operate/faults.md" if cause else ""
        step.state, step.error = runs.FAILED, told or seen.error or "Kubeflow Pipelines failed; see its log"
        self.watcher.changed(step)

    def _trace_outputs(self, pods: Sequence[Pod]) -> None:
        """Note where the outputs of cached steps are: the steps that take them know."""
        if self.spec is None:
            return
        given = {pod.labels[COMPONENT]: _artifacts_of(pod, "inputs") for pod in pods if COMPONENT in pod.labels}
        for task in self.spec.tasks:
            for name, (producer, output) in task.inputs.items():
                if uri := given.get(task.step, {}).get(name):
                    self.run.step(producer).outputs.setdefault(output, uri)


def how_to_follow(run: Run) -> str:
    """Return the commands that follow and stop ``run``."""
    return f"toolchain follow {run.id} follows it, toolchain stop {run.id} ends it"


def _state_of(task: Task | None, pods: Sequence[Pod] | None) -> str:
    """Return a step's state: that of its last pod where ``pods`` are seen, else the server's.

    The server is some seconds late, and never hears of the later steps of a long run: Argo packs a record of more than
    a megabyte in a way that Kubeflow Pipelines does not read. A pod that failed may have a successor, so only the
    server, or the end of the run, says that its step failed.
    """
    state = STATES.get(task.state, runs.WAITING) if task else runs.WAITING
    if pods is None or state in (runs.SUCCEEDED, runs.FAILED):
        return state
    if pods and pods[-1].phase == "Succeeded":
        return runs.SUCCEEDED
    return runs.RUNNING if any(pod.started for pod in pods) else runs.WAITING


def _noted(pod: Pod) -> dict[str, Any]:
    times = {"created": pod.created, "started": pod.started, "finished": pod.finished}
    return {
        "name": pod.name,
        "node": pod.node,
        "cpu": pod.cpu,
        "memory_bytes": pod.memory_bytes,
        "gpus": sum(pod.gpus.values()),
        "ended": pod.ended,
        **{name: time.isoformat() if time else "" for name, time in times.items()},
    }


def _seconds_of(pods: Sequence[Pod]) -> float:
    """Return the time from the making of the first pod to the end of the last, 0 before."""
    return (pods[-1].finished - pods[0].created).total_seconds() if pods and pods[-1].finished else 0.0


def _artifacts_of(pod: Pod, side: str) -> dict[str, str]:
    """Return the URI of each artifact of one side, "inputs" or "outputs", of the step that ``pod`` runs."""
    words = list(pod.command)
    if "--executor_input" not in words:
        return {}
    given = json.loads(words[words.index("--executor_input") + 1])
    artifacts = given.get(side, {}).get("artifacts", {})
    return {name: value["artifacts"][0]["uri"] for name, value in artifacts.items() if value.get("artifacts")}


def _step_of(pod: Pod) -> str:
    """Return the step, or KFP's name of the task, that ``pod`` runs or prepares, "" for that of the whole run."""
    return pod.labels.get(COMPONENT) or _task_in(pod.annotations.get(ARGO_NODE, ""))


def _task_in(node: str) -> str:
    """Return KFP's name of the task in Argo's name of a node, "workflow(0).root(0).TASK(0).executor"."""
    words = node.split(".")
    return re.sub(r"(-driver)?(\(\d+\))?$", "", words[2]) if len(words) > 2 else ""
