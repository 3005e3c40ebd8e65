"""Register: the pipeline's run, each of its steps and every variant in MLflow, with the winner named as candidate.

What is there already is found again by its digest, so that registering twice, or once more after an interruption, ends
with the same runs and versions.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from toolchain.artifacts import expected
from toolchain.artifacts.dataset import Dataset, new_dataset, open_dataset
from toolchain.artifacts.digest import sha256_of_json
from toolchain.artifacts.measurement import Measurement, new_measurement, open_measurement
from toolchain.artifacts.model import Model
from toolchain.artifacts.provenance import Work, ancestors
from toolchain.artifacts.variants import Variants, open_variants
from toolchain.errors import ConfigError, DataError
from toolchain.lifecycle import registry
from toolchain.progress import log_info, track
from toolchain.release.register.record import begin, begin_step, end_step, record_steps
from toolchain.services.mlflow import Tracker, Version, default_experiment

NAME = re.compile(r"[\w][\w .-]*")  # what MLflow takes in a registered model's name, and a filter in quotes can hold
REASON_CHARACTERS = 1000  # of a sentence in a tag; MLflow takes 5000, and a class name may be long
DEFAULT_NAME = "model"  # where neither a name nor a pipeline is given


@dataclass(frozen=True, kw_only=True)
class Config:
    name: str = ""  # of the registered model (of "name@alias" and "name:version" the name); "": the pipeline's
    experiment: str = ""  # of MLflow; "": MLFLOW_EXPERIMENT_NAME, else "toolchain"; the live run of training is there
    pipeline: str = ""  # shown, and a tag
    run: str = ""  # the run's name, shown, and a tag
    keep_test_rows: bool = True  # whether the rows measured on are kept, so that other processors can be measured later
    approval: bool = False  # whether a person must approve the run before any of its new versions may serve

    def __post_init__(self) -> None:
        if self.name and not NAME.fullmatch(registry.split_name(self.name)[0]):
            raise ConfigError(f"name is {self.name!r}: give a model's name of letters, digits, spaces, dots and dashes")
        if "'" in self.experiment or "`" in self.experiment:
            raise ConfigError(f"experiment is {self.experiment!r}: give a name without quotation marks")
        if self.approval and not self.run:
            raise ConfigError("approval of a run without a name: give the name by which a person approves it in run")


@dataclass(frozen=True)
class Result:
    model: str  # the registered model's name
    candidate: str  # the variant that the alias points at
    versions: int  # that stand for this pipeline's variants
    added: int  # of them, those that were not there before


@dataclass(frozen=True)
class Finished:
    """A pipeline's run to register, opened and checked."""

    variants: Variants
    dataset: Dataset
    accuracy: Measurement
    verdict: Measurement
    report: Measurement

    @property
    def kind(self) -> str:
        """The kind of processor that the verdict holds for."""
        return str(self.verdict.data["processor"]["kind"])

    @property
    def figures(self) -> dict[str, dict[str, Any]]:
        """What report.json says of each variant."""
        return {entry["name"]: entry for entry in self.report.data["variants"]}


def register(finished: Finished, config: Config, work: Work) -> dict[str, Any]:
    """Put ``finished`` into MLflow and return what is there now: model, experiment, run_id, versions, aliases, ..."""
    tracker = Tracker()
    model, experiment = _model_name(config), config.experiment or default_experiment()
    run = begin(tracker, experiment, _title(config), _identity(finished, model, config), _lineage(finished))
    own = begin_step(tracker, experiment, run, work.step, work.config)
    record_steps(tracker, experiment, run, _lineage(finished), _names(finished.variants))
    tracker.upload(run, finished.report.path, "report")
    rows = _keep_rows(tracker, run, finished, work) if config.keep_test_rows else ""
    versions, added = _versions(tracker, run, model, finished, config)
    aliases = dict.fromkeys(_aliases(finished), versions[finished.verdict.data["winner"]].number)
    for alias, number in aliases.items():
        tracker.point(model, alias, number)
    tracker.log(run, metrics=_headline(finished), at=0)
    registry.complete(tracker, run, model, versions, rows)
    end_step(tracker, own)
    tracker.end(run)
    return {
        "model": model,
        "experiment": experiment,
        "run_id": run,
        "versions": {variant: version.number for variant, version in versions.items()},
        "added": added,
        "candidate": finished.verdict.data["winner"],
        "aliases": aliases,
    }


def run(
    variants: Path, dataset: Path, accuracy: Path, verdict: Path, report: Path, registration: Path, config: Config
) -> Result:
    """Register what a pipeline has made and write the measurement ``registration``, which says where it is.

    Raises:
        ArtifactError: an input is damaged or of another kind.
        ConfigError: no MLflow server is named.
        DataError: the accuracy, the verdict or the report is not of these variants.
        ServiceError: MLflow does not answer, or refuses.
    """
    finished = Finished(
        open_variants(variants),
        open_dataset(dataset),
        open_measurement(accuracy, "accuracy"),
        open_measurement(verdict, "verdict"),
        open_measurement(report, "report"),
    )
    _check(finished)
    work = Work("release.register", config, **vars(finished))
    with new_measurement(registration, "registration", work) as writer:
        writer.data = register(finished, config, work)
        work.metrics |= {"versions": len(writer.data["versions"]), "added": len(writer.data["added"])}
    data = writer.data
    log_info(f"registered {data['model']}: {len(data['versions'])} versions, {len(data['added'])} of them new")
    if config.approval:
        log_info(f"a person must approve them before they serve: python -m cli approve {config.run}")
    return Result(data["model"], data["candidate"], len(data["versions"]), len(data["added"]))


def _check(finished: Finished) -> None:
    judged = {entry["name"] for entry in finished.verdict.data["variants"]}
    if odd := judged ^ set(finished.variants.models):
        raise DataError(f"{finished.verdict.path} does not judge these variants: {', '.join(sorted(odd))}; judge again")
    if finished.verdict.lineage[-1].parents.get("accuracy") != finished.accuracy.digest:
        raise DataError(f"{finished.verdict.path} does not judge by {finished.accuracy.path}; judge again")
    if finished.report.lineage[-1].parents.get("verdict") != finished.verdict.digest:
        raise DataError(f"{finished.report.path} does not report {finished.verdict.path}; report again")


def _model_name(config: Config) -> str:
    """Return the registered model's name; of "name@alias" or "name:version", as a model is fetched by, the name."""
    return registry.split_name(config.name)[0] or config.pipeline or DEFAULT_NAME


def _title(config: Config) -> str:
    return config.run or config.pipeline or DEFAULT_NAME


def _identity(finished: Finished, model: str, config: Config) -> dict[str, str]:
    """Return the tags that tell this registration from all others."""
    made = {name: artifact.digest for name, artifact in vars(finished).items()}
    key = sha256_of_json([model, config.pipeline, config.run, made])
    return {"toolchain.key": key, "toolchain.pipeline": config.pipeline, "toolchain.run": config.run}


def _lineage(finished: Finished) -> list[Any]:
    return sorted(ancestors(*vars(finished).values()), key=lambda entry: entry.started)


def _names(variants: Variants) -> dict[str, str]:
    return {model.digest: name for name, model in variants.models.items()}


def _keep_rows(tracker: Tracker, run: str, finished: Finished, work: Work) -> str:
    """Keep the rows that were measured on with ``run``, as a dataset, and return its digest."""
    measured = (entry for entry in finished.verdict.lineage if entry.step == "evaluate.accuracy")
    split = next((str(entry.config["split"]) for entry in measured if "split" in entry.config), "test")
    data = finished.dataset
    with TemporaryDirectory() as folder:
        target = Path(folder) / registry.ROWS
        kept = Work(work.step, None, dataset=data)
        with new_dataset(target, data.schema, kept, labels=data.labels, parent=data) as writer:
            for batch in data.batches(split):
                writer.write(split, batch)
        tracker.upload(run, target, registry.ROWS)
        return open_dataset(target).digest


def _versions(
    tracker: Tracker, run: str, model: str, finished: Finished, config: Config
) -> tuple[dict[str, Version], list[str]]:
    """Return the version of each variant, and the names of those that were added."""
    known = {version.tags.get(registry.TAG_DIGEST): version for version in tracker.versions(model)}
    found: dict[str, Version] = {}
    added = []
    for name, variant in track(finished.variants.models.items(), "register", len(finished.variants.models), "variants"):
        said = _verdict_tags(finished.figures[name], finished.kind) | _elsewhere_tags(name, finished.report.data)
        version = known.get(variant.digest)
        if version is None:
            tracker.upload(run, variant.path, f"variants/{name}")
            _keep_answers(tracker, run, finished.accuracy, name)
            tags = {**_origin_tags(variant, finished, config), **said}
            version = tracker.add_version(model, run, f"variants/{name}", tags, _description(variant, config))
            added.append(name)
        asked = (
            {registry.TAG_APPROVAL: config.run} if config.approval and registry.TAG_APPROVAL not in version.tags else {}
        )
        tracker.tag_version(version, said | asked)
        found[name] = version
    return found, added


def _keep_answers(tracker: Tracker, run: str, accuracy: Measurement, name: str) -> None:
    """Put what the variant ``name`` answered to a few rows beside its files, for those who will serve it."""
    folder = accuracy.path / "expected" / name
    if (folder / expected.FILE).is_file():
        tracker.upload(run, folder, f"variants/{name}")


def _origin_tags(variant: Model, finished: Finished, config: Config) -> dict[str, str]:
    """Return what is said of a version once: what it is, and what it was made from."""
    sources = [(entry.kind, str(entry.source["sha256"])) for entry in variant.lineage if "sha256" in entry.source]
    way = [f"{entry.step} {entry.digest}" for entry in variant.lineage]
    return {
        registry.TAG_DIGEST: variant.digest,
        registry.TAG_VARIANT: variant.variant,
        "backend": variant.signature.backend,
        "origin": variant.signature.origin,
        "dataset": finished.dataset.digest,
        "source_sha256": " ".join(digest for kind, digest in sources if kind == "dataset"),
        "base_sha256": " ".join(digest for kind, digest in sources if kind != "dataset"),
        "lineage": "\n".join(way),
        "pipeline": config.pipeline,
        "run": config.run,
        "size_bytes": str(variant.size_bytes),
    }


def _verdict_tags(figures: Mapping[str, Any], kind: str) -> dict[str, str]:
    """Return what the last verdict says of a version, and the same under the kind of processor that it holds for."""
    said = {name: str(figures[name]).lower() for name in ("accurate", "faster")}
    said |= {name: f"{figures[name]:.4f}" for name in ("speedup", "accuracy", "agreement")}
    said |= {registry.TAG_REJECTION: "" if figures["accurate"] else str(figures["reasons"][0])[:REASON_CHARACTERS]}
    return {**said, "processor": kind, **{f"{name}.{kind}": value for name, value in said.items()}}


def _elsewhere_tags(name: str, report: Mapping[str, Any]) -> dict[str, str]:
    """Return what trying the variant ``name`` on another architecture found; {} where it was not tried."""
    architecture, tried = report["architecture"]["architecture"], report["architecture"]["variants"].get(name)
    return {f"parity.{architecture}": tried["summary"]} if tried else {}


def _description(variant: Model, config: Config) -> str:
    made = f" made by {config.pipeline}" if config.pipeline else ""
    return f"{variant.variant} for {variant.signature.backend},{made} digest {variant.digest[:12]}"


def _aliases(finished: Finished) -> list[str]:
    return [registry.CANDIDATE, f"{registry.CANDIDATE}-{finished.kind}"]


def _headline(finished: Finished) -> dict[str, float]:
    """Return the figures by which pipeline runs are compared in MLflow: of each variant, and of the winner."""
    wanted = ("accuracy", "worst_class_accuracy", "agreement", "p50_ms", "p95_ms", "size_bytes", "speedup")
    winner = finished.figures[finished.verdict.data["winner"]]
    told = {f"winner.{key}": float(winner[key]) for key in wanted}
    for name, entry in finished.figures.items():
        told |= {f"{name}.{key}": float(entry[key]) for key in wanted}
    cost = finished.report.data["cost"]
    return {**told, "cpu_seconds": cost["cpu_seconds"], "gpu_seconds": cost["gpu_seconds"]}
