"""Read a compiled pipeline: its parameters and its tasks. Importing kfp takes 2 s, so compiled pipelines are cached."""

import hashlib
import importlib
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cli.compiled.catalog import Entry
from cli.settings import ROOT
from cli.state_files import warn_damaged
from pipelines._pods import DEFAULT_SIZE, STEP_IMPORT, pod_size
from toolchain.artifacts.folder import write_file
from toolchain.errors import ConfigError, ToolchainError

TYPES = {"STRING": str, "NUMBER_INTEGER": int, "NUMBER_DOUBLE": float, "BOOLEAN": bool, "LIST": list, "STRUCT": dict}


@dataclass(frozen=True)
class Parameter:
    name: str
    value_type: type  # str, int, float, bool, list or dict
    default: Any  # None if it is required
    required: bool


@dataclass(frozen=True)
class Task:
    """One node of the pipeline's graph."""

    name: str  # in KFP
    step: str  # "stage.step"; the task's name if the component runs no step of the toolchain
    is_step: bool  # whether the component runs a step of the toolchain
    component: str  # name in KFP, "comp-..."
    code: str  # of the component
    image: str
    constants: dict[str, Any]  # arguments fixed by the pipeline, including the component's defaults
    parameters: dict[str, str]  # pipeline parameter by argument
    inputs: dict[str, tuple[str, str]]  # (task, output) by argument, for artifacts and values from other tasks
    after: tuple[str, ...]  # tasks that must end before it starts
    outputs: dict[str, str]  # artifact type by output, such as "system.Metrics"
    cacheable: bool
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Specification:
    name: str  # in KFP: "bert-finetune"
    parameters: dict[str, Parameter]
    tasks: tuple[Task, ...]  # in topological order
    content: dict[str, Any]  # the compiled pipeline


def compile_pipeline(entry: Entry, size: str = DEFAULT_SIZE) -> str:
    """Return the pipeline as YAML, with pods of ``size`` (``pipelines/_pods.py``). Imports kfp."""
    from kfp import compiler

    sys.modules.pop(f"pipelines.{entry.name}", None)  # a pipeline is built when its module is imported
    with pod_size(size), tempfile.TemporaryDirectory() as folder:
        function = getattr(importlib.import_module(f"pipelines.{entry.name}"), entry.name)
        target = Path(folder) / f"{entry.name}.yaml"
        compiler.Compiler().compile(function, str(target))
        return target.read_text(encoding="utf-8")


def load(entry: Entry, cache: Path) -> Specification:
    """Return the pipeline's specification from the folder ``cache``; compile it if its code or a component changed."""
    file = cache / f"{entry.name}-{_code_digest(entry)[:16]}.yaml"
    text = _cached_text(file)
    if text is None:
        text = compile_pipeline(entry)
        _store(file, text)
    return read(text)


def _cached_text(file: Path) -> str | None:
    """Return the compiled pipeline in ``file``, or None if the file is missing or was changed."""
    if not file.is_file():
        return None
    head, _, text = file.read_bytes().partition(b"\n")
    if head != _header(text):
        warn_damaged(file, "the pipeline is compiled again")
        return None
    return text.decode()


def _store(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_file(file, _header(text.encode()) + b"\n" + text.encode())
    except (OSError, ToolchainError):  # the cache only saves time: without it, the pipeline is compiled each time
        return


def _header(text: bytes) -> bytes:
    return f"# SHA-256 of the following lines: {hashlib.sha256(text).hexdigest()}".encode()


def read(text: str) -> Specification:
    """Return the specification of the compiled pipeline ``text``, which is its first YAML document."""
    content = next(documents(text))
    graph = content["root"]["dag"]["tasks"]
    unsupported = [name for name, task in graph.items() if "iterator" in task or "condition" in str(task)]
    if unsupported:
        raise ConfigError(
            f"loops and conditions are not supported: {', '.join(unsupported)}; remove them from the pipeline"
        )
    tasks = {name: _task(name, task, content) for name, task in graph.items()}
    definitions = content["root"].get("inputDefinitions", {}).get("parameters", {})
    parameters = {name: _parameter(name, definition) for name, definition in definitions.items()}
    return Specification(content["pipelineInfo"]["name"], parameters, tuple(_ordered(tasks)), content)


def documents(text: str) -> Iterator[dict[str, Any]]:
    """Yield the YAML documents of the compiled pipeline ``text``: the pipeline, then its Kubernetes settings."""
    yield from yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _code_digest(entry: Entry) -> str:
    digest = hashlib.sha256()
    shared = [*entry.file.parent.glob("_*.py"), *(ROOT / "components").rglob("*.py")]
    for path in [entry.file, *sorted(shared)]:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _parameter(name: str, definition: dict[str, Any]) -> Parameter:
    value_type = TYPES[definition["parameterType"]]
    default = definition.get("defaultValue")
    if value_type is int and default is not None:
        default = int(default)
    return Parameter(name, value_type, default, required=default is None and not definition.get("isOptional", False))


def _task(name: str, task: dict[str, Any], content: dict[str, Any]) -> Task:
    component = content["components"][task["componentRef"]["name"]]
    container = content["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
    code = "\n".join([*container.get("command", []), *container.get("args", [])])
    found = STEP_IMPORT.search(code)
    inputs = _inputs(task)
    return Task(
        name=name,
        step=found.group(1) if found else name,
        is_step=found is not None,
        component=task["componentRef"]["name"],
        code=code,
        image=container["image"],
        constants={**_defaults(component), **_declared(component, _constants(task))},
        parameters=_declared(component, _pipeline_parameters(task)),
        inputs=inputs,
        after=tuple(sorted({producer for producer, _ in inputs.values()} | set(task.get("dependentTasks", [])))),
        outputs=_outputs(component),
        cacheable=task.get("cachingOptions", {}).get("enableCache", False),
        environment={variable["name"]: variable.get("value", "") for variable in container.get("env", [])},
    )


def _defaults(component: dict[str, Any]) -> dict[str, Any]:
    parameters = component.get("inputDefinitions", {}).get("parameters", {})
    return {
        name: _converted(definition["defaultValue"], definition["parameterType"])
        for name, definition in parameters.items()
        if "defaultValue" in definition
    }


def _declared(component: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that the component declares; KFP adds others, such as the number of GPUs."""
    known = component.get("inputDefinitions", {}).get("parameters", {})
    return {name: value for name, value in given.items() if name in known}


def _converted(value: Any, parameter_type: str) -> Any:
    return int(value) if parameter_type == "NUMBER_INTEGER" else value


def _constants(task: dict[str, Any]) -> dict[str, Any]:
    given = task.get("inputs", {}).get("parameters", {})
    return {name: value["runtimeValue"]["constant"] for name, value in given.items() if "runtimeValue" in value}


def _pipeline_parameters(task: dict[str, Any]) -> dict[str, str]:
    given = task.get("inputs", {}).get("parameters", {})
    return {
        name: value["componentInputParameter"] for name, value in given.items() if "componentInputParameter" in value
    }


def _inputs(task: dict[str, Any]) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for name, value in task.get("inputs", {}).get("artifacts", {}).items():
        found[name] = (value["taskOutputArtifact"]["producerTask"], value["taskOutputArtifact"]["outputArtifactKey"])
    for name, value in task.get("inputs", {}).get("parameters", {}).items():
        if "taskOutputParameter" in value:
            output = value["taskOutputParameter"]
            found[name] = (output["producerTask"], output["outputParameterKey"])
    return found


def _outputs(component: dict[str, Any]) -> dict[str, str]:
    artifacts = component.get("outputDefinitions", {}).get("artifacts", {})
    return {name: value["artifactType"]["schemaTitle"] for name, value in artifacts.items()}


def _ordered(tasks: dict[str, Task]) -> list[Task]:
    ordered: list[Task] = []
    waiting = dict(tasks)
    while waiting:
        done = {task.name for task in ordered}
        ready = [task for task in waiting.values() if set(task.after) <= done]
        ordered += ready
        for task in ready:
            del waiting[task.name]
    return ordered
