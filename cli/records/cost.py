"""Compute the cost of a run: core-hours, memory, GPU-hours, and money by the prices of manifests/prices.yaml.

On a cluster these are the resources that pods request, from their start to their end, including failed attempts. On one
machine they are all its cores while a step runs; memory is free there, since it is not shared.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from cli.compiled.catalog import suggestion
from cli.records import runs
from cli.records.artifacts import REGISTRATION, find_artifact
from cli.records.runs import Run, StepRecord
from cli.settings import MANIFESTS, Settings
from pipelines._pods import GIB, GPU
from toolchain.errors import ConfigError, ToolchainError
from toolchain.progress import log_info

PRICES_FILE = MANIFESTS / "prices.yaml"
HOUR = 3600.0


@dataclass(frozen=True)
class Prices:
    """Prices per hour; 0: unknown."""

    currency: str = "USD"
    cpu_hour: float = 0.0  # of one core
    memory_gib_hour: float = 0.0
    gpu_hour: Mapping[str, float] = field(default_factory=dict)  # of one GPU, by its resource name in Kubernetes

    @property
    def known(self) -> bool:
        return bool(self.cpu_hour or self.memory_gib_hour or any(self.gpu_hour.values()))


@dataclass(frozen=True)
class Cost:
    """The resources that a step or a run used."""

    cpu_hours: float = 0.0
    memory_gib_hours: float = 0.0
    gpu_hours: Mapping[str, float] = field(default_factory=dict)  # by the GPU's resource name in Kubernetes

    def __add__(self, other: "Cost") -> "Cost":
        gpus = {name: self.gpu_hours.get(name, 0.0) + hours for name, hours in other.gpu_hours.items()}
        return Cost(
            self.cpu_hours + other.cpu_hours,
            self.memory_gib_hours + other.memory_gib_hours,
            {**self.gpu_hours, **gpus},
        )

    def money(self, prices: Prices) -> float | None:
        """Return the price of the resources, or None if one of the prices is unknown."""
        unpriced = [name for name, hours in self.gpu_hours.items() if hours and not prices.gpu_hour.get(name)]
        if not prices.known or unpriced:
            return None
        gpus = sum(hours * prices.gpu_hour.get(name, 0.0) for name, hours in self.gpu_hours.items())
        return self.cpu_hours * prices.cpu_hour + self.memory_gib_hours * prices.memory_gib_hour + gpus

    def to_json(self, prices: Prices) -> dict[str, Any]:
        return {
            "cpu_hours": self.cpu_hours,
            "memory_gib_hours": self.memory_gib_hours,
            "gpu_hours": dict(self.gpu_hours),
            "money": self.money(prices),
            "currency": prices.currency,
        }

    def text(self, prices: Prices) -> str:
        """Return a line such as "0.52 core-hours, 1.20 GiB-hours: 0.0312 USD"."""
        used = [f"{self.cpu_hours:.4f} core-hours"]
        used += [f"{self.memory_gib_hours:.4f} GiB-hours"] if self.memory_gib_hours else []
        used += [f"{hours:.4f} hours of {name}" for name, hours in self.gpu_hours.items() if hours]
        money = self.money(prices)
        priced = "no prices; set them in manifests/prices.yaml" if money is None else f"{money:.4f} {prices.currency}"
        return f"{', '.join(used)}: {priced}"


def read_prices(path: Path = PRICES_FILE) -> Prices:
    """Return the prices in ``path``; none if there is no such file.

    Raises:
        ConfigError: the file is not YAML, has an unknown key, or a price is not valid.
    """
    if not path.is_file():
        return Prices()
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is not a readable YAML file: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} is {content!r}; expected one price per line, such as cpu_hour: 0.04")
    return _checked(path, content)


def _checked(path: Path, content: dict[str, Any]) -> Prices:
    known = [entry.name for entry in fields(Prices)]
    for name in content:
        if name not in known:
            raise ConfigError(
                f"{path}: there is no key {name!r}{suggestion(str(name), known)} (available: {', '.join(known)})"
            )
    gpus = content.get("gpu_hour") or {}
    if not isinstance(gpus, dict) or not isinstance(content.get("currency", ""), str):
        raise ConfigError(
            f"{path}: expected gpu_hour as prices by name, such as {{nvidia.com/gpu: 1.5}}, and currency as text"
        )
    prices = {name: content.get(name, 0) for name in ("cpu_hour", "memory_gib_hour")} | gpus
    for name, price in prices.items():
        if isinstance(price, bool) or not isinstance(price, int | float) or not math.isfinite(price) or price < 0:
            raise ConfigError(f"{path}: {name} is {price!r}; expected a price of 0 or more")
    return Prices(**{**content, "gpu_hour": gpus})


def with_prices(values: Mapping[str, Any], prices: Prices) -> dict[str, Any]:
    """Return the parameters ``values``, with ``prices`` as the report's prices unless ``values`` sets its own."""
    names = ("price_per_cpu_hour", "price_per_gpu_hour")
    if not prices.known or any(values.get(name) != 0 for name in names):
        return dict(values)
    gpu = prices.gpu_hour.get(str(values.get("gpu_type", GPU)), 0.0)
    return {
        **values,
        **dict(zip(names, (float(prices.cpu_hour), float(gpu)), strict=True)),
        "currency": prices.currency,
    }


def cost_of(run: Run) -> Cost:
    """Return the resources that all steps of ``run`` have used so far."""
    total = Cost()
    for step in run.steps:
        total += step_cost(step, run)
    return total


def step_cost(step: StepRecord, run: Run) -> Cost:
    """Return the resources that ``step`` used; none if it was cached."""
    if run.engine == runs.LOCAL:
        return Cost(0.0 if step.cached else (os.cpu_count() or 1) * step.seconds / HOUR)
    total = Cost()
    for pod in step.pods:
        hours = _seconds(pod, run) / HOUR
        gpus = {str(run.parameters.get("gpu_type", GPU)): pod["gpus"] * hours} if pod["gpus"] else {}
        total += Cost(pod["cpu"] * hours, pod["memory_bytes"] / GIB * hours, gpus)
    return total


def log_cost(run: Run, prices: Prices, settings: Settings) -> None:
    """Log the cost of ``run`` to its run in MLflow, if it has one that is reachable from this machine."""
    registration = find_artifact(run, REGISTRATION)
    if registration is None or registration.step.cached:  # a cached registration belongs to another run
        return
    from cli.cluster.tracking import registry_of
    from toolchain.services.mlflow import Tracker

    try:
        with registry_of(run.engine, settings) as found:
            run_id = str(registration.description["data"]["run_id"])
            tags = {"toolchain.currency": prices.currency}
            Tracker(found.tracking_uri).log(run_id, metrics=_metrics(cost_of(run), prices), tags=tags)
    except ToolchainError as error:
        log_info(f"the cost of the run was not logged to MLflow: {error}")


def _metrics(cost: Cost, prices: Prices) -> dict[str, float]:
    money = cost.money(prices)
    return {
        "cost.core_hours": cost.cpu_hours,
        "cost.memory_gib_hours": cost.memory_gib_hours,
        "cost.gpu_hours": sum(cost.gpu_hours.values()),
        **({} if money is None else {"cost.money": money}),
    }


def _seconds(pod: Mapping[str, Any], run: Run) -> float:
    """Return how long ``pod`` ran; up to now, or up to the end of the run, if its own end is unknown."""
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
