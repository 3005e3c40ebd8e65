"""Where and how each step runs on a cluster: cores, memory, scratch space, GPUs, nodes, patience, secrets and labels.

On one machine all of it means nothing, and Kubeflow Pipelines' local runner passes over it.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kfp import dsl  # imported late: who only reads compiled pipelines needs what is named here, and not kfp

DOOR = re.compile(r"from toolchain\.([\w.]+) import")  # the import inside a component's body names its step
OURS = "toolchain-steps"  # Secret and ConfigMap with what step pods may know; the chart makes them
SECRETS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "HF_TOKEN",
)
NEEDED = ("MLFLOW_TRACKING_URI", "TOOLCHAIN_BUCKET")  # without these a step would write where nobody looks
OPTIONAL = ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "TOOLCHAIN_CHECKPOINTS", "HF_ENDPOINT")
GPU = "nvidia.com/gpu"  # resource, and taint of the nodes that have it
VNNI = "feature.node.kubernetes.io/cpu-cpuid.AVX512VNNI"  # node-feature-discovery's label
GIB = 1024**3
BACK_OFF = {
    "backoff_duration": "20s",
    "backoff_factor": 2.0,
    "backoff_max_duration": "604800s",
}  # 20, 40, 80 s; within a week


@dataclass(frozen=True)
class Size:
    """How much of each need a step gets."""

    cpu: float  # times the cores below
    burst: int  # times its cores that a step may use where they are idle
    memory: float  # times the memory below
    storage: float  # times the scratch space below


SIZES = {
    "small": Size(0.25, 4, 0.5, 0.5),  # one step at a time beside the platform on a node of two cores
    "medium": Size(1, 2, 1, 1),  # a node of four cores and 16 GiB
    "large": Size(4, 1, 2, 4),  # millions of rows, models of a gigabyte
}
DEFAULT_SIZE = "medium"


@dataclass(frozen=True)
class Needs:
    """What a step takes at size medium."""

    cpu: float = 1  # cores
    memory: float = 2  # GiB
    storage: float = 4  # GiB of scratch space, inputs and outputs included
    minutes: int = 30  # a step that takes longer hangs
    retries: int = 3  # after evictions and lost nodes; a step's own errors are not tried again
    gpu: bool = False  # whether it gains from one
    alone: bool = False  # whether its cores must be its own (Guaranteed QoS)
    int8: bool = False  # whether what it finds depends on the INT8 instructions of its node


NEEDS = {
    "data.ingest": Needs(storage=8),
    "data.images": Needs(memory=4, storage=20, minutes=60),
    "data.annotations": Needs(memory=4, storage=20, minutes=60),
    "augment.images": Needs(cpu=2, memory=4, storage=20, minutes=60),
    "train.torch_text": Needs(cpu=4, memory=8, storage=8, minutes=12 * 60, gpu=True),
    "train.torch_image": Needs(cpu=4, memory=8, storage=20, minutes=12 * 60, gpu=True),
    "train.torch_detector": Needs(cpu=4, memory=8, storage=20, minutes=12 * 60, gpu=True),
    "optimize.prune": Needs(cpu=4, memory=8, storage=8, minutes=6 * 60, gpu=True),
    "export.onnx": Needs(memory=6, storage=8),
    "optimize.quantize": Needs(cpu=2, memory=8, storage=8, minutes=120, int8=True),
    "evaluate.accuracy": Needs(cpu=4, memory=6, storage=8, minutes=120),
    "evaluate.latency": Needs(cpu=4, memory=6, storage=8, minutes=60, alone=True, int8=True),
    "release.fetch": Needs(storage=8),
    "release.register": Needs(storage=8),
    "release.report": Needs(memory=3, storage=8),
}
_size: ContextVar[str] = ContextVar("size", default=DEFAULT_SIZE)


@contextmanager
def sized(size: str) -> Iterator[None]:
    """Give steps that are placed in the block the needs of ``size``, one of SIZES."""
    token = _size.set(size)
    try:
        yield
    finally:
        _size.reset(token)


def placed(task: "dsl.PipelineTask", gpus: Any = 0, gpu_type: Any = GPU, nodes: Any = None) -> "dsl.PipelineTask":
    """Name ``task`` after its step, give it its place on a cluster, and return it.

    Args:
        task: A task of one of our components.
        gpus: How many GPUs it asks for, a number or a pipeline's parameter; steps that gain from none ignore it.
        gpu_type: The resource's name, ``nvidia.com/gpu`` or a part of a GPU such as ``nvidia.com/mig-3g.40gb``.
        nodes: A pipeline's parameter with labels that its node must have; None: any node does.
    """
    from kfp import kubernetes

    step = step_of(task)
    needs = NEEDS.get(step, Needs())
    task.set_display_name(step)
    _ask(task, needs, SIZES[_size.get()])
    if needs.gpu:
        task.set_accelerator_type(gpu_type).set_accelerator_limit(gpus)
        kubernetes.add_toleration(task, key=GPU, operator="Exists", effect="NoSchedule")
    if needs.int8:
        kubernetes.add_node_affinity(task, [{"key": VNNI, "operator": "In", "values": ["true"]}], weight=100)
    if nodes is not None:
        kubernetes.add_node_selector_json(task, nodes)
    task.set_retry(needs.retries, **BACK_OFF)
    kubernetes.set_timeout(task, needs.minutes * 60)
    kubernetes.set_image_pull_policy(task, "IfNotPresent")
    _tell(task)
    _label(task, step)
    return task


def step_of(task: "dsl.PipelineTask") -> str:
    """Return the "stage.step" that ``task`` runs."""
    container = task.component_spec.implementation.container
    door = DOOR.search("\n".join(map(str, [*(container.command or []), *(container.args or [])])))
    assert door, f"{task.name} opens no door to the toolchain"
    return door.group(1)


def _ask(task: "dsl.PipelineTask", needs: Needs, size: Size) -> None:
    """Ask for cores, memory and scratch space; a step with cores of its own may use no more than it asks for."""
    from kfp import kubernetes

    millicores = round(1000 * max(1, round(needs.cpu * size.cpu)) if needs.alone else 1000 * needs.cpu * size.cpu)
    most = millicores if needs.alone else max(1000, millicores * size.burst)
    memory = f"{round(1024 * needs.memory * size.memory)}Mi"
    task.set_cpu_request(f"{millicores}m").set_cpu_limit(f"{most}m")
    task.set_memory_request(memory).set_memory_limit(memory)
    storage = round(GIB * needs.storage * size.storage)
    kubernetes.empty_dir_mount(task, "scratch", "/tmp", size_limit=str(storage))
    if not needs.gpu:  # KFP has no word for storage, but counts any resource by its name, one for each step
        task.set_accelerator_type("ephemeral-storage").set_accelerator_limit(storage)


def _tell(task: "dsl.PipelineTask") -> None:
    """Let the step know the services and their secrets; a cluster whose nodes have roles needs no S3 keys."""
    from kfp import kubernetes

    kubernetes.use_secret_as_env(task, OURS, {key: key for key in SECRETS}, optional=True)
    kubernetes.use_config_map_as_env(task, OURS, {key: key for key in NEEDED})
    kubernetes.use_config_map_as_env(task, OURS, {key: key for key in OPTIONAL}, optional=True)


def _label(task: "dsl.PipelineTask", step: str) -> None:
    """Label the pods, for kubectl. Every task has the same labels: KFP tells templates apart by their number only."""
    from kfp import kubernetes
    from kfp.dsl.pipeline_context import Pipeline

    pipeline = Pipeline.get_default_pipeline()
    kubernetes.add_pod_label(task, "app.kubernetes.io/part-of", "toolchain")
    kubernetes.add_pod_label(task, "app.kubernetes.io/name", pipeline.name.replace("-", "_") if pipeline else "")
    kubernetes.add_pod_label(task, "app.kubernetes.io/component", step)
