"""The device that training runs on, its precision, and this process's rank among those that torchrun started."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from toolchain.errors import ConfigError, TrainingError
from toolchain.hardware import cpu
from toolchain.progress import log_info

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")


@dataclass(frozen=True)
class TrainingDevice:
    """The device of one training process, alone or one of ``world_size``."""

    device: "torch.device"
    dtype: "torch.dtype | None"  # of matrix products under autocast; None: float32
    rank: int = 0  # the main process, 0, reports and writes
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @property
    def gpus(self) -> int:
        """The number of GPUs that all processes hold."""
        return self.world_size if self.device.type == "cuda" else 0

    def name(self) -> str:
        """Return a readable name: the GPU's with its dtype, or the CPU's number of threads."""
        import torch

        if self.device.type == "cuda":
            name = torch.cuda.get_device_name(self.device)
            return f"{self.world_size} x {name}, {str(self.dtype).removeprefix('torch.')}"
        return f"CPU, {self.world_size * torch.get_num_threads()} threads, float32"

    def fingerprint(self) -> str:
        """Return a text that identifies the hardware; results are equal where it is equal."""
        return f"{self.name()}, {self.world_size} processes, {cpu.describe().kind}"

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context of a forward pass."""
        import torch

        return torch.autocast(self.device.type, self.dtype) if self.dtype else nullcontext()

    def shard(self, items: Sequence[Item]) -> list[Item]:
        """Return this process's part of ``items``: none when there are fewer items than processes."""
        return list(items[self.rank :: self.world_size])

    def all_reduce(self, values: "torch.Tensor") -> "torch.Tensor":
        """Return the sum of ``values`` over all processes."""
        from torch import distributed

        if self.world_size > 1:
            distributed.all_reduce(values)
        return values

    def parallel(self, model: Any) -> Any:
        """Return ``model`` with its gradients averaged over all processes."""
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(model) if self.world_size > 1 else model

    def barrier(self) -> None:
        """Wait until every process has reached this line."""
        from torch import distributed

        if self.world_size > 1:
            distributed.barrier()


@contextmanager
def gpu_memory_reported(batch: str, remedy: str) -> Iterator[None]:
    """Report a full GPU in one line: it cannot hold ``batch``, and ``remedy`` helps.

    Raises:
        TrainingError: the GPU's memory is full.
    """
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(f"the GPU's memory does not hold {batch}; {remedy}") from error


def check_gpus(num_gpus: int) -> None:
    """Raise ConfigError unless ``num_gpus``, the number that a step requires, is 0 or 1."""
    if num_gpus not in (0, 1):
        raise ConfigError(
            f"num_gpus must be 0 or 1, got {num_gpus}: a step is one process; for several, start it by torchrun"
        )


def require_gpus(num_gpus: int, allow_cpu: bool) -> None:
    """Check that the required ``num_gpus`` exist, or that the CPU may be used instead.

    Raises:
        ConfigError: PyTorch finds fewer; the message has the reason.
    """
    import torch

    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if found >= num_gpus:
        return
    if not allow_cpu:
        raise ConfigError(
            f"num_gpus is {num_gpus}, but PyTorch finds {found} ({why_no_gpu()}); "
            "run it on a machine with one, or set allow_cpu=true"
        )
    log_info(f"no GPU ({why_no_gpu()}): training on the CPU, as allowed")


def why_no_gpu() -> str:
    """Return the reason why PyTorch finds no GPU."""
    import torch

    if torch.version.cuda is None:
        return "PyTorch's CPU build is installed"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]  # PyTorch left it untyped
    except (RuntimeError, AssertionError) as error:
        return str(error).partition("\n")[0].rstrip(".")
    return "there is none"


@contextmanager
def training_device() -> Iterator[TrainingDevice]:
    """Yield this process's device: a GPU in half precision where there is one, the CPU in float32 otherwise.

    bfloat16 where the GPU computes in it, float16 with a scaled loss on older ones. A CPU stays in
    float32, which is faster there than bfloat16 on all but the newest, with no more threads than its cores.
    """
    import torch
    from torch import distributed

    torch.set_num_threads(min(torch.get_num_threads(), cpu.describe().cores))  # a container's quota counts
    torch.use_deterministic_algorithms(True, warn_only=True)  # if CUDA has one; those of CPUs are deterministic
    joined = not distributed.is_initialized()
    rank, world = _join("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield _device_of(rank, world)
    finally:
        if joined and world > 1:
            distributed.destroy_process_group()


def _device_of(rank: int, world: int) -> TrainingDevice:
    import torch
    from torch import distributed

    if not torch.cuda.is_available():
        return TrainingDevice(torch.device("cpu"), None, rank, world)
    device = torch.device("cuda", distributed.get_node_local_rank() if world > 1 else 0)
    torch.cuda.set_device(device)
    return TrainingDevice(device, torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16, rank, world)


def _join(backend: str) -> tuple[int, int]:
    """Join the processes that torchrun started, if any; return this one's rank and their number."""
    from torch import distributed

    if not (distributed.is_available() and distributed.is_torchelastic_launched()):
        return 0, 1
    if not distributed.is_initialized():
        distributed.init_process_group(backend)
    return distributed.get_rank(), distributed.get_world_size()
