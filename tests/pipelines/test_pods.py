"""The pods of compiled pipelines, read from their YAML."""

from functools import cache

import pytest
import yaml

from pipelines._pods import RESOURCES, SIZES
from tests.support.compiled_pipelines import PIPELINES, compiled_text, specification, tasks
from toolchain.services.kubernetes import quantity

TRAINING = ("bert_finetune", "vision_classify", "vision_detect")


@cache
def compiled(name: str, size: str = "medium") -> tuple[dict, dict]:
    pipeline, platform = yaml.load_all(compiled_text(name, size), Loader=yaml.CSafeLoader)
    executors = {label: value["container"] for label, value in pipeline["deploymentSpec"]["executors"].items()}
    return executors, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


@pytest.mark.parametrize("name", PIPELINES)
def test_every_pod_has_requests_limits_a_timeout_and_scratch_space(name: str):
    executors, platform = compiled(name)
    assert executors.keys() == platform.keys()
    for label, container in executors.items():
        resources = container["resources"]
        assert quantity(resources["resourceCpuRequest"]) <= quantity(resources["resourceCpuLimit"])
        assert quantity(resources["resourceMemoryRequest"]) == quantity(resources["resourceMemoryLimit"])
        assert resources["accelerator"]
        assert int(platform[label]["activeDeadlineSeconds"]) >= 1800
        assert platform[label]["imagePullPolicy"] == "IfNotPresent"
        assert platform[label]["emptyDirMounts"][0]["mountPath"] == "/tmp"


@pytest.mark.parametrize("name", PIPELINES)
def test_every_task_is_named_after_its_step_and_retried(name: str):
    text = compiled_text(name)
    content = next(iter(yaml.load_all(text, Loader=yaml.CSafeLoader)))
    tasks = content["root"]["dag"]["tasks"]
    for task in specification(name).tasks:
        assert tasks[task.name]["taskInfo"]["name"] == task.step
        assert tasks[task.name]["retryPolicy"]["maxRetryCount"] > 0
        assert "backoffDuration" in tasks[task.name]["retryPolicy"]


def test_every_pod_of_size_small_fits_a_node_with_two_cores():
    executors, _ = compiled("bert_finetune", "small")
    assert max(quantity(container["resources"]["resourceCpuRequest"]) for container in executors.values()) <= 1


def test_latency_has_exclusive_cores():
    for size in SIZES:
        resources = compiled("measure", size)[0]["exec-latency"]["resources"]
        cores = quantity(resources["resourceCpuRequest"])
        assert cores == quantity(resources["resourceCpuLimit"])
        assert cores == int(cores) >= 1


@pytest.mark.parametrize("name", TRAINING)
def test_training_requests_gpus_by_parameters_and_tolerates_their_taint(name: str):
    executors, platform = compiled(name)
    (label,) = [label for label in executors if label in ("exec-torch-text", "exec-torch-image", "exec-torch-detector")]
    accelerator = executors[label]["resources"]["accelerator"]
    assert accelerator["resourceCount"] == "{{$.inputs.parameters['pipelinechannel--num_gpus']}}"
    assert accelerator["resourceType"] == "{{$.inputs.parameters['pipelinechannel--gpu_type']}}"
    assert platform[label]["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert platform[label]["nodeSelector"]["nodeSelectorJson"] == {"componentInputParameter": "training_node_selector"}


def test_int8_steps_prefer_nodes_with_vnni():
    _, platform = compiled("bert_finetune")
    for label in ("exec-quantize", "exec-latency"):
        (affinity,) = platform[label]["nodeAffinity"]
        assert affinity["matchExpressions"][0]["key"].endswith("AVX512VNNI")
        assert affinity["weight"] == 100


def test_secrets_come_from_the_secret_of_the_chart():
    _, platform = compiled("prepare")
    secret = platform["exec-ingest"]["secretAsEnv"][0]
    assert secret["secretName"] == "toolchain-steps"
    assert {key["envVar"] for key in secret["keyToEnv"]} >= {"AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD"}


def test_settings_of_pods_are_no_arguments_of_a_step():
    training = tasks("bert_finetune")["train.torch_text"]
    arguments = {**training.constants, **training.parameters}
    assert not [name for name in arguments if name.startswith(("pipelinechannel", "accelerator"))]
    assert arguments["num_gpus"] == "num_gpus"


def test_resources_name_steps_of_pipelines():
    steps = {step for name in PIPELINES for step in tasks(name)}
    assert RESOURCES.keys() <= steps
