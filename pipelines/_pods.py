"""The pod of each step on a cluster: resources, GPU, nodes, timeout, retries, environment and labels.

Kubeflow Pipelines' local runner ignores all of it.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kfp import dsl  # imported late: reading compiled pipelines needs the constants of this module, but not kfp

STEP_IMPORT = re.compile(r"from toolchain\.([\w.]+) import")  # the import in a component's body, which names its step
STEPS_CONFIG = "toolchain-steps"  # the chart's Secret and ConfigMap with the environment of step pods
SECRET_KEYS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "HF_TOKEN",
)
REQUIRED_KEYS = ("MLFLOW_TRACKING_URI", "TOOLCHAIN_BUCKET")  # without these, results would be lost with the pod
OPTIONAL_KEYS = ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "TOOLCHAIN_CHECKPOINTS", "HF_ENDPOINT")
GPU = "nvidia.com/gpu"  # resource, and taint of the nodes that have it
VNNI = "feature.node.kubernetes.io/cpu-cpuid.AVX512VNNI"  # label of node-feature-discovery
GIB = 1024**3
BACKOFF = {  # 20, 40, 80 s; KFP requires a maximum
    "backoff_duration": "20s",
    "backoff_factor": 2.0,
    "backoff_max_duration": "604800s",
}


@dataclass(frozen=True)
class Size:
    """Factors on the resources of every step."""

    cpu: float  # on the CPU request
    burst: int  # CPU limit / CPU request
    memory: float  # on the memory
    storage: float  # on the scratch space


SIZES = {
    "small": Size(0.25, 4, 0.5, 0.5),  # one step at a time beside the services on a node with 2 cores
    "medium": Size(1, 2, 1, 1),  # a node with 4 cores and 16 GiB
    "large": Size(4, 1, 2, 4),  # millions of rows, models of a gigabyte
}
DEFAULT_SIZE = "medium"


@dataclass(frozen=True)
class Resources:
    """Resources of a step's pod at size medium, and how it is scheduled."""

    cpu: float = 1  # cores
    memory: float = 2  # GiB
    storage: float = 4  # GiB of scratch space, inputs and outputs included
    timeout_minutes: int = 30
    retries: int = 3  # after evictions and lost nodes; an error of the step itself is not retried
    gpu: bool = False  # whether the step is faster on a GPU
    exclusive_cores: bool = False  # whole cores, with requests equal to limits (Guaranteed QoS)
    prefers_vnni: bool = False  # whether results depend on the INT8 instructions of the node


RESOURCES = {  # of steps for which the defaults do not fit
    "data.ingest": Resources(storage=8),
    "data.images": Resources(memory=4, storage=20, timeout_minutes=60),
    "data.annotations": Resources(memory=4, storage=20, timeout_minutes=60),
    "augment.images": Resources(cpu=2, memory=4, storage=20, timeout_minutes=60),
    "train.torch_text": Resources(cpu=4, memory=8, storage=8, timeout_minutes=12 * 60, gpu=True),
    "train.torch_image": Resources(cpu=4, memory=8, storage=20, timeout_minutes=12 * 60, gpu=True),
    "train.torch_detector": Resources(cpu=4, memory=8, storage=20, timeout_minutes=12 * 60, gpu=True),
    "optimize.prune": Resources(cpu=4, memory=8, storage=8, timeout_minutes=6 * 60, gpu=True),
    "export.onnx": Resources(memory=6, storage=8),
    "optimize.quantize": Resources(cpu=2, memory=8, storage=8, timeout_minutes=120, prefers_vnni=True),
    "evaluate.accuracy": Resources(cpu=4, memory=6, storage=8, timeout_minutes=120),
    "evaluate.latency": Resources(
        cpu=4, memory=6, storage=8, timeout_minutes=60, exclusive_cores=True, prefers_vnni=True
    ),
    "release.fetch": Resources(storage=8),
    "release.register": Resources(storage=8),
    "release.report": Resources(memory=3, storage=8),
}
_size: ContextVar[str] = ContextVar("size", default=DEFAULT_SIZE)


@contextmanager
def pod_size(size: str) -> Iterator[None]:
    """Scale the resources of pods that are configured in the block by ``size``, one of SIZES."""
    token = _size.set(size)
    try:
        yield
    finally:
        _size.reset(token)


def configure_pod(
    task: "dsl.PipelineTask", num_gpus: Any = 0, gpu_type: Any = GPU, node_selector: Any = None
) -> "dsl.PipelineTask":
    """Name ``task`` after its step, configure its pod, and return it.

    Args:
        task: A task of one of the toolchain's components.
        num_gpus: Number of GPUs, or a pipeline parameter; ignored for steps that do not use a GPU.
        gpu_type: Resource name of a GPU, nvidia.com/gpu or a part of one such as nvidia.com/mig-3g.40gb.
        node_selector: A pipeline parameter with labels that the node must have; None: any node.
    """
    from kfp import kubernetes

    step = step_of(task)
    resources = RESOURCES.get(step, Resources())
    task.set_display_name(step)
    _set_resources(task, resources, SIZES[_size.get()])
    if resources.gpu:
        task.set_accelerator_type(gpu_type).set_accelerator_limit(num_gpus)
        kubernetes.add_toleration(task, key=GPU, operator="Exists", effect="NoSchedule")
    if resources.prefers_vnni:
        kubernetes.add_node_affinity(task, [{"key": VNNI, "operator": "In", "values": ["true"]}], weight=100)
    if node_selector is not None:
        kubernetes.add_node_selector_json(task, node_selector)
    task.set_retry(resources.retries, **BACKOFF)
    kubernetes.set_timeout(task, resources.timeout_minutes * 60)
    kubernetes.set_image_pull_policy(task, "IfNotPresent")
    _set_environment(task)
    _set_labels(task, step)
    return task


def configure_training_pod(
    task: "dsl.PipelineTask", num_gpus: int = 0, gpu_type: str = GPU, training_node_selector: dict[str, Any] = {}
) -> "dsl.PipelineTask":
    """Configure the pod of ``task``, which can use a GPU.

    Args:
        num_gpus: Number of GPUs required, 0 or 1; 0: use one if available.
        gpu_type: On a cluster: resource name of a GPU, nvidia.com/gpu or a part of one such as nvidia.com/mig-3g.40gb.
        training_node_selector: On a cluster: labels of the nodes to train on, {"nvidia.com/gpu.product": "NVIDIA-L4"}.
    """
    return configure_pod(task, num_gpus, gpu_type, training_node_selector)


def configure_measurement_pod(
    task: "dsl.PipelineTask", measurement_node_selector: dict[str, Any] = {}
) -> "dsl.PipelineTask":
    """Configure the pod of ``task``, whose results depend on the node.

    Args:
        measurement_node_selector: On a cluster: labels of the nodes to quantize and measure on.
    """
    return configure_pod(task, node_selector=measurement_node_selector)


def step_of(task: "dsl.PipelineTask") -> str:
    """Return the "stage.step" that ``task`` runs."""
    container = task.component_spec.implementation.container
    found = STEP_IMPORT.search("\n".join(map(str, [*(container.command or []), *(container.args or [])])))
    assert found, f"{task.name} does not import a step of the toolchain"
    return found.group(1)


def _set_resources(task: "dsl.PipelineTask", resources: Resources, size: Size) -> None:
    """Set requests and limits of CPU, memory and scratch space; exclusive cores have equal requests and limits."""
    from kfp import kubernetes

    cores = resources.cpu * size.cpu
    request = round(1000 * max(1, round(cores)) if resources.exclusive_cores else 1000 * cores)
    limit = request if resources.exclusive_cores else max(1000, request * size.burst)
    memory = f"{round(1024 * resources.memory * size.memory)}Mi"
    task.set_cpu_request(f"{request}m").set_cpu_limit(f"{limit}m")
    task.set_memory_request(memory).set_memory_limit(memory)
    storage = round(GIB * resources.storage * size.storage)
    kubernetes.empty_dir_mount(task, "scratch", "/tmp", size_limit=str(storage))
    if not resources.gpu:  # KFP has no setting for ephemeral storage, but takes one resource by name for each step
        task.set_accelerator_type("ephemeral-storage").set_accelerator_limit(storage)


def _set_environment(task: "dsl.PipelineTask") -> None:
    """Pass the services and their secrets to the step; a cluster whose nodes have IAM roles needs no S3 keys."""
    from kfp import kubernetes

    kubernetes.use_secret_as_env(task, STEPS_CONFIG, {key: key for key in SECRET_KEYS}, optional=True)
    kubernetes.use_config_map_as_env(task, STEPS_CONFIG, {key: key for key in REQUIRED_KEYS})
    kubernetes.use_config_map_as_env(task, STEPS_CONFIG, {key: key for key in OPTIONAL_KEYS}, optional=True)


def _set_labels(task: "dsl.PipelineTask", step: str) -> None:
    """Label the pods, for kubectl. All tasks need the same label keys: KFP names templates by their number only."""
    from kfp import kubernetes
    from kfp.dsl.pipeline_context import Pipeline

    pipeline = Pipeline.get_default_pipeline()
    kubernetes.add_pod_label(task, "app.kubernetes.io/part-of", "toolchain")
    kubernetes.add_pod_label(task, "app.kubernetes.io/name", pipeline.name.replace("-", "_") if pipeline else "")
    kubernetes.add_pod_label(task, "app.kubernetes.io/component", step)
