"""A compiled pipeline, read: its parameters and its tasks. Compiling needs kfp (2 s), so what was compiled is kept."""

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

KINDS = {"STRING": str, "NUMBER_INTEGER": int, "NUMBER_DOUBLE": float, "BOOLEAN": bool, "LIST": list, "STRUCT": dict}


@dataclass(frozen=True)
class Parameter:
    name: str
    kind: type  # str, int, float, bool, list or dict
    default: Any  # None when it must be given
    required: bool


@dataclass(frozen=True)
class Task:
    """One node of the pipeline's graph."""

    name: str  # KFP's name of the task
    step: str  # "stage.step", or the task's name where the component is not one of ours
    ours: bool  # whether the component calls a step of the toolchain
    component: str  # KFP's name of the component, "comp-..."
    source: str  # the component's code
    image: str  # that its pod runs
    constants: dict[str, Any]  # arguments fixed by the pipeline, component defaults included
    parameters: dict[str, str]  # arguments that are pipeline parameters, by the component's name
    inputs: dict[str, tuple[str, str]]  # artifacts and values from other tasks: (task, output)
    after: tuple[str, ...]  # every task that must be done before
    outputs: dict[str, str]  # artifact type by output name: "system.Metrics"
    cached: bool  # whether the pipeline lets it be cached
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Specification:
    name: str  # as KFP has it: "bert-finetune"
    parameters: dict[str, Parameter]
    tasks: tuple[Task, ...]  # in an order in which they can run
    content: dict[str, Any]  # the compiled pipeline itself


def compile_pipeline(entry: Entry, size: str = DEFAULT_SIZE) -> str:
    """Return the YAML that a cluster runs, its steps placed by ``size`` (``pipelines/_pods.py``). Imports kfp."""
    from kfp import compiler

    sys.modules.pop(f"pipelines.{entry.name}", None)  # a pipeline is built when its module is imported
    with pod_size(size), tempfile.TemporaryDirectory() as folder:
        function = getattr(importlib.import_module(f"pipelines.{entry.name}"), entry.name)
        target = Path(folder) / f"{entry.name}.yaml"
        compiler.Compiler().compile(function, str(target))
        return target.read_text(encoding="utf-8")


def load(entry: Entry, kept: Path) -> Specification:
    """Return the pipeline's specification, compiled anew only when its code or a component's changed since.

    ``kept`` is the folder where compiled pipelines stay.
    """
    file = kept / f"{entry.name}-{_code_digest(entry)[:16]}.yaml"
    text = _kept_text(file)
    if text is None:
        text = compile_pipeline(entry)
        _keep(file, text)
    return read(text)


def _kept_text(file: Path) -> str | None:
    """Return the compiled pipeline in ``file``, None where there is none, or it is not as it was written."""
    if not file.is_file():
        return None
    head, _, text = file.read_bytes().partition(b"\n")
    if head != _mark(text):
        warn_damaged(file, "the pipeline is compiled again")
        return None
    return text.decode()


def _keep(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_file(file, _mark(text.encode()) + b"\n" + text.encode())
    except (OSError, ToolchainError):  # it is kept to save two seconds; where that cannot be, it is compiled each time
        return


def _mark(text: bytes) -> bytes:
    return f"# SHA-256 of what follows: {hashlib.sha256(text).hexdigest()}".encode()


def read(text: str) -> Specification:
    """Return what the compiled pipeline ``text`` says; of several documents the first is the pipeline."""
    content = next(documents(text))
    graph = content["root"]["dag"]["tasks"]
    unsupported = [name for name, task in graph.items() if "iterator" in task or "condition" in str(task)]
    if unsupported:
        raise ConfigError(f"loops and conditions run on a cluster only: {', '.join(unsupported)}")
    tasks = {name: _task(name, task, content) for name, task in graph.items()}
    definitions = content["root"].get("inputDefinitions", {}).get("parameters", {})
    parameters = {name: _parameter(name, definition) for name, definition in definitions.items()}
    return Specification(content["pipelineInfo"]["name"], parameters, tuple(_ordered(tasks)), content)


def documents(text: str) -> Iterator[dict[str, Any]]:
    """Yield the documents of the compiled pipeline ``text``: the pipeline, then what it asks of its platform."""
    yield from yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _code_digest(entry: Entry) -> str:
    digest = hashlib.sha256()
    shared = [*entry.file.parent.glob("_*.py"), *(ROOT / "components").rglob("*.py")]
    for path in [entry.file, *sorted(shared)]:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _parameter(name: str, definition: dict[str, Any]) -> Parameter:
    kind = KINDS[definition["parameterType"]]
    default = definition.get("defaultValue")
    if kind is int and default is not None:
        default = int(default)
    return Parameter(name, kind, default, required=default is None and not definition.get("isOptional", False))


def _task(name: str, task: dict[str, Any], content: dict[str, Any]) -> Task:
    component = content["components"][task["componentRef"]["name"]]
    container = content["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
    source = "\n".join([*container.get("command", []), *container.get("args", [])])
    found = STEP_IMPORT.search(source)
    inputs = _inputs(task)
    return Task(
        name=name,
        step=found.group(1) if found else name,
        ours=found is not None,
        component=task["componentRef"]["name"],
        source=source,
        image=container["image"],
        constants={**_defaults(component), **_of(component, _constants(task))},
        parameters=_of(component, _pipeline_parameters(task)),
        inputs=inputs,
        after=tuple(sorted({producer for producer, _ in inputs.values()} | set(task.get("dependentTasks", [])))),
        outputs=_outputs(component),
        cached=task.get("cachingOptions", {}).get("enableCache", False),
        environment={variable["name"]: variable.get("value", "") for variable in container.get("env", [])},
    )


def _defaults(component: dict[str, Any]) -> dict[str, Any]:
    parameters = component.get("inputDefinitions", {}).get("parameters", {})
    return {
        name: _as_kind(definition["defaultValue"], definition["parameterType"])
        for name, definition in parameters.items()
        if "defaultValue" in definition
    }


def _of(component: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return what of ``given`` the component takes; the rest asks for GPUs, which is the cluster's affair."""
    known = component.get("inputDefinitions", {}).get("parameters", {})
    return {name: value for name, value in given.items() if name in known}


def _as_kind(value: Any, kind: str) -> Any:
    return int(value) if kind == "NUMBER_INTEGER" else value


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
