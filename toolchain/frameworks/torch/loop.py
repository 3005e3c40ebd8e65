"""The training loop of PyTorch, which trains on batches with a loss and a metric and keeps the best epoch's weights.

It implements the learning-rate schedule, mixed precision, several processes, checkpoints, validation, early stopping
and reporting. A trainer passes a ``Learner``. Equal data, settings and machines give equal weights, also when a
training was killed and resumed from its checkpoint.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from toolchain.errors import TrainingError
from toolchain.frameworks.learning_rate import linear_decay
from toolchain.frameworks.torch.checkpoint import Checkpoint
from toolchain.frameworks.torch.device import TrainingDevice
from toolchain.frameworks.torch.tensors import load_tensors
from toolchain.frameworks.training_state import Scores, TrainingState, epoch_seed
from toolchain.progress import Progress, ReportThrottle, log_info
from toolchain.services.mlflow_live import live_run

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module, Parameter
    from torch.optim import Optimizer

STEPS_BETWEEN_LOGS = 10  # reading the loss makes a GPU wait; a NaN is still found, since it stays in the sum
LOG_INTERVAL_S = 2.0  # at most, where steps are slow; several processes must log after the same steps

Report = Callable[[TrainingState, Mapping[str, float]], None]  # called with the progress of a training, and its metrics


class LoopSettings(Protocol):
    """The settings of a step that the loop reads: fields of its ``Config``."""

    @property
    def epochs(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...  # at its peak
    @property
    def warmup_ratio(self) -> float: ...  # share of all steps in which the rate rises, 0..1
    @property
    def max_grad_norm(self) -> float: ...  # larger gradients are clipped
    @property
    def patience(self) -> int: ...  # epochs without a better validation accuracy after which training ends
    @property
    def checkpoint_batches(self) -> int: ...  # batches between two checkpoints
    @property
    def seed(self) -> int: ...


class BatchLoss(NamedTuple):
    """The loss of one batch."""

    mean: "Tensor"  # scalar, differentiable; of several processes: this one's part of the whole batch's mean
    weight: float  # in the epoch's mean: the batch's rows, or 1 where batches count equally
    items: int  # tokens or images, for the speed


@dataclass(frozen=True, kw_only=True)
class Learner:
    """The task of a training loop: a model on its device, its batches, its loss and its metric."""

    model: "Module"  # trained in place; ends with the weights of the best epoch
    trained: "dict[str, Parameter]"  # those of the model that the optimizer updates
    optimizer: "Optimizer"
    batches: Callable[[int], Sequence[list[int]]]  # of an epoch, from 0: positions of rows; sets the training mode
    batches_per_epoch: int
    loss: Callable[[list[int], int], BatchLoss]  # of the rows at these positions, at this step
    validate: Callable[[], Scores]
    unit: str  # what speed counts: "tokens" or "images"
    decay: Callable[[int, int, float], float] = linear_decay  # step, steps, warmup to a share of the learning rate
    averaged: "Module | None" = None  # a moving average of the model, which is kept instead
    after_step: Callable[[int], None] = lambda step: None
    keep_best: bool = True  # False keeps the weights of the last epoch


class TrainingLoop:
    """The training of one model, from its last checkpoint to the end."""

    def __init__(self, learner: Learner, settings: LoopSettings, device: TrainingDevice) -> None:
        import torch

        self.learner, self.settings, self.device, self.state = learner, settings, device, TrainingState()
        self.steps = learner.batches_per_epoch * settings.epochs
        self.scaler = torch.amp.GradScaler(device.device.type, enabled=device.dtype == torch.float16)
        self.loss = torch.zeros((), dtype=torch.float64, device=device.device)  # of this process, as state.loss
        self.best: dict[str, Tensor] = {}
        self.throttle = ReportThrottle(STEPS_BETWEEN_LOGS, LOG_INTERVAL_S if device.world_size == 1 else math.inf)

    def run(self, report: Report, checkpoint: Checkpoint | None = None) -> TrainingState:
        """Train until the last epoch or ``patience``, and load the best epoch's weights into the model.

        Raises:
            TrainingError: the loss is NaN or infinite.
        """
        self._resume(checkpoint)
        for batch in self._batches():
            self._train_step(batch)
            position = self.state.step % self.learner.batches_per_epoch
            if position == 0:
                report(self.state, self._end_epoch())
            elif self.throttle.should_report():
                report(self.state, self._metrics())
            if checkpoint and position % self.settings.checkpoint_batches == 0 and self.state.step < self.steps:
                self._save(checkpoint)
            if position == 0 and self.state.is_stale(self.settings.patience):
                break
        load_tensors(self.learner.model, self.best, strict=False)
        return self.state

    def _batches(self) -> Iterator[list[int]]:
        """Yield the remaining batches, in an order that depends on the seed and the epoch only."""
        per_epoch = self.learner.batches_per_epoch
        for epoch in range(self.state.step // per_epoch, self.settings.epochs):
            yield from self.learner.batches(epoch)[self.state.step - epoch * per_epoch :]

    def _train_step(self, batch: list[int]) -> None:
        import torch

        began, state, world = time.perf_counter(), self.state, self.device.world_size
        torch.manual_seed(epoch_seed(self.settings.seed, state.step * world + self.device.rank))  # of dropout
        loss = self.learner.loss(batch, state.step)
        scaled: torch.Tensor = self.scaler.scale(loss.mean * world)  # gradients are averaged over processes
        torch.autograd.backward(scaled)
        self._update()
        self.learner.after_step(state.step)
        self.loss += loss.mean.detach().double() * loss.weight
        state.weight += loss.weight
        state.step += 1
        state.items += loss.items
        state.seconds += time.perf_counter() - began

    def _update(self) -> None:
        """Update the weights by their gradients, at this step's learning rate."""
        import torch

        settings, optimizer = self.settings, self.learner.optimizer
        rate = settings.learning_rate * self.learner.decay(self.state.step, self.steps, settings.warmup_ratio)
        for group in optimizer.param_groups:
            group["lr"] = rate
        self.scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(self.learner.trained.values(), settings.max_grad_norm, foreach=True)
        self.scaler.step(optimizer)
        self.scaler.update()
        optimizer.zero_grad()

    def _metrics(self) -> dict[str, float]:
        """Return the metrics of this epoch so far.

        Raises:
            TrainingError: the loss is NaN or infinite.
        """
        loss = self.device.all_reduce(self.loss.clone()).item() / self.state.weight
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} after {self.state.step} batches; lower the learning rate (now "
                f"{self.settings.learning_rate:g}), lengthen the warmup or clip gradients to a smaller norm"
            )
        return {"loss": loss, f"{self.learner.unit}_per_second": self.state.items_per_second}

    def _end_epoch(self) -> dict[str, float]:
        """Validate; keep the weights if they are the best so far, or if the last ones are wanted."""
        metrics, scores = self._metrics(), self.learner.validate()
        if self.state.end_epoch(metrics["loss"], scores) or not self.learner.keep_best:
            self.best = {name: value.clone() for name, value in self._weights(self._kept).items()}
        self.loss.zero_()
        self.state.weight = 0.0
        return {**metrics, **scores}  # type: ignore[dict-item]  # Scores holds floats only

    @property
    def _kept(self) -> "Module":
        return self.learner.averaged or self.learner.model

    def _weights(self, module: "Module") -> "dict[str, Tensor]":
        """Return the state of ``module`` without the parameters that never change."""
        frozen = {name for name, _ in module.named_parameters()} - self.learner.trained.keys()
        return {name: value.detach() for name, value in module.state_dict().items() if name not in frozen}

    def _save(self, checkpoint: Checkpoint) -> None:
        self.state.loss = self.device.all_reduce(self.loss.clone()).item()
        if self.device.is_main:
            parts = {"optimizer": self.learner.optimizer.state_dict(), "scaler": self.scaler.state_dict()}
            weights = {"weights": self._weights(self.learner.model), "kept": self._weights(self._kept)}
            checkpoint.save({"state": asdict(self.state), "best": self.best, **weights, **parts})

    def _resume(self, checkpoint: Checkpoint | None) -> None:
        saved = checkpoint.load(self.device.device) if checkpoint else None
        if saved is None:
            return
        load_tensors(self._kept, saved["kept"], strict=False)
        load_tensors(self.learner.model, saved["weights"], strict=False)
        self.learner.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        self.best, self.state = saved["best"], TrainingState(**saved["state"])
        if self.device.is_main:  # the saved sum is over all processes
            self.loss += self.state.loss


def adamw(
    trained: "Mapping[str, Parameter]", learning_rate: float, weight_decay: float, fused: bool = True
) -> "Optimizer":
    """Return AdamW in one ``fused`` kernel; biases and the scales of norms do not decay (as in BERT's own code)."""
    import torch

    groups = [
        {"params": [weight for weight in trained.values() if weight.ndim > 1], "weight_decay": weight_decay},
        {"params": [weight for weight in trained.values() if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, fused=fused)


@contextmanager
def live_report(
    step: str, config: Mapping[str, object], batches: int, data: str, device: TrainingDevice
) -> Iterator[Report]:
    """Yield a function that reports training in the log and to MLflow, from the main process.

    Args:
        step: The step's name ("train.torch_text").
        config: Its settings.
        batches: Number of batches in all epochs.
        data: Description of the training data ("45 rows").
    """
    if not device.is_main:
        yield lambda state, metrics: None
        return
    log_info(f"training on {data}: {batches:,} batches in {config['epochs']} epochs, {device.name()}")
    with live_run(step, config) as live, Progress("train", batches, "batches") as progress:

        def report(state: TrainingState, metrics: Mapping[str, float]) -> None:
            progress.advance(state.step - progress.done, **metrics)
            live.log(state.step, **metrics)

        yield report


def training_notes(state: TrainingState, model: "Module", unit: str, device: TrainingDevice) -> dict[str, Any]:
    """Return the metrics of a finished training, for the notes of its model."""
    best: dict[str, Any] = {name: value for name, value in state.best.items() if name not in ("epoch", "seconds")}
    return {
        **best,
        "best_epoch": state.best["epoch"],
        "epochs": len(state.history),
        f"{unit}_per_second": round(state.items_per_second, 2),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "history": state.history,
        "device": device.name(),
    }
