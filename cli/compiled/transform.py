"""A compiled pipeline on its way to a cluster: it gets labels for pods and cache keys, and loses what no pod reads."""

import ast
import re
from collections.abc import Mapping
from typing import Any

import yaml

from cli.compiled.spec import documents

LABEL_LENGTH = 63  # characters that Kubernetes takes
RUN, OWNER, SCHEDULE = "toolchain/run", "toolchain/owner", "toolchain/schedule"
Parts = list[dict[str, Any]]  # of a compiled pipeline


def labels_of(run: str, owner: str, schedule: str = "") -> dict[str, str]:
    """Return what the pods of all steps of a run are labelled with, however it was started.

    A recurring run of Kubeflow Pipelines has one set of labels for all its runs: there ``run`` is the schedule's name,
    and the label pipeline/runid, which Kubeflow Pipelines gives every pod, tells its runs apart.
    """
    return {RUN: run, OWNER: owner, SCHEDULE: schedule}


def outgoing(compiled: str, labels: Mapping[str, str], keys: Mapping[str, str] | None = None) -> str:
    """Return the ``compiled`` pipeline as a cluster gets it.

    Args:
        compiled: Its YAML.
        labels: For the pods of all its steps; values are made fit for Kubernetes.
        keys: Our cache key of each task, for Kubeflow Pipelines' cache to use; None leaves it its own.
    """
    parts = list(documents(compiled))
    _label(parts, labels)
    _key(parts, keys or {})
    _trim(parts)
    return yaml.dump_all(parts, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False)


def label(text: str) -> str:
    """Return ``text`` as Kubernetes takes it for a label's value: letters, digits, and "-_." between them."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", text)[:LABEL_LENGTH].strip("-_.")


def _label(parts: Parts, labels: Mapping[str, str]) -> None:
    """Label the pods of every step, also of one that its pipeline did not place and that has no labels yet."""
    steps = parts[0].get("deploymentSpec", {}).get("executors", {})
    if steps and len(parts) == 1:
        parts.append({"platforms": {"kubernetes": {"deploymentSpec": {"executors": {}}}}})
    for name in steps:
        executors = parts[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        known = executors.setdefault(name, {}).setdefault("podMetadata", {}).setdefault("labels", {})
        known.update({name: label(value) for name, value in labels.items()})


def _key(parts: Parts, keys: Mapping[str, str]) -> None:
    for name, task in parts[0]["root"]["dag"]["tasks"].items():
        if name in keys and task.get("cachingOptions", {}).get("enableCache"):
            task["cachingOptions"]["cacheKey"] = keys[name]


def _trim(parts: Parts) -> None:
    """Take descriptions and docstrings out of the components.

    Argo keeps a component's text up to seven times in its record of a run, and packs a record of over 1 MB, which
    Kubeflow Pipelines cannot read: its UI then loses the steps.
    """
    for component in parts[0].get("components", {}).values():
        for kind in ("parameters", "artifacts"):
            for definition in component.get("inputDefinitions", {}).get(kind, {}).values():
                definition.pop("description", None)
    for executor in parts[0].get("deploymentSpec", {}).get("executors", {}).values():
        command = executor["container"].get("command", [])
        executor["container"]["command"] = [_without_docstring(word) for word in command]


def _without_docstring(word: str) -> str:
    """Return the component's code ``word`` without its function's docstring, and any other word as it is."""
    if "\ndef " not in word:
        return word
    function = next(node for node in ast.parse(word).body if isinstance(node, ast.FunctionDef))
    if ast.get_docstring(function) is None:
        return word
    text, lines = function.body[0], word.splitlines(keepends=True)
    return "".join(lines[: text.lineno - 1] + lines[text.end_lineno :])
