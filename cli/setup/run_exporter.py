"""Export metrics of the runs on this machine to Prometheus: part of ``make monitor``.

Most metrics cover the latest run of each pipeline only, so that the number of series does not grow with the runs.
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
CACHED = "cached"  # state of a step that reused an earlier result; others have the state of a run, or WAITING
COUNT = re.compile(r" ([\d,]+)/([\d,]+)")  # in a progress line: "train 120/300 batches (40 %), 35 s left, loss 0.312"
VALUE = re.compile(r"([a-z_]+) (-?[\d.]+(?:e[+-]?\d+)?)")
TAIL_BYTES = 4096  # of a log, which contain its last progress line


class Runs(Collector):
    """Collects metrics from the records in ``folder`` at each scrape."""

    def __init__(self, folder: Path, prices: Prices) -> None:
        self.folder, self.prices = folder, prices

    def collect(self) -> Iterator[GaugeMetricFamily]:
        recorded = all_runs(self.folder)
        latest = list({(run.pipeline, run.engine): run for run in reversed(recorded)}.values())
        yield counts(recorded)
        yield from costs(recorded, self.prices)
        yield states(latest)
        yield from times(latest)
        yield from steps(latest)
        yield from progress(latest)
        yield from volume(self.folder)


@contextmanager
def serving(folder: Path, prices: Prices, host: str) -> Iterator[int]:
    """Serve the metrics of the runs in ``folder`` at ``host`` during the block, and yield the port."""
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
    """Yield the free and total space of the file system of ``folder``."""
    usage = shutil.disk_usage(folder if folder.exists() else folder.parent)
    for name, value in (("available", usage.free), ("capacity", usage.total)):
        family = GaugeMetricFamily(f"toolchain_volume_{name}_bytes", f"{name.capitalize()} bytes", labels=("volume",))
        family.add_metric(("runs",), value)
        yield family


def counts(recorded: list[Run]) -> GaugeMetricFamily:
    found = _family("s", "Recorded runs by state", "state")
    of_pipeline = Counter((run.pipeline, run.engine, run.state) for run in recorded)
    for pipeline, engine in sorted({(run.pipeline, run.engine) for run in recorded}):
        for state in STATES:
            found.add_metric((pipeline, engine, state), of_pipeline[pipeline, engine, state])
    return found


def costs(recorded: list[Run], prices: Prices) -> Iterator[GaugeMetricFamily]:
    """Yield the resources of all recorded runs of each pipeline, and their cost if all prices are known."""
    total: dict[tuple[str, str], Cost] = {}
    for run in recorded:
        total[run.pipeline, run.engine] = total.get((run.pipeline, run.engine), Cost()) + cost_of(run)
    cores = _family("s_core_hours", "Core-hours of the recorded runs")
    gpus = _family("s_gpu_hours", "GPU-hours of the recorded runs")
    money = _family("s_money", "Cost of the recorded runs, by manifests/prices.yaml", "currency")
    for names, cost in sorted(total.items()):
        cores.add_metric(names, cost.cpu_hours)
        gpus.add_metric(names, sum(cost.gpu_hours.values()))
        if (price := cost.money(prices)) is not None:
            money.add_metric((*names, prices.currency), price)
    yield from (cores, gpus, money)


def states(latest: list[Run]) -> GaugeMetricFamily:
    found = _family("_state", "1 for the state of the latest run", "state")
    for run in latest:
        for state in STATES:
            found.add_metric((run.pipeline, run.engine, state), state == run.state)
    return found


def times(latest: list[Run]) -> Iterator[GaugeMetricFamily]:
    start = _family("_start_time_seconds", "Start of the latest run, in seconds since 1970")
    duration = _family("_seconds", "Duration of the latest run, up to now while it is running")
    for run in latest:
        start.add_metric((run.pipeline, run.engine), datetime.fromisoformat(run.started).timestamp())
        duration.add_metric((run.pipeline, run.engine), run.age() if run.state == RUNNING else run.seconds)
    yield from (start, duration)


def steps(latest: list[Run]) -> Iterator[GaugeMetricFamily]:
    in_state = _family("_steps", "Steps of the latest run by state", "state")
    duration = _family("_step_seconds", "Duration of a step of the latest run; cached steps excluded", "step")
    for run in latest:
        number = Counter(CACHED if step.cached else step.state for step in run.steps)
        for state in (WAITING, *STATES, CACHED):
            in_state.add_metric((run.pipeline, run.engine, state), number[state])
        for name, seconds in _durations(step for step in run.steps if step.seconds and not step.cached).items():
            duration.add_metric((run.pipeline, run.engine, name), seconds)
    yield from (in_state, duration)


def progress(latest: list[Run]) -> Iterator[GaugeMetricFamily]:
    """Yield the progress of each running step, and the values in its progress line, such as the loss."""
    done = _family("_step_progress", "Completed share of a running step, 0 to 1", "step")
    values = _family(
        "_step_value", "Value of a running step: loss, validation_accuracy, tokens_per_second, ...", "step", "value"
    )
    for run in latest:
        for name in sorted({step.step for step in run.steps if step.state == RUNNING}):
            line = last_progress(run.folder / "logs" / f"{name}.log")
            if count := COUNT.search(line):
                part, whole = (int(number.replace(",", "")) for number in count.groups())
                done.add_metric((run.pipeline, run.engine, name), part / whole)
            for value, number in values_of(line).items():
                values.add_metric((run.pipeline, run.engine, name, value), number)
    yield from (done, values)


def last_progress(log: Path) -> str:
    """Return the last progress line in ``log``, without its prefix; "" if there is none."""
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        lines = file.read().decode(errors="replace").split("\n")[:-1]  # text after the last line break is incomplete
    return next((line.removeprefix(PROGRESS) for line in reversed(lines) if line.startswith(PROGRESS)), "")


def values_of(line: str) -> dict[str, float]:
    """Return the values after the count in a progress line."""
    found = [VALUE.fullmatch(part) for part in line.split(", ")[1:]]
    return {match[1]: float(match[2]) for match in found if match}


def _durations(steps: Iterable[StepRecord]) -> dict[str, float]:
    """Return the seconds of each step, summed for a step that a run has several times."""
    seconds: dict[str, float] = {}
    for step in steps:
        seconds[step.step] = seconds.get(step.step, 0.0) + step.seconds
    return seconds


def _family(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}{name}", text, labels=("pipeline", "engine", *labels))
