"""Plan a run before it starts: which steps are cached, and which must run."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.compiled.spec import Specification, Task
from cli.state_files import read_record, warn_damaged

CONSEQUENCE = "its step runs again"  # of a damaged cache entry
METADATA_ONLY = ("system.Metrics", "system.ClassificationMetrics")  # types of artifacts without a file


@dataclass(frozen=True)
class Plan:
    """The cache keys of a pipeline's tasks, and the results that exist already."""

    spec: Specification
    values: Mapping[str, Any]  # of the pipeline's parameters
    keys: Mapping[str, str]  # cache key by task
    results: Mapping[str, dict[str, str]]  # output paths by task, for cached tasks only

    @property
    def complete(self) -> bool:
        """Whether every task is cached."""
        return len(self.results) == len(self.spec.tasks)

    @property
    def extras(self) -> set[str]:
        """The extras that the steps left to run need: an image has the name of the extra that it contains."""
        left = (task for task in self.spec.tasks if task.is_step and task.name not in self.results)
        return {task.image.rpartition("/")[2].partition(":")[0] for task in left}


def make_plan(spec: Specification, values: Mapping[str, Any], keys: Mapping[str, str], cache: Path) -> Plan:
    """Return the plan for ``spec``, with the results that ``cache`` holds."""
    found = {task.name: cached_outputs(task, keys[task.name], cache) for task in spec.tasks}
    return Plan(spec, values, keys, {name: outputs for name, outputs in found.items() if outputs is not None})


def cached_outputs(task: Task, key: str, cache: Path) -> dict[str, str] | None:
    """Return the output paths that are cached under ``key``, or None if any of them is missing.

    KFP runs a cached task again when the file of an ``Output[Metrics]`` is missing, although no step writes one:
    metrics are stored as metadata. This function therefore creates that file, empty.
    """
    entry = entry_file(task, key, cache)
    artifacts = cached_artifacts(entry)
    if artifacts is None:
        return None
    if task.outputs.keys() - artifacts.keys():
        _remove_damaged(entry)
        return None
    for uri, schema_title in artifacts.values():
        file = Path(uri)
        if schema_title in METADATA_ONLY and file.parent.is_dir() and not file.exists():
            file.touch()
    paths = {name: uri for name, (uri, _) in artifacts.items()}
    return paths if all(Path(path).exists() for path in paths.values()) else None


def cached_artifacts(entry: Path) -> dict[str, tuple[str, str]] | None:
    """Return the path and the type of each artifact in the cache's ``entry``, or None if there is no such entry.

    A damaged entry is removed, because KFP would fail on it.
    """
    if not entry.is_file():
        return None
    outputs = read_record(entry, CONSEQUENCE)
    artifacts = {name: value for name, value in (outputs or {}).items() if isinstance(value, dict) and "uri" in value}
    fields = [value.get(key) for value in artifacts.values() for key in ("uri", "schema_title")]
    if outputs is None or not all(isinstance(field, str) for field in fields):
        _remove_damaged(entry)
        return None
    return {name: (value["uri"], value["schema_title"]) for name, value in artifacts.items()}


def _remove_damaged(entry: Path) -> None:
    warn_damaged(entry, CONSEQUENCE)
    entry.unlink()


def without_cache(plan: Plan, cache: Path) -> Plan:
    """Remove the cache entries of ``plan``, so that every step runs again; the results of earlier runs stay."""
    for task in plan.spec.tasks:
        entry_file(task, plan.keys[task.name], cache).unlink(missing_ok=True)
    return Plan(plan.spec, plan.values, plan.keys, {})


def entry_file(task: Task, key: str, cache: Path) -> Path:
    """Return the file in which KFP caches a task's outputs under our ``key`` (kfp/local/cache.py, ``compute_key``)."""
    return cache / f"{hashlib.sha256(task.component.encode() + bytes(1) + key.encode()).hexdigest()}.json"
