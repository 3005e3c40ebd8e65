"""Find and print the lineage of a model: variant, export, training, dataset, source rows, each with its digest."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.tree import Tree

from cli.cluster.tracking import registry_of
from cli.output.summary import print_table
from cli.records import runs
from cli.records.artifacts import VARIANTS, find_artifact
from cli.records.runs import Run
from cli.settings import Settings, open_registry
from toolchain.artifacts.digest import short_digest
from toolchain.artifacts.provenance import Provenance, lineage_from_json
from toolchain.errors import ConfigError, ServiceError, ToolchainError

REQUEST_TIMEOUT_S = 10.0  # the readiness of a model server is immediate
MAX_METRICS = 4  # shown of a step

Lineage = tuple[Provenance, ...]  # of an artifact, oldest first, itself last


@dataclass(frozen=True)
class Lineages:
    """The lineages of a run's or a registered model's variants."""

    title: str
    variants: Mapping[str, Lineage]


def find_lineages(target: str | None, engine: str | None, settings: Settings) -> Lineages:
    """Return the lineages of ``target``: a run, a registered model, or the URL of a model server.

    Args:
        target: None for the latest run that has variants of a model.
        engine: Of the registry, "cluster" or "local"; None for that of ``settings``.
        settings: Of the environment.

    Raises:
        ConfigError: there is no such run or registered model, or the served model is not registered, or no run has
            variants.
        ServiceError: the server at the URL, or MLflow, does not respond.
        ToolchainError: the run ``target`` has no variants.
    """
    known = {run.id: run for run in runs.all_runs(settings.runs)}
    if target is None:
        return _of_latest(known.values(), settings.runs)
    if target in known:
        return _of_run(known[target])
    find = _of_endpoint if target.startswith(("http://", "https://")) else _of_registered
    with registry_of(engine, settings) as found:
        return find(target, found)


def print_tree(lineages: Lineages) -> None:
    """Print a tree of each variant and its ancestors."""
    tree = Tree(lineages.title)
    for variant, lineage in lineages.variants.items():
        _add_ancestors(tree.add(variant), lineage, lineage[-1].digest)
    print_table(tree)


def to_json(lineages: Lineages) -> dict[str, Any]:
    """Return the artifacts of each variant's lineage, oldest first."""
    variants = {name: [entry.to_json() for entry in lineage] for name, lineage in lineages.variants.items()}
    return {"target": lineages.title, "variants": variants}


def _of_latest(newest_first: Iterable[Run], folder: Path) -> Lineages:
    """Return the lineages of the first of the runs that has variants."""
    run = next((run for run in newest_first if find_artifact(run, VARIANTS)), None)
    if run is None:
        raise ConfigError(
            f"no run in {folder} has variants of a model yet; a pipeline makes them, such as toolchain submit "
            "bert_finetune"
        )
    return _of_run(run)


def _of_run(run: Run) -> Lineages:
    from toolchain.artifacts.variants import open_variants

    artifact = find_artifact(run, VARIANTS)
    if artifact is None:
        raise ToolchainError(
            f"{run.id} has no variants of a model: it {run.state} before they were made, or its pipeline makes none"
        )
    if run.engine == runs.CLUSTER:
        return Lineages(run.id, _described(artifact.description, run.verdict))
    variants = open_variants(artifact.folder)
    shown = [run.verdict] if run.verdict in variants.models else list(variants.models)
    return Lineages(run.id, {name: variants.models[name].lineage for name in shown})


def _described(description: Mapping[str, Any], verdict: str) -> Mapping[str, Lineage]:
    """Return the lineage of each variant from the description alone: the models of a run on a cluster stay in S3."""
    lineage = lineage_from_json(description["lineage"])
    by_digest = {entry.digest: entry for entry in lineage}
    variants = {name: by_digest[one] for name, one in description["variants"].items() if one in by_digest}
    shown = [verdict] if verdict in variants else list(variants)
    return {name: (*(entry for entry in lineage if entry is not variants[name]), variants[name]) for name in shown}


def _of_registered(name: str, settings: Settings) -> Lineages:
    from toolchain.lifecycle.registry import registered_lineages

    if not settings.has_registry:
        raise ConfigError(
            f"there is no run {name!r}, and no model is registered yet; run 'toolchain runs' to list runs"
        )
    found = registered_lineages(open_registry(settings), name)
    if not found:
        raise ConfigError(f"there is neither a run nor a registered model {name!r}; run 'toolchain runs' to list runs")
    return Lineages(name, found)


def _of_endpoint(url: str, settings: Settings) -> Lineages:
    from toolchain.lifecycle.registry import find_digest
    from toolchain.services.mlflow_retry import without_credentials

    digest, model = _served_model(url)
    found = find_digest(open_registry(settings), digest, model)
    if found is None:
        raise ConfigError(
            f"{url} serves digest {short_digest(digest)}, which is not in the registry at "
            f"{without_credentials(settings.tracking_uri)}; set MLFLOW_TRACKING_URI to its MLflow server, or use "
            "--engine cluster"
        )
    version, lineage = found
    title = f"{url} serves version {version.number} of {version.model}, digest {short_digest(digest)}"
    return Lineages(title, {version.tags.get("variant", ""): lineage})


def _served_model(url: str) -> tuple[str, str]:
    """Return the digest and the name of the model that the server at ``url`` serves."""
    from toolchain.services import http

    try:
        response = http.request(f"{url.rstrip('/')}/readyz", timeout_s=REQUEST_TIMEOUT_S)
        if not response.is_success:
            raise ServiceError(
                f"{url} returned {response.status_code} {response.reason_phrase}: no model is ready there"
            )
        ready = response.json()
        return str(ready["digest"]), str(ready["name"])
    except http.UnreachableError as error:
        raise ServiceError(f"{url} does not respond ({error}); give the URL that toolchain serve prints") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ServiceError(f"{url} is not a model server of the toolchain: its /readyz has no digest") from error


def _add_ancestors(node: Tree, lineage: Lineage, digest: str) -> None:
    by_digest = {entry.digest: entry for entry in lineage}
    shown: set[str] = set()

    def add(node: Tree, digest: str) -> None:
        entry = by_digest.get(digest)
        if entry is None:
            node.add(f"{short_digest(digest)} (not in this lineage)")
            return
        branch = node.add(_line(entry) + (" (see above)" if digest in shown else ""))
        if digest not in shown:
            shown.add(digest)
            _add_source(branch, entry)
            for parent in entry.parents.values():
                add(branch, parent)

    add(node, digest)


def _line(entry: Provenance) -> str:
    metrics = ", ".join(f"{name} {value:g}" for name, value in list(entry.metrics.items())[:MAX_METRICS])
    return f"{entry.step} → {entry.kind} {short_digest(entry.digest)}" + (f" ({metrics})" if metrics else "")


def _add_source(node: Tree, entry: Provenance) -> None:
    if not entry.source:
        return
    fields = ", ".join(f"{name} {value}" for name, value in entry.source.items())
    node.add(f"source: {fields}")
