"""What Kubeflow Pipelines and Argo add to the pods of a run, as the chart sets it."""

import json
from collections.abc import Callable
from typing import Any

import yaml

Resources = tuple[dict[str, Any], ...]


def told(resources: Resources, name: str, key: str) -> dict[str, Any]:
    """Return what ConfigMap ``name`` says under ``key``, parsed."""
    data = next(r["data"] for r in resources if r["kind"] == "ConfigMap" and r["metadata"]["name"] == name)
    return yaml.safe_load(data[key])


def test_containers_around_a_step_use_what_they_ask_for_so_that_its_pod_can_be_guaranteed(
    render: Callable[..., Resources],
) -> None:
    workflow = told(render(), "ml-pipeline", "workflow.json")
    launcher = json.loads(workflow["podSpecPatch"])["initContainers"][0]
    executor = told(render(), "workflow-controller-configmap", "executor")
    for resources in (launcher["resources"], executor["resources"]):
        assert set(resources["limits"]) == {"cpu", "memory"}
        assert resources["limits"] == resources["requests"]


def test_pods_without_a_launcher_get_none(render: Callable[..., Resources]) -> None:
    workflow = told(render(), "ml-pipeline", "workflow.json")
    launcher = json.loads(workflow["podSpecPatch"])["initContainers"][0]
    default = json.loads(workflow["templateDefaults"]["podSpecPatch"])
    assert default == {"initContainers": [{"name": launcher["name"], "$patch": "delete"}]}
