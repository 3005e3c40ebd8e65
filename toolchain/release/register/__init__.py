"""Register a pipeline's run, its steps and all variants in MLflow, and give the winner the alias ``candidate``.

Existing runs and versions are found by their digests, so registering again, also after an interruption, adds nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from toolchain.artifacts import expected
from toolchain.artifacts.dataset import Dataset, new_dataset, open_dataset
from toolchain.artifacts.digest import sha256_of_json, short_digest
from toolchain.artifacts.measurement import Measurement, new_measurement, open_measurement
from toolchain.artifacts.model import Model
from toolchain.artifacts.provenance import Work, ancestors
from toolchain.artifacts.variants import Variants, open_variants
from toolchain.errors import ConfigError, DataError
from toolchain.lifecycle import registry
from toolchain.progress import log_info, track
from toolchain.release.register.record import begin, begin_step, end_step, record_steps
from toolchain.services.mlflow import Tracker, Version, default_experiment

NAME = re.compile(r"[\w][\w .-]*")  # valid in MLflow as a registered model's name and inside a quoted filter
MAX_REASON_CHARACTERS = 1000  # of a tag, where MLflow allows 5000; a class name may be long
DEFAULT_NAME = "model"  # without a name and a pipeline


@dataclass(frozen=True, kw_only=True)
class Config:
    model_name: str = ""  # Registered model name; an @alias or :version is ignored; "": the pipeline's name.
    experiment: str = ""  # MLflow experiment; "": MLFLOW_EXPERIMENT_NAME, or toolchain.
    pipeline: str = ""  # pipeline name, stored as a tag
    run: str = ""  # run name, stored as a tag
    keep_test_rows: bool = True  # upload the test rows, so that the model can be measured on other processors later
    require_approval: bool = False  # require a person's approval of the run before its new versions may serve

    def __post_init__(self) -> None:
        if self.model_name and not NAME.fullmatch(registry.split_name(self.model_name)[0]):
            raise ConfigError(f"model_name is {self.model_name!r}: use letters, digits, spaces, dots and dashes")
        if "'" in self.experiment or "`" in self.experiment:
            raise ConfigError(f"experiment is {self.experiment!r}: use a name without quotation marks")
        if self.require_approval and not self.run:
            raise ConfigError("approval is set, but run is empty: give the name of the run to approve")


@dataclass(frozen=True)
class Result:
    model: str  # the registered model's name
    candidate: str  # the variant with the alias candidate
    versions: int  # of this pipeline's variants
    added: int  # of them, new ones


@dataclass(frozen=True)
class Finished:
    """The outputs of a pipeline, opened and checked."""

    variants: Variants
    dataset: Dataset
    accuracy: Measurement
    verdict: Measurement
    report: Measurement

    @property
    def kind(self) -> str:
        """The kind of processor for which the verdict is valid."""
        return str(self.verdict.data["processor"]["kind"])

    @property
    def reported(self) -> dict[str, dict[str, Any]]:
        """The entries of report.json by variant."""
        return {entry["name"]: entry for entry in self.report.data["variants"]}


def register(finished: Finished, config: Config, work: Work) -> dict[str, Any]:
    """Register ``finished`` and return its model, experiment, run_id, versions, added, candidate and aliases."""
    tracker = Tracker()
    model, experiment = _model_name(config), config.experiment or default_experiment()
    run = begin(tracker, experiment, _title(config), _identity(finished, model, config), _lineage(finished))
    own = begin_step(tracker, experiment, run, work.step, work.config)
    record_steps(tracker, experiment, run, _lineage(finished), _names(finished.variants))
    tracker.upload(run, finished.report.path, "report")
    rows = _upload_rows(tracker, run, finished, work) if config.keep_test_rows else ""
    versions, added = _versions(tracker, run, model, finished, config)
    aliases = dict.fromkeys(_aliases(finished), versions[finished.verdict.data["winner"]].number)
    for alias, number in aliases.items():
        tracker.set_alias(model, alias, number)
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
    """Register the outputs of a pipeline and write the measurement ``registration`` with their names in MLflow.

    Raises:
        ArtifactError: an input is damaged or of another kind.
        ConfigError: no MLflow server is configured.
        DataError: the accuracy, the verdict or the report is not of these variants.
        ServiceError: MLflow does not respond, or rejects a request.
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
    if config.require_approval:
        log_info(f"they need approval before they can serve: toolchain approve {config.run}")
    return Result(data["model"], data["candidate"], len(data["versions"]), len(data["added"]))


def _check(finished: Finished) -> None:
    judged = {entry["name"] for entry in finished.verdict.data["variants"]}
    if odd := judged ^ set(finished.variants.models):
        raise DataError(
            f"{finished.verdict.path} does not judge these variants: {', '.join(sorted(odd))}; run evaluate.gate again"
        )
    if finished.verdict.lineage[-1].parents.get("accuracy") != finished.accuracy.digest:
        raise DataError(f"{finished.verdict.path} was not made from {finished.accuracy.path}; run evaluate.gate again")
    if finished.report.lineage[-1].parents.get("verdict") != finished.verdict.digest:
        raise DataError(f"{finished.report.path} was not made from {finished.verdict.path}; run release.report again")


def _model_name(config: Config) -> str:
    """Return the registered model's name, without an @alias or :version."""
    return registry.split_name(config.model_name)[0] or config.pipeline or DEFAULT_NAME


def _title(config: Config) -> str:
    return config.run or config.pipeline or DEFAULT_NAME


def _identity(finished: Finished, model: str, config: Config) -> dict[str, str]:
    """Return the tags that identify this registration."""
    made = {name: artifact.digest for name, artifact in vars(finished).items()}
    key = sha256_of_json([model, config.pipeline, config.run, made])
    return {"toolchain.key": key, "toolchain.pipeline": config.pipeline, "toolchain.run": config.run}


def _lineage(finished: Finished) -> list[Any]:
    return sorted(ancestors(*vars(finished).values()), key=lambda entry: entry.started)


def _names(variants: Variants) -> dict[str, str]:
    return {model.digest: name for name, model in variants.models.items()}


def _upload_rows(tracker: Tracker, run: str, finished: Finished, work: Work) -> str:
    """Upload the measured rows to ``run`` as a dataset, and return its digest."""
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
    """Return the version of each variant, and the names of the variants that were added."""
    known = {version.tags.get(registry.TAG_DIGEST): version for version in tracker.versions(model)}
    found: dict[str, Version] = {}
    added = []
    for name, variant in track(finished.variants.models.items(), "register", len(finished.variants.models), "variants"):
        tags = _verdict_tags(finished.reported[name], finished.kind) | _platform_tags(name, finished.report.data)
        version = known.get(variant.digest)
        if version is None:
            tracker.upload(run, variant.path, f"variants/{name}")
            _upload_expected(tracker, run, finished.accuracy, name)
            tags = _origin_tags(variant, finished, config) | tags
            version = tracker.add_version(model, run, f"variants/{name}", tags, _description(variant, config))
            added.append(name)
        if config.require_approval and registry.TAG_APPROVAL not in version.tags:
            tags = tags | {registry.TAG_APPROVAL: config.run}
        tracker.tag_version(version, tags)
        found[name] = version
    return found, added


def _upload_expected(tracker: Tracker, run: str, accuracy: Measurement, name: str) -> None:
    """Upload the expected predictions of the variant ``name`` beside its files, for its server."""
    folder = accuracy.path / "expected" / name
    if (folder / expected.FILE).is_file():
        tracker.upload(run, folder, f"variants/{name}")


def _origin_tags(variant: Model, finished: Finished, config: Config) -> dict[str, str]:
    """Return the tags of a new version: what it is, and what it was made from."""
    sources = [(entry.kind, str(entry.source["sha256"])) for entry in variant.lineage if "sha256" in entry.source]
    steps = [f"{entry.step} {entry.digest}" for entry in variant.lineage]
    return {
        registry.TAG_DIGEST: variant.digest,
        registry.TAG_VARIANT: variant.variant,
        "backend": variant.signature.backend,
        "origin": variant.signature.origin,
        "dataset": finished.dataset.digest,
        "source_sha256": " ".join(digest for kind, digest in sources if kind == "dataset"),
        "base_sha256": " ".join(digest for kind, digest in sources if kind != "dataset"),
        "lineage": "\n".join(steps),
        "pipeline": config.pipeline,
        "run": config.run,
        "size_bytes": str(variant.size_bytes),
    }


def _verdict_tags(reported: Mapping[str, Any], kind: str) -> dict[str, str]:
    """Return the last verdict on a version as tags, each once more with the kind of processor in its name."""
    tags = {name: str(reported[name]).lower() for name in ("accurate", "faster")}
    tags |= {name: f"{reported[name]:.4f}" for name in ("speedup", "accuracy", "agreement")}
    tags |= {
        registry.TAG_REJECTION: "" if reported["accurate"] else str(reported["reasons"][0])[:MAX_REASON_CHARACTERS]
    }
    return {**tags, "processor": kind, **{f"{name}.{kind}": value for name, value in tags.items()}}


def _platform_tags(name: str, report: Mapping[str, Any]) -> dict[str, str]:
    """Return the result of the variant ``name`` on another architecture, {} if it was not run there."""
    platform = report["platform_parity"]
    result = platform["variants"].get(name)
    return {f"parity.{platform['architecture']}": result["summary"]} if result else {}


def _description(variant: Model, config: Config) -> str:
    made = f" made by {config.pipeline}" if config.pipeline else ""
    return f"{variant.variant} for {variant.signature.backend},{made} digest {short_digest(variant.digest)}"


def _aliases(finished: Finished) -> list[str]:
    return [registry.CANDIDATE, f"{registry.CANDIDATE}-{finished.kind}"]


def _headline(finished: Finished) -> dict[str, float]:
    """Return the metrics by which pipeline runs are compared in MLflow: of each variant, and of the winner."""
    names = ("accuracy", "worst_class_accuracy", "agreement", "p50_ms", "p95_ms", "size_bytes", "speedup")
    winner = finished.reported[finished.verdict.data["winner"]]
    metrics = {f"winner.{key}": float(winner[key]) for key in names}
    for name, entry in finished.reported.items():
        metrics |= {f"{name}.{key}": float(entry[key]) for key in names}
    cost = finished.report.data["cost"]
    return {**metrics, "cpu_seconds": cost["cpu_seconds"], "gpu_seconds": cost["gpu_seconds"]}
