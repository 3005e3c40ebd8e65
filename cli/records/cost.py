"""What a run cost: what its steps held of cores, memory and GPUs, for how long, and the money by the table of prices.

On a cluster that is what pods asked for, from the start of their work to its end, each attempt counted. On one machine
it is all its cores for as long as a step was at work; memory costs nothing there, since nobody shares it.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from cli.compiled.catalog import suggestion
from cli.records import runs
from cli.records.runs import Run, StepRecord
from cli.settings import MANIFESTS, Settings
from pipelines._pods import GIB, GPU
from toolchain.errors import ConfigError, ToolchainError
from toolchain.progress import log_info

if TYPE_CHECKING:
    from toolchain.services.mlflow import Tracker

TABLE = MANIFESTS / "prices.yaml"
HOUR = 3600.0


@dataclass(frozen=True)
class Prices:
    """Money for an hour of each thing; 0 where no price is known."""

    currency: str = "USD"
    cpu_hour: float = 0.0  # of one core
    memory_gib_hour: float = 0.0
    gpu_hour: Mapping[str, float] = field(default_factory=dict)  # of one GPU, by Kubernetes' name of it

    @property
    def known(self) -> bool:
        return bool(self.cpu_hour or self.memory_gib_hour or any(self.gpu_hour.values()))


@dataclass(frozen=True)
class Cost:
    """What a step or a run held, and the money for it."""

    cpu_hours: float = 0.0
    memory_gib_hours: float = 0.0
    gpu_hours: Mapping[str, float] = field(default_factory=dict)  # by Kubernetes' name of the GPU

    def __add__(self, other: "Cost") -> "Cost":
        gpus = {name: self.gpu_hours.get(name, 0.0) + hours for name, hours in other.gpu_hours.items()}
        return Cost(
            self.cpu_hours + other.cpu_hours,
            self.memory_gib_hours + other.memory_gib_hours,
            {**self.gpu_hours, **gpus},
        )

    def money(self, prices: Prices) -> float | None:
        """Return the money, None when a price is missing for something that was held."""
        unpriced = [name for name, hours in self.gpu_hours.items() if hours and not prices.gpu_hour.get(name)]
        if not prices.known or unpriced:
            return None
        gpus = sum(hours * prices.gpu_hour.get(name, 0.0) for name, hours in self.gpu_hours.items())
        return self.cpu_hours * prices.cpu_hour + self.memory_gib_hours * prices.memory_gib_hour + gpus

    def fields(self, prices: Prices) -> dict[str, Any]:
        """Return it as JSON: ``money`` is None when a price is not known."""
        return {
            "cpu_hours": self.cpu_hours,
            "memory_gib_hours": self.memory_gib_hours,
            "gpu_hours": dict(self.gpu_hours),
            "money": self.money(prices),
            "currency": prices.currency,
        }

    def text(self, prices: Prices) -> str:
        """Return it as text: "0.52 core-hours, 1.20 GiB-hours: 0.0312 USD"."""
        held = [f"{self.cpu_hours:.4f} core-hours"]
        held += [f"{self.memory_gib_hours:.4f} GiB-hours"] if self.memory_gib_hours else []
        held += [f"{hours:.4f} hours of {name}" for name, hours in self.gpu_hours.items() if hours]
        money = self.money(prices)
        priced = "no price known; see manifests/prices.yaml" if money is None else f"{money:.4f} {prices.currency}"
        return f"{', '.join(held)}: {priced}"


def read_prices(path: Path = TABLE) -> Prices:
    """Return the table of prices in ``path``; no prices where there is no such file.

    Raises:
        ConfigError: it is not YAML, has an unknown key, or a price that cannot be.
    """
    if not path.is_file():
        return Prices()
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is not a readable YAML file: {' '.join(str(error).split())}") from error
    known = [entry.name for entry in fields(Prices)]
    for name in content if isinstance(content, dict) else ["its form"]:
        if name not in known:
            raise ConfigError(
                f"{path}: there is no {name!r}{suggestion(str(name), known)} (there are {', '.join(known)})"
            )
    given = dict(content)
    gpus = given.get("gpu_hour") or {}
    if not isinstance(gpus, dict) or not isinstance(given.get("currency", ""), str):
        raise ConfigError(f"{path}: gpu_hour takes a price by name, as in {{nvidia.com/gpu: 1.5}}, and currency a word")
    prices = {name: given.get(name, 0) for name in ("cpu_hour", "memory_gib_hour")} | gpus
    for name, price in prices.items():
        if isinstance(price, bool) or not isinstance(price, int | float) or not math.isfinite(price) or price < 0:
            raise ConfigError(f"{path}: {name} takes a price of 0 or more, got {price!r}")
    return Prices(**{**given, "gpu_hour": gpus})


def for_the_report(values: Mapping[str, Any], prices: Prices) -> dict[str, Any]:
    """Return the parameters ``values`` with the table's prices in those that the report takes, where none was given."""
    taken = ("price_per_cpu_hour", "price_per_gpu_hour")
    if not prices.known or any(values.get(name) != 0 for name in taken):
        return dict(values)
    gpu = prices.gpu_hour.get(str(values.get("gpu_type", GPU)), 0.0)
    return {
        **values,
        **dict(zip(taken, (float(prices.cpu_hour), float(gpu)), strict=True)),
        "currency": prices.currency,
    }


def cost_of(run: Run) -> Cost:
    """Return what all steps of ``run`` held so far."""
    total = Cost()
    for step in run.steps:
        total += step_cost(step, run)
    return total


def step_cost(step: StepRecord, run: Run) -> Cost:
    """Return what ``step`` held; nothing when it was cached."""
    if run.engine == runs.LOCAL:
        return Cost(0.0 if step.cached else (os.cpu_count() or 1) * step.seconds / HOUR)
    total = Cost()
    for pod in step.pods:
        hours = _seconds(pod, run) / HOUR
        gpus = {str(run.parameters.get("gpu_type", GPU)): pod["gpus"] * hours} if pod["gpus"] else {}
        total += Cost(pod["cpu"] * hours, pod["memory_bytes"] / GIB * hours, gpus)
    return total


def log_cost(run: Run, prices: Prices, settings: Settings) -> None:
    """Log what ``run`` cost to its run in MLflow, where it has one and this machine reaches it."""
    own = [step for step in run.steps if step.step == "release.register" and step.state == runs.SUCCEEDED]
    if not own or own[0].cached:  # a cached registration is of another run, whose cost stands
        return
    from cli.cluster.tracking import registry_of
    from toolchain.services.mlflow import Tracker

    try:
        with registry_of(run.engine, settings) as found:
            tracker = Tracker(found.tracking_uri)
            for one in _in_mlflow(run, tracker):
                tracker.log(one, metrics=_figures(cost_of(run), prices), tags={"toolchain.currency": prices.currency})
    except ToolchainError as error:
        log_info(f"what the run cost is not in MLflow: {error}")


def _in_mlflow(run: Run, tracker: "Tracker") -> list[str]:
    folder = run.output("release.register", "registration")
    if folder is None:  # it stayed in S3
        return [found.id for found in tracker.runs({"toolchain.run": run.id})][:1]
    from toolchain.artifacts.measurement import open_measurement

    return [str(open_measurement(folder, "registration").data["run_id"])]


def _figures(cost: Cost, prices: Prices) -> dict[str, float]:
    money = cost.money(prices)
    return {
        "cost.core_hours": cost.cpu_hours,
        "cost.memory_gib_hours": cost.memory_gib_hours,
        "cost.gpu_hours": sum(cost.gpu_hours.values()),
        **({} if money is None else {"cost.money": money}),
    }


def _seconds(pod: Mapping[str, Any], run: Run) -> float:
    """Return how long ``pod`` was at work: to now, or the run's end, where its end was not seen."""
    if not pod["started"]:
        return 0.0
    began = datetime.fromisoformat(pod["started"])
    if pod["finished"]:
        ended = datetime.fromisoformat(pod["finished"])
    elif run.state == runs.RUNNING:
        ended = datetime.now(UTC)
    else:
        ended = datetime.fromtimestamp(datetime.fromisoformat(run.started).timestamp() + run.seconds, UTC)
    return max(0.0, (ended - began).total_seconds())
