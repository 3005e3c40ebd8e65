"""What Kubeflow Pipelines and Argo add to the pods of a run, as the chart sets it."""

import json
import re
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


def test_a_pod_is_tried_again_when_a_service_was_down_and_not_when_it_refused_the_keys(
    render: Callable[..., Resources],
) -> None:
    workflow = told(render(), "ml-pipeline", "workflow.json")
    expression = workflow["templateDefaults"]["retryStrategy"]["expression"]
    never = re.compile(re.findall("'(.*?)'", expression)[0])
    again = re.compile(re.findall("'(.*?)'", expression)[2])
    refused = (
        "Error (exit code 64): failed to put file: The request signature we calculated does not match the signature"
    )
    assert never.search(refused)
    assert never.search("toolchain.errors.ServiceError: s3://b/k: S3 denied access; give the owner the right")
    assert not never.search("toolchain.errors.ServiceError: s3://b/k: no S3 answers")
    assert again.search("toolchain.errors.ServiceError: s3://b/k: no S3 answers")
