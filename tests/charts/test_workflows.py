"""What Kubeflow Pipelines and Argo add to the pods of a run, as the chart sets it."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

Resources = tuple[dict[str, Any], ...]


def setting(resources: Resources, name: str, key: str) -> dict[str, Any]:
    """Return what ConfigMap ``name`` says under ``key``, parsed."""
    data = next(r["data"] for r in resources if r["kind"] == "ConfigMap" and r["metadata"]["name"] == name)
    return yaml.safe_load(data[key])


def test_limits_of_containers_beside_a_step_equal_requests_for_the_class_guaranteed(
    render: Callable[..., Resources],
) -> None:
    workflow = setting(render(), "ml-pipeline", "workflow.json")
    launcher = json.loads(workflow["podSpecPatch"])["initContainers"][0]
    executor = setting(render(), "workflow-controller-configmap", "executor")
    for resources in (launcher["resources"], executor["resources"]):
        assert set(resources["limits"]) == {"cpu", "memory"}
        assert resources["limits"] == resources["requests"]


def test_pods_without_a_launcher_get_no_patch_for_it(render: Callable[..., Resources]) -> None:
    workflow = setting(render(), "ml-pipeline", "workflow.json")
    launcher = json.loads(workflow["podSpecPatch"])["initContainers"][0]
    default = json.loads(workflow["templateDefaults"]["podSpecPatch"])
    assert default == {"initContainers": [{"name": launcher["name"], "$patch": "delete"}]}


RBAC = (
    "main: Error (exit code 1): F1125 main.go:127] KFP driver: failed to create pvc: "
    'persistentvolumeclaims is forbidden: User "s" cannot create resource '
    '"persistentvolumeclaims" in API group "" in the namespace "n"'
)


@pytest.mark.parametrize(
    ("message", "again"),
    [
        (RBAC, False),
        ('pods "x" is forbidden: violates PodSecurity "restricted:latest"', False),
        ("main: Error (exit code 1): failed to create pvc: pvc is forbidden: exceeded quota: q", True),
        ("main: Error (exit code 1): failed to connect to metadata-grpc-service", True),
        ("main: Error (exit code 1): failed to execute component: exit status 1", False),
        ("main: Error (exit code 1): ServiceError: S3 is down\nfailed to execute component: exit status 1", True),
        ("main: ServiceError: s3://b/k: no S3 answers\nfailed to execute component: exit status 1", True),
        ("main: ServiceError: s3://b/k: S3 denied access\nfailed to execute component: exit status 1", False),
        ("wait: failed to put file: The request signature we calculated does not match the signature", False),
        ("pod deleted", True),
        ("OOMKilled (exit code 137)", False),
    ],
)
def test_which_failed_pods_are_retried(render: Callable[..., Resources], message: str, again: bool) -> None:
    workflow = setting(render(), "ml-pipeline", "workflow.json")
    assert evaluated(workflow["templateDefaults"]["retryStrategy"]["expression"], message) is again


def evaluated(expression: str, message: str) -> bool:
    """Return what Argo's ``expression`` gives for ``message``: the operators of expr-lang that it uses, in Python's."""
    patterns: list[str] = re.findall("'(.*?)'", expression)
    for number, pattern in enumerate(patterns):
        expression = expression.replace(f"'{pattern}'", f"patterns[{number}]", 1)
    for operator, call in (("matches", "matches"), ("contains", "contains"), ("startsWith", "starts")):
        expression = re.sub(rf"lastRetry\.message {operator} (patterns\[\d+\])", rf"{call}(\1)", expression)
    expression = re.sub(r"\((starts\(.*?\)) \? (.*) : (.*)\)$", r"((\2) if \1 else \3)", expression)
    known = {
        "patterns": patterns,
        "matches": lambda pattern: re.search(pattern, message) is not None,
        "contains": lambda part: part in message,
        "starts": message.startswith,
    }
    return bool(eval(expression, {"__builtins__": {}}, known))  # the chart's own text
