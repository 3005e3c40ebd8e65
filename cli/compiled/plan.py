"""What a submission will do, known before it starts: which steps are cached, which must run."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.compiled.spec import Specification, Task
from cli.state_files import read_record, warn_damaged

UNREADABLE = "its step runs again"
IN_METADATA = ("system.Metrics", "system.ClassificationMetrics")  # artifacts that live in metadata and have no file


@dataclass(frozen=True)
class Plan:
    """The keys of a pipeline's tasks and the results that are there already."""

    spec: Specification
    values: Mapping[str, Any]  # the pipeline's parameters
    keys: Mapping[str, str]  # cache key by task
    results: Mapping[str, dict[str, str]]  # output paths by task, of the cached ones

    @property
    def complete(self) -> bool:
        """Whether nothing is left to run."""
        return len(self.results) == len(self.spec.tasks)

    @property
    def extras(self) -> set[str]:
        """The extras that the steps left to run need: an image has the name of the extra that it contains."""
        left = (task for task in self.spec.tasks if task.ours and task.name not in self.results)
        return {task.image.rpartition("/")[2].partition(":")[0] for task in left}


def make_plan(spec: Specification, values: Mapping[str, Any], keys: Mapping[str, str], cache: Path) -> Plan:
    """Return the plan for ``spec`` with what ``cache`` holds."""
    found = {task.name: cached_outputs(task, keys[task.name], cache) for task in spec.tasks}
    return Plan(spec, values, keys, {name: outputs for name, outputs in found.items() if outputs is not None})


def cached_outputs(task: Task, key: str, cache: Path) -> dict[str, str] | None:
    """Return the paths of the outputs that ``key`` stands for, or None where they are not (all) there.

    KFP takes a cached task for lost when the file of an ``Output[Metrics]`` is absent, though no step writes one: their
    numbers are metadata. So that file is made here, empty.
    """
    artifacts = artifacts_in(entry_file(task, key, cache))
    if artifacts is None:
        return None
    for uri, kind in artifacts.values():
        file = Path(uri)
        if kind in IN_METADATA and file.parent.is_dir() and not file.exists():
            file.touch()
    paths = {name: uri for name, (uri, _) in artifacts.items()}
    return paths if all(Path(path).exists() for path in paths.values()) else None


def artifacts_in(entry: Path) -> dict[str, tuple[str, str]] | None:
    """Return path and type of each artifact that the cache's ``entry`` names, None where there is no such entry.

    A damaged one is removed: KFP would stumble over it.
    """
    if not entry.is_file():
        return None
    outputs = read_record(entry, UNREADABLE)
    try:
        found = {name: value for name, value in (outputs or {}).items() if isinstance(value, dict) and "uri" in value}
        artifacts = {name: (str(value["uri"]), str(value["schema_title"])) for name, value in found.items()}
    except KeyError:
        outputs = None
        warn_damaged(entry, UNREADABLE)
    if outputs is None:
        entry.unlink()
        return None
    return artifacts


def forget(plan: Plan, cache: Path) -> Plan:
    """Remove the cache entries of ``plan``, so that all of it runs again; the results of earlier runs stay."""
    for task in plan.spec.tasks:
        entry_file(task, plan.keys[task.name], cache).unlink(missing_ok=True)
    return Plan(plan.spec, plan.values, plan.keys, {})


def entry_file(task: Task, key: str, cache: Path) -> Path:
    """Return where KFP keeps a task's outputs under a key that we chose (kfp/local/cache.py, ``compute_key``)."""
    return cache / f"{hashlib.sha256(task.component.encode() + bytes(1) + key.encode()).hexdigest()}.json"
