"""Transform a compiled pipeline for a cluster: add pod labels and cache keys, remove what no pod reads."""

import ast
import re
from collections.abc import Mapping
from typing import Any

import yaml

from cli.compiled.spec import documents

MAX_LABEL_CHARACTERS = 63  # Kubernetes' limit
RUN, OWNER, SCHEDULE = "toolchain/run", "toolchain/owner", "toolchain/schedule"
Documents = list[dict[str, Any]]  # of a compiled pipeline


def labels_of(run: str, owner: str, schedule: str = "") -> dict[str, str]:
    """Return the labels of all pods of a run.

    A recurring run of Kubeflow Pipelines has one set of labels for all its runs. For these ``run`` is the name of the
    schedule, and the label pipeline/runid, which Kubeflow Pipelines adds to every pod, identifies the run.
    """
    return {RUN: run, OWNER: owner, SCHEDULE: schedule}


def transform(compiled: str, labels: Mapping[str, str], keys: Mapping[str, str] | None = None) -> str:
    """Return the ``compiled`` pipeline as it is sent to a cluster.

    Args:
        compiled: Its YAML.
        labels: Labels for the pods of all steps; values are made valid for Kubernetes.
        keys: The cache key of each task; None: Kubeflow Pipelines computes its own.
    """
    parts = list(documents(compiled))
    _add_labels(parts, labels)
    _add_keys(parts, keys or {})
    _trim(parts)
    return yaml.dump_all(parts, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False)


def label(text: str) -> str:
    """Return ``text`` as a valid label value of Kubernetes: letters, digits, and "-_." between them."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", text)[:MAX_LABEL_CHARACTERS].strip("-_.")


def _add_labels(parts: Documents, labels: Mapping[str, str]) -> None:
    """Label the pods of every step, including steps whose pods the pipeline does not configure."""
    steps = parts[0].get("deploymentSpec", {}).get("executors", {})
    if steps and len(parts) == 1:
        parts.append({"platforms": {"kubernetes": {"deploymentSpec": {"executors": {}}}}})
    for name in steps:
        executors = parts[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        known = executors.setdefault(name, {}).setdefault("podMetadata", {}).setdefault("labels", {})
        known.update({name: label(value) for name, value in labels.items()})


def _add_keys(parts: Documents, keys: Mapping[str, str]) -> None:
    for name, task in parts[0]["root"]["dag"]["tasks"].items():
        if name in keys and task.get("cachingOptions", {}).get("enableCache"):
            task["cachingOptions"]["cacheKey"] = keys[name]


def _trim(parts: Documents) -> None:
    """Remove the descriptions and docstrings of components.

    Argo stores a component's text up to seven times in the record of a run. It compresses a record of over 1 MB, which
    Kubeflow Pipelines cannot read, so its UI would no longer show the steps.
    """
    for component in parts[0].get("components", {}).values():
        for section in ("parameters", "artifacts"):
            for definition in component.get("inputDefinitions", {}).get(section, {}).values():
                definition.pop("description", None)
    for executor in parts[0].get("deploymentSpec", {}).get("executors", {}).values():
        command = executor["container"].get("command", [])
        executor["container"]["command"] = [_without_docstring(argument) for argument in command]


def _without_docstring(argument: str) -> str:
    """Return a component's code without the docstring of its function, and any other ``argument`` unchanged."""
    if "\ndef " not in argument:
        return argument
    function = next(node for node in ast.parse(argument).body if isinstance(node, ast.FunctionDef))
    if ast.get_docstring(function) is None:
        return argument
    docstring, lines = function.body[0], argument.splitlines(keepends=True)
    return "".join(lines[: docstring.lineno - 1] + lines[docstring.end_lineno :])
