"""Cache keys: what a task's result depends on, known before anything runs.

A key is a digest of the component's code, of every toolchain module that its step imports, of its arguments, of the
content behind those that name a file or URI, of the keys of the tasks it takes artifacts from, and of the machine's
environment. KFP's own key sees neither the package's code nor a changed file.
"""

import hashlib
import platform
import re
from collections.abc import Callable, Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from cli.compiled.sources import MAX_LENGTH, path_of
from cli.compiled.spec import Specification, Task
from cli.settings import ROOT, Settings
from components import images
from toolchain.artifacts.digest import sha256_of_file, sha256_of_json
from toolchain.import_closure import runtime_files
from toolchain.services.locations import files_in
from toolchain.services.storage import version

REMOTE = ("s3://", "http://", "https://", "hf://")
BY_CONTENT = re.compile(r"^s3://[^/]+/sources/[0-9a-f]{64}/")  # what a submission brought: it never changes
DAYS = 90  # that a result on a cluster is used at most; half as long as the chart lets artifacts live
REGISTRY_STEPS = "release."  # steps that write to the registry depend on which registry that is


def task_keys(spec: Specification, values: Mapping[str, Any], settings: Settings, salt: str) -> dict[str, str]:
    """Return the key of each task by its name; a task that must not be cached gets one that ``salt`` makes new."""

    def described(task: Task) -> dict[str, Any]:
        known = sorted(arguments(task, values).items())
        return {
            "code": code_digest(task.step),
            "arguments": {name: _identity(name, value) if task.cached else value for name, value in known},
            "environment": [task.environment, environment()],
            "registry": settings.tracking_uri if task.step.startswith(REGISTRY_STEPS) else "",
            "salt": "" if task.cached else salt,
        }

    return _chained(spec, described)


def cluster_keys(spec: Specification, values: Mapping[str, Any], salt: str, today: date) -> dict[str, str]:
    """Return the cache key of each task on a cluster.

    The content of a remote file is unknown until a pod reads it, so ``salt`` changes the keys of the tasks that read
    one, and of all that follow: KFP's own key would reuse yesterday's rows.
    """

    def described(task: Task) -> dict[str, Any]:
        known = arguments(task, values)
        return {
            "code": code_digest(task.step) if task.ours else "",
            "libraries": images.libraries(task.image),
            "arguments": dict(sorted(known.items())),
            "environment": task.environment,
            "period": today.toordinal() // DAYS,
            "salt": "" if task.cached and not any(map(_may_change, known.values())) else salt,
        }

    return _chained(spec, described)


def _chained(spec: Specification, described: Callable[[Task], dict[str, Any]]) -> dict[str, str]:
    """Return a key for each task: of how it is ``described``, of its component, and of the keys before it."""
    keys: dict[str, str] = {}
    for task in spec.tasks:
        keys[task.name] = sha256_of_json(
            {
                **described(task),
                "component": task.source,
                "inputs": {name: [keys[producer], output] for name, (producer, output) in sorted(task.inputs.items())},
                "after": [keys[name] for name in task.after],
            }
        )
    return keys


def _may_change(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(REMOTE) and not BY_CONTENT.match(value)


def arguments(task: Task, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``task`` that are known before it runs: its constants and the pipeline's parameters."""
    return {**task.constants, **{name: values[parameter] for name, parameter in task.parameters.items()}}


def code_digest(step: str) -> str:
    """Return a digest of the toolchain modules that ``step`` needs at run time, and of the data files beside them."""
    digest = hashlib.sha256()
    for path in sorted(runtime_files([f"toolchain.{step}"], ROOT)):
        digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()


@cache
def environment() -> dict[str, str]:
    """Return what a result may depend on besides code: Python, the pinned libraries, the processor."""
    pins = ROOT / "constraints.txt"
    return {
        "python": platform.python_version(),
        "libraries": sha256_of_file(pins) if pins.is_file() else "",
        "processor": _processor_name(),
    }


def _identity(argument: str, value: Any) -> Any:
    """Return ``value``, with the identity of the content behind it when it names a file, a folder or a URI."""
    if isinstance(value, str) and value.startswith(REMOTE) and len(value) <= MAX_LENGTH and "\n" not in value:
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
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns  # the last changes even when a copy keeps the second


def _processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        return platform.processor() or platform.machine()
    lines = cpuinfo.read_text().splitlines()
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
