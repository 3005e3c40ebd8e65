"""Copy the logs of a run's pods to this machine, and pass each new line to a watcher."""

from collections.abc import Sequence
from pathlib import Path

from cli.records.runs import Run, StepRecord
from cli.run.local import Watcher
from toolchain.errors import ServiceError
from toolchain.services import kubernetes
from toolchain.services.kubernetes import Pod

LOG_WINDOW_S = 30  # read again at each poll: longer than the interval plus a delay
COMPONENT = "app.kubernetes.io/component"  # label of a pod with its step


class PodLogs:
    """The logs of a run on a cluster, a file for each step."""

    def __init__(self, run: Run, namespace: str, watcher: Watcher) -> None:
        self.run, self.namespace, self.watcher = run, namespace, watcher
        self._last_times: dict[str, str] = {}  # time of the last line read, by pod
        self._complete: set[str] = set()  # pods whose logs are complete

    def file(self, step: StepRecord) -> Path:
        return self.run.folder / "logs" / f"{step.step}.log"

    def text(self, step: StepRecord) -> str:
        file = self.file(step)
        return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""

    def read(self, step: StepRecord, pod: Pod) -> None:
        """Append the new lines of ``pod`` to the log of ``step``."""
        if pod.name in self._complete or pod.started is None:
            return
        last = self._last_times.get(pod.name)
        try:
            lines = kubernetes.log(self.namespace, pod.name, LOG_WINDOW_S if last else None)
        except ServiceError:
            return  # the pod was deleted, or its node is lost; earlier lines are kept
        with self.file(step).open("a", encoding="utf-8") as file:
            for time, line in lines:
                if last is None or time > last:
                    file.write(line + "\n")
                    self.watcher.printed(step, line)
        self._last_times[pod.name] = lines[-1][0] if lines else last or ""
        if pod.finished:
            self._complete.add(pod.name)


def pods_of(step: StepRecord, pods: Sequence[Pod]) -> list[Pod]:
    """Return the pods among ``pods`` that run ``step``, oldest first."""
    return [pod for pod in pods if pod.labels.get(COMPONENT) == step.step]
