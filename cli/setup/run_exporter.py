"""Figures of the runs that this machine keeps, for Prometheus: what ``make monitor`` serves beside it.

Of most things only the newest run of each pipeline is told, so that the number of series does not grow with the runs.
"""

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from cli.output.progress import PROGRESS
from cli.records.cost import Cost, Prices, cost_of
from cli.records.runs import FAILED, INTERRUPTED, RUNNING, SUCCEEDED, WAITING, Run, StepRecord, all_runs

PREFIX = "toolchain_run"
STATES = (RUNNING, SUCCEEDED, FAILED, INTERRUPTED)  # of a run
CACHED = "cached"  # a step that succeeded before; else its state is one of a run's, or WAITING
COUNT = re.compile(
    r" ([\d,]+)/([\d,]+)"
)  # of a line of progress: "train 120/300 batches (40 %), 35 s left, loss 0.312"
VALUE = re.compile(r"([a-z_]+) (-?[\d.]+(?:e[+-]?\d+)?)")
TAIL_BYTES = 4096  # of a log, in which its last line of progress stands


class Runs(Collector):
    """Reads the records in ``folder`` anew each time that it is asked."""

    def __init__(self, folder: Path, prices: Prices) -> None:
        self.folder, self.prices = folder, prices

    def collect(self) -> Iterator[GaugeMetricFamily]:
        kept = all_runs(self.folder)
        newest = list({(run.pipeline, run.engine): run for run in reversed(kept)}.values())
        yield counted(kept)
        yield from spent(kept, self.prices)
        yield states(newest)
        yield from times(newest)
        yield from steps(newest)
        yield from progress(newest)
        yield from volume(self.folder)


@contextmanager
def serving(folder: Path, prices: Prices, host: str) -> Iterator[int]:
    """Serve the figures of the runs in ``folder`` at ``host`` during the block, and yield the port."""
    registry = CollectorRegistry()
    registry.register(Runs(folder, prices))
    server, thread = start_http_server(0, host, registry)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def volume(folder: Path) -> Iterator[GaugeMetricFamily]:
    """Yield how full the file system of ``folder`` is."""
    found = shutil.disk_usage(folder if folder.exists() else folder.parent)
    for name, value in (("available", found.free), ("capacity", found.total)):
        family = GaugeMetricFamily(f"toolchain_volume_{name}_bytes", f"{name.capitalize()} bytes", labels=("volume",))
        family.add_metric(("runs",), value)
        yield family


def counted(kept: list[Run]) -> GaugeMetricFamily:
    found = _family("s", "Runs that are kept, by how they went", "state")
    of_pipeline = Counter((run.pipeline, run.engine, run.state) for run in kept)
    for pipeline, engine in sorted({(run.pipeline, run.engine) for run in kept}):
        for state in STATES:
            found.add_metric((pipeline, engine, state), of_pipeline[pipeline, engine, state])
    return found


def spent(kept: list[Run], prices: Prices) -> Iterator[GaugeMetricFamily]:
    """Yield what all the kept runs of each pipeline cost; the money where the table of prices has one for all of it."""
    total: dict[tuple[str, str], Cost] = {}
    for run in kept:
        total[run.pipeline, run.engine] = total.get((run.pipeline, run.engine), Cost()) + cost_of(run)
    cores = _family("s_core_hours", "Core-hours that the kept runs held")
    gpus = _family("s_gpu_hours", "GPU-hours that the kept runs held")
    money = _family("s_money", "What the kept runs cost, by manifests/prices.yaml", "currency")
    for names, cost in sorted(total.items()):
        cores.add_metric(names, cost.cpu_hours)
        gpus.add_metric(names, sum(cost.gpu_hours.values()))
        if (price := cost.money(prices)) is not None:
            money.add_metric((*names, prices.currency), price)
    yield from (cores, gpus, money)


def states(newest: list[Run]) -> GaugeMetricFamily:
    found = _family("_state", "1 for the state of the newest run", "state")
    for run in newest:
        for state in STATES:
            found.add_metric((run.pipeline, run.engine, state), state == run.state)
    return found


def times(newest: list[Run]) -> Iterator[GaugeMetricFamily]:
    began = _family("_start_time_seconds", "When the newest run was started, in seconds since 1970")
    took = _family("_seconds", "What the newest run took, up to now while it is at work")
    for run in newest:
        began.add_metric((run.pipeline, run.engine), datetime.fromisoformat(run.started).timestamp())
        took.add_metric((run.pipeline, run.engine), run.age() if run.state == RUNNING else run.seconds)
    yield from (began, took)


def steps(newest: list[Run]) -> Iterator[GaugeMetricFamily]:
    in_state = _family("_steps", "Steps of the newest run, by how they went", "state")
    took = _family("_step_seconds", "What a step of the newest run took; of those that ran", "step")
    for run in newest:
        number = Counter(CACHED if step.cached else step.state for step in run.steps)
        for state in (WAITING, *STATES, CACHED):
            in_state.add_metric((run.pipeline, run.engine, state), number[state])
        for name, seconds in _summed(step for step in run.steps if step.seconds and not step.cached).items():
            took.add_metric((run.pipeline, run.engine, name), seconds)
    yield from (in_state, took)


def progress(newest: list[Run]) -> Iterator[GaugeMetricFamily]:
    """Yield how far each step at work has come, and what it tells beside that: a loss, say."""
    done = _family("_step_progress", "Share of its work that a step has done, 0 to 1", "step")
    told = _family(
        "_step_value", "What a step at work tells: loss, validation_accuracy, tokens_per_second, ...", "step", "value"
    )
    for run in newest:
        for name in sorted({step.step for step in run.steps if step.state == RUNNING}):
            line = last_progress(run.folder / "logs" / f"{name}.log")
            if count := COUNT.search(line):
                part, whole = (int(number.replace(",", "")) for number in count.groups())
                done.add_metric((run.pipeline, run.engine, name), part / whole)
            for value, number in values_of(line).items():
                told.add_metric((run.pipeline, run.engine, name, value), number)
    yield from (done, told)


def last_progress(log: Path) -> str:
    """Return the last line of progress in ``log``, without what marks it; "" where there is none (yet)."""
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        lines = file.read().decode(errors="replace").split("\n")[:-1]  # what follows the last break is being written
    return next((line.removeprefix(PROGRESS) for line in reversed(lines) if line.startswith(PROGRESS)), "")


def values_of(line: str) -> dict[str, float]:
    """Return the values that a line of progress tells after its count."""
    found = [VALUE.fullmatch(part) for part in line.split(", ")[1:]]
    return {match[1]: float(match[2]) for match in found if match}


def _summed(ran: Iterable[StepRecord]) -> dict[str, float]:
    """Return the seconds of each step; of one that a run has several times, all together."""
    seconds: dict[str, float] = {}
    for step in ran:
        seconds[step.step] = seconds.get(step.step, 0.0) + step.seconds
    return seconds


def _family(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}{name}", text, labels=("pipeline", "engine", *labels))
