"""Compute the cache key of each task before anything runs.

A key is a digest of everything that a result depends on: the component's code, every toolchain module that its step
imports, its arguments, the content of files and URIs among these, the keys of the tasks whose outputs it reads, and the
environment. KFP's own key covers neither the package's code nor the content of files.
"""

import hashlib
import platform
import re
from collections.abc import Callable, Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from cli.compiled.sources import MAX_PATH_CHARACTERS, path_of
from cli.compiled.spec import Specification, Task
from cli.settings import ROOT, Settings
from components import images
from toolchain.artifacts.digest import sha256_of_file, sha256_of_json
from toolchain.import_closure import runtime_files
from toolchain.services.locations import files_in
from toolchain.services.storage import version

REMOTE = ("s3://", "http://", "https://", "hf://")
UPLOADED = re.compile(r"^s3://[^/]+/sources/[0-9a-f]{64}/")  # files that a submission uploaded: they never change
MAX_AGE_DAYS = 90  # of a cached result on a cluster; half the lifetime of artifacts in the chart
REGISTRY_STAGE = "release."  # prefix of steps that write to the registry, whose address is part of their keys


def local_keys(spec: Specification, values: Mapping[str, Any], settings: Settings, salt: str) -> dict[str, str]:
    """Return the key of each task on this machine; ``salt`` makes the key of an uncacheable task unique."""

    def inputs(task: Task) -> dict[str, Any]:
        known = sorted(arguments(task, values).items())
        return {
            "code": code_digest(task.step),
            "arguments": {name: _identity(name, value) if task.cacheable else value for name, value in known},
            "environment": [task.environment, environment()],
            "registry": settings.tracking_uri if task.step.startswith(REGISTRY_STAGE) else "",
            "salt": "" if task.cacheable else salt,
        }

    return _chained(spec, inputs)


def cluster_keys(spec: Specification, values: Mapping[str, Any], salt: str, today: date) -> dict[str, str]:
    """Return the key of each task on a cluster.

    The content of a remote file is unknown until a pod reads it, so ``salt`` changes the keys of the tasks that read
    one, and of all later tasks: KFP's own key would reuse yesterday's rows.
    """

    def inputs(task: Task) -> dict[str, Any]:
        known = arguments(task, values)
        return {
            "code": code_digest(task.step) if task.is_step else "",
            "libraries": images.libraries(task.image),
            "arguments": dict(sorted(known.items())),
            "environment": task.environment,
            "period": today.toordinal() // MAX_AGE_DAYS,
            "salt": "" if task.cacheable and not any(map(_may_change, known.values())) else salt,
        }

    return _chained(spec, inputs)


def _chained(spec: Specification, inputs: Callable[[Task], dict[str, Any]]) -> dict[str, str]:
    """Return a key for each task: a digest of its ``inputs``, its component, and the keys of the tasks before it."""
    keys: dict[str, str] = {}
    for task in spec.tasks:
        keys[task.name] = sha256_of_json(
            {
                **inputs(task),
                "component": task.code,
                "inputs": {name: [keys[producer], output] for name, (producer, output) in sorted(task.inputs.items())},
                "after": [keys[name] for name in task.after],
            }
        )
    return keys


def _may_change(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(REMOTE) and not UPLOADED.match(value)


def arguments(task: Task, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``task`` that are known before it runs: constants and pipeline parameters."""
    return {**task.constants, **{name: values[parameter] for name, parameter in task.parameters.items()}}


def code_digest(step: str) -> str:
    """Return a digest of the toolchain modules that ``step`` imports at run time, and of their data files."""
    digest = hashlib.sha256()
    for path in sorted(runtime_files([f"toolchain.{step}"], ROOT)):
        digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()


@cache
def environment() -> dict[str, str]:
    """Return what a result depends on besides code: Python, the pinned libraries, the processor."""
    pins = ROOT / "constraints.txt"
    return {
        "python": platform.python_version(),
        "libraries": sha256_of_file(pins) if pins.is_file() else "",
        "processor": _processor_name(),
    }


def _identity(argument: str, value: Any) -> Any:
    """Return ``value``; for a file, a folder or a URI, together with a digest or version of its content."""
    if isinstance(value, str) and value.startswith(REMOTE) and len(value) <= MAX_PATH_CHARACTERS and "\n" not in value:
        return [value, version(value)]
    path = path_of(argument, value)
    if path is None:
        return value
    if path.is_file():
        return [value, sha256_of_file(path)]
    files = [file for file in files_in(path) if "__pycache__" not in file.parts]
    return [value, sorted((file.relative_to(path).as_posix(), *_stamp(file)) for file in files)]


def _stamp(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns  # a copy may preserve the second, but not the third


def _processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        return platform.processor() or platform.machine()
    lines = cpuinfo.read_text().splitlines()
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
