"""Runs that show work in MLflow while it goes on, without delaying it."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread

from toolchain.artifacts.digest import sha256_of_json
from toolchain.errors import ServiceError
from toolchain.progress import log_info
from toolchain.redaction import redacted
from toolchain.services.mlflow import TAG_CONFIG, TAG_LIVE, TAG_STEP, Tracker, default_experiment, tracking_uri

MAX_FLUSH_S = 120.0  # that finished work waits for its last metrics; creating a new database takes half of it


@contextmanager
def live_run(name: str, params: Mapping[str, object]) -> Iterator["LiveRun"]:
    """Show work in MLflow while it goes on; ``name`` is the step ("train.torch_text"), ``params`` its Config as a dict.

    Registration finds the run by the step's name and its start, and makes it the step's nested run. Without
    ``MLFLOW_TRACKING_URI`` nothing is sent. Metrics are sent in the background, and an error of MLflow is only logged:
    work that takes minutes must neither wait for nor fail with it.
    """
    run = LiveRun(name, params)
    sender = Thread(target=run.send, daemon=True)
    if tracking_uri():
        sender.start()
    status = "KILLED"  # after a Ctrl-C
    try:
        yield run
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        run.end(status)
        if sender.is_alive():
            sender.join(MAX_FLUSH_S)


class LiveRun:
    """Work in progress in MLflow; created by ``live_run``."""

    def __init__(self, name: str, params: Mapping[str, object]) -> None:
        self.name, self.params, self.started = name, redacted(params), _now()
        self._queue: SimpleQueue[tuple[int, int, dict[str, float]] | str] = SimpleQueue()

    def log(self, step: int, **metrics: float) -> None:
        """Record ``metrics`` at ``step`` (batches or epochs done); returns at once."""
        self._queue.put((step, _now(), metrics))

    def end(self, status: str) -> None:
        """Record the status: "FINISHED", "FAILED" or "KILLED"."""
        self._queue.put(status)

    def send(self) -> None:
        """Send everything to MLflow until the end; runs in a background thread."""
        try:
            tracker = Tracker()
            run = tracker.create_run(default_experiment(), self.name, self._tags(), self.started)
            tracker.log(run, params=self.params)
            while not isinstance(item := self._queue.get(), str):
                step, at, metrics = item
                tracker.log(run, metrics=metrics, step=step, at=at)
            tracker.end(run, item)
        except ServiceError as error:
            log_info(f"this run is not shown live in MLflow: {error}")

    def _tags(self) -> dict[str, str]:
        return {TAG_STEP: self.name, TAG_LIVE: "true", TAG_CONFIG: sha256_of_json(dict(self.params))}


def _now() -> int:
    return int(time.time() * 1000)
