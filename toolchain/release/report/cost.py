"""Compute the time and the cost of each step."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from toolchain.artifacts.provenance import Provenance


@dataclass(frozen=True)
class Prices:
    cpu_hour: float  # price of one core and hour; 0: unknown
    gpu_hour: float  # price of one GPU and hour; 0: unknown
    currency: str

    def money(self, cpu_seconds: float, gpu_seconds: float) -> float | None:
        """Return the cost, None when no price is known."""
        if not (self.cpu_hour or self.gpu_hour):
            return None
        return round((cpu_seconds * self.cpu_hour + gpu_seconds * self.gpu_hour) / 3600, 6)


def cost_of(lineage: Iterable[Provenance], prices: Prices) -> dict[str, Any]:
    """Return the seconds of wall clock, CPU and GPU, and the cost (None without a price), of each step and in total.

    The time of a step that made several artifacts counts once: work inside longer work of the same step is part of it.
    """
    steps = [_step(step, entries, prices) for step, entries in _by_step(lineage).items()]
    total = {key: round(sum(step[key] for step in steps), 3) for key in ("seconds", "cpu_seconds", "gpu_seconds")}
    money = prices.money(total["cpu_seconds"], total["gpu_seconds"])
    return {**total, "money": money, "currency": prices.currency, "steps": steps}


def _by_step(lineage: Iterable[Provenance]) -> dict[str, list[Provenance]]:
    found: dict[str, list[Provenance]] = {}
    for entry in sorted(lineage, key=lambda entry: entry.started):
        found.setdefault(entry.step, []).append(entry)
    return found


def _step(step: str, entries: list[Provenance], prices: Prices) -> dict[str, Any]:
    outer = _outermost(entries)
    cpu, gpu = sum(entry.cpu_seconds for entry in outer), sum(entry.gpu_seconds for entry in outer)
    return {
        "step": step,
        "seconds": round(sum(entry.seconds for entry in outer), 3),
        "cpu_seconds": round(cpu, 3),
        "gpu_seconds": round(gpu, 3),
        "peak_memory_bytes": max(entry.peak_memory_bytes for entry in entries),
        "money": prices.money(cpu, gpu),
    }


def _outermost(entries: list[Provenance]) -> list[Provenance]:
    """Return the ``entries``, longest first, that did not run inside a longer one."""
    kept: list[Provenance] = []
    for entry in sorted(entries, key=lambda entry: -entry.seconds):
        if not any(_overlap(entry, other) for other in kept):
            kept.append(entry)
    return kept


def _overlap(one: Provenance, other: Provenance) -> bool:
    begin, end = _span(one)
    other_begin, other_end = _span(other)
    return begin < other_end and other_begin < end


def _span(entry: Provenance) -> tuple[float, float]:
    """Return the start and end of ``entry`` in seconds since 1970; starts have a resolution of one second."""
    begin = datetime.fromisoformat(entry.started).timestamp() if entry.started else 0.0
    return begin, begin + max(entry.seconds, 1e-3)
