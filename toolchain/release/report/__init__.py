"""Write the report of a pipeline: report.html for people and report.json for programs, with the same numbers.

report.json is described by docs/report.schema.json; report.html is self-contained.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchain.artifacts.dataset import Dataset, open_dataset
from toolchain.artifacts.folder import write_file, write_json
from toolchain.artifacts.measurement import Measurement, new_measurement, open_measurement
from toolchain.artifacts.provenance import Work, ancestors
from toolchain.artifacts.variants import Variants, open_variants
from toolchain.errors import ConfigError, DataError
from toolchain.release.report.cost import Prices, cost_of
from toolchain.release.report.page import render

Data = Mapping[str, Any]  # what a measurement holds, or a part of it
PLATFORM_FIELDS = (
    "architecture",
    "runner",
    "skip_reason",
    "processor",
    "versions",
    "tolerance",
    "variants",
)  # of that measurement


@dataclass(frozen=True, kw_only=True)
class Config:
    pipeline: str = ""  # Pipeline name, shown in the report.
    run: str = ""  # Run name, shown in the report.
    price_per_cpu_hour: float = 0.0  # Price of one CPU core per hour; 0: unknown, no cost is shown.
    price_per_gpu_hour: float = 0.0  # Price of one GPU per hour; 0: unknown.
    currency: str = "USD"  # Currency of both prices, an ISO 4217 code.

    def __post_init__(self) -> None:
        for name in ("price_per_cpu_hour", "price_per_gpu_hour"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise ConfigError(f"{name} is {value}: give the price of an hour, or 0 for an unknown one")
        if not self.currency.strip():
            raise ConfigError("currency is empty: give the currency of the prices, such as USD")


@dataclass(frozen=True)
class Result:
    winner: str
    variants: int
    accuracy: float  # of the winner, 0..1
    speedup: float  # of the winner over the reference
    cpu_seconds: float  # of all steps before the report
    gpu_seconds: float
    size_bytes: int  # of report.html


@dataclass(frozen=True)
class Findings:
    """The inputs of a report, opened and checked."""

    dataset: Dataset
    variants: Variants
    checks: Measurement
    accuracy: Measurement
    parity: Measurement
    latency: Measurement
    verdict: Measurement
    platform_parity: Measurement


def compose(found: Findings, config: Config) -> dict[str, Any]:
    """Return report.json, as docs/report.schema.json describes it."""
    latency, platform = found.latency.data, found.platform_parity.data
    lineage = ancestors(*vars(found).values())
    prices = Prices(config.price_per_cpu_hour, config.price_per_gpu_hour, config.currency)
    return {
        "pipeline": config.pipeline,
        "run": config.run,
        "verdict": {key: found.verdict.data[key] for key in ("winner", "promotable", "reason")},
        "variants": [_variant(entry, found) for entry in found.verdict.data["variants"]],
        "dataset": {
            "digest": found.dataset.digest,
            "rows": {split: found.dataset.rows(split) for split in found.dataset.splits},
            "dropped": [vars(entry) | {"examples": list(entry.examples)} for entry in found.dataset.dropped],
        },
        "platform_parity": {key: platform[key] for key in PLATFORM_FIELDS},
        "environment": {key: latency[key] for key in ("processor", "threads", "versions")},
        "cost": cost_of(lineage, prices),
    }


def run(
    dataset: Path,
    checks: Path,
    variants: Path,
    accuracy: Path,
    parity: Path,
    latency: Path,
    verdict: Path,
    platform_parity: Path,
    report: Path,
    page: Path,
    config: Config,
) -> Result:
    """Write the measurement ``report``, with report.html and report.json in it, and the same page to the file ``page``.

    Raises:
        ArtifactError: an input is damaged or of another kind.
        DataError: the measurements are not of these variants.
    """
    measured = {
        "checks": checks,
        "accuracy": accuracy,
        "parity": parity,
        "latency": latency,
        "verdict": verdict,
        "platform_parity": platform_parity,
    }
    found = Findings(
        open_dataset(dataset),
        open_variants(variants),
        **{kind: open_measurement(path, kind) for kind, path in measured.items()},
    )
    _check(found)
    work = Work("release.report", config, **vars(found))
    content = compose(found, config)
    html = render(content, found)
    with new_measurement(report, "report", work) as writer:
        writer.data = content
        (writer.folder / "report.html").write_text(html, encoding="utf-8")
        write_json(writer.folder / "report.json", content)
        work.metrics["size_bytes"] = len(html.encode())
        page.parent.mkdir(parents=True, exist_ok=True)
        write_file(page, html.encode())
    return _result(content, len(html.encode()))


def _variant(judged: Data, found: Findings) -> dict[str, Any]:
    name = judged["name"]
    accuracy, latency = found.accuracy.data["variants"][name], found.latency.data["variants"][name]
    timed = latency["scenarios"][found.verdict.data["scenario"]]
    return {
        "name": name,
        "backend": latency["backend"],
        "accuracy": accuracy["accuracy"]["value"],
        "worst_class_accuracy": accuracy["worst_class_accuracy"],
        "agreement": found.parity.data["variants"][name]["agreement"]["value"],
        "p50_ms": timed["p50_ms"],
        "p95_ms": timed["p95_ms"],
        "size_bytes": latency["size_bytes"],
        "sparsity": latency["sparsity"],
        "speedup": timed["speedup"]["value"],
        "speedup_low": timed["speedup"]["low"],
        "speedup_high": timed["speedup"]["high"],
        "accurate": judged["accurate"],
        "faster": judged["faster"],
        "reasons": judged["reasons"],
    }


def _check(found: Findings) -> None:
    judged = {entry["name"] for entry in found.verdict.data["variants"]}
    odd = judged ^ set(found.variants.models)
    if odd:
        raise DataError(
            f"{found.verdict.path} does not judge these variants: {', '.join(sorted(odd))}; run evaluate.gate again"
        )
    for measured in (found.accuracy, found.parity, found.latency):
        if found.verdict.lineage[-1].parents.get(measured.kind) != measured.digest:
            raise DataError(f"{found.verdict.path} was not made from {measured.path}; run evaluate.gate again")
    if found.platform_parity.lineage[-1].parents.get("verdict") != found.verdict.digest:
        raise DataError(f"{found.platform_parity.path} was not made from {found.verdict.path}; run that step again")


def _result(content: Data, size_bytes: int) -> Result:
    winner = next(entry for entry in content["variants"] if entry["name"] == content["verdict"]["winner"])
    return Result(
        winner=winner["name"],
        variants=len(content["variants"]),
        accuracy=winner["accuracy"],
        speedup=winner["speedup"],
        cpu_seconds=content["cost"]["cpu_seconds"],
        gpu_seconds=content["cost"]["gpu_seconds"],
        size_bytes=size_bytes,
    )
