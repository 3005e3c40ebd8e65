"""The loop: batches of like length in, better weights out, the best of them kept."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict

from toolchain.errors import TrainingError
from toolchain.frameworks.length_batches import batches_by_length
from toolchain.frameworks.torch.checkpoint import Checkpoint
from toolchain.frameworks.torch.device import Place
from toolchain.frameworks.torch.token_dataset import Rows
from toolchain.progress import ReportThrottle, track

if TYPE_CHECKING:
    import torch

    from toolchain.train.torch_text import Config

STEPS_BETWEEN_LOOKS = 10  # at the loss: each look makes a GPU wait, and a NaN is not missed: it stays in the sum
SECONDS_BETWEEN_LOOKS = 2.0  # at most, where steps are slow; several processes must look after the same steps
VALIDATION_FACTOR = 4  # validation rows at once for each row of a training batch: no gradients are held
EPOCH_SEEDS = 1_000_003  # a prime far above any number of epochs, so that two seeds share no epoch's order


class Epoch(TypedDict):
    """What one epoch came to."""

    epoch: int  # counted from 1
    loss: float  # mean cross-entropy of the training rows, in nats
    validation_loss: float
    validation_accuracy: float
    seconds: float  # spent on batches


@dataclass
class State:
    """How far training has come; with the weights and the optimizer's state all that a resumed run needs."""

    step: int = 0  # batches done, over all epochs
    loss: float = 0.0  # summed over this epoch's rows
    tokens: int = 0  # real ones, over all epochs
    seconds: float = 0.0  # spent on batches, over all epochs
    history: list[Epoch] = field(default_factory=list)

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0

    @property
    def best(self) -> Epoch:
        """The epoch with the highest validation accuracy, the lower loss deciding between equals."""
        return max(self.history, key=lambda epoch: (epoch["validation_accuracy"], -epoch["validation_loss"]))


Watch = Callable[[State, Mapping[str, float]], None]  # is told how far it is, and figures


class Training:
    """One training of one model, from where its checkpoint left it to its end."""

    def __init__(self, model: Any, training: Rows, validation: Rows, config: "Config", place: Place) -> None:
        import torch

        self.model, self.training, self.validation = model.to(place.device), training, validation
        self.config, self.place = config, place
        self.trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.optimizer = _optimizer(self.trained, config)
        self.scaler = torch.amp.GradScaler(place.device.type, enabled=place.half == torch.float16)
        self.per_epoch = -(-len(training) // config.batch_rows)  # batches
        self.steps = self.per_epoch * config.epochs
        self.state = State()
        self.best: dict[str, torch.Tensor] = {}
        self.loss = torch.zeros((), dtype=torch.float64, device=place.device)
        self.throttle = ReportThrottle(STEPS_BETWEEN_LOOKS, SECONDS_BETWEEN_LOOKS if place.world == 1 else math.inf)

    def run(self, watch: Watch, checkpoint: Checkpoint | None = None) -> State:
        """Train to the end, or until ``patience`` epochs brought nothing; leave the best epoch's weights in the model.

        Raises:
            TrainingError: the loss is no number any more.
        """
        self._resume(checkpoint)
        parallel = _parallel(self.model, self.place)
        self.model.train()
        for batch in self._batches():
            self._learn(parallel, batch)
            position = self.state.step % self.per_epoch
            if position == 0:
                watch(self.state, self._end_epoch())
            elif self.throttle.should_report():
                watch(self.state, self._look(position))
            if checkpoint and position % self.config.checkpoint_batches == 0 and self.state.step < self.steps:
                self._save(checkpoint)
            if position == 0 and self._is_stale():
                break
        self.model.load_state_dict(self.best, strict=False)
        return self.state

    def _batches(self) -> Iterator[list[int]]:
        """Yield the batches that are still to do; an epoch's order depends on the seed and the epoch alone."""
        for epoch in range(self.state.step // self.per_epoch, self.config.epochs):
            seed = self.config.seed * EPOCH_SEEDS + epoch
            batches = batches_by_length(self.training.lengths.tolist(), self.config.batch_rows, seed)
            yield from batches[self.state.step - epoch * self.per_epoch :]

    def _learn(self, parallel: Any, batch: list[int]) -> None:
        """Take one step on ``batch``, by the mean loss of all its rows, however many processes share them."""
        import torch
        from torch.nn.functional import cross_entropy

        began = time.perf_counter()
        torch.manual_seed(self.config.seed * EPOCH_SEEDS + self.state.step * self.place.world + self.place.rank)
        mine = self.place.share(batch)
        rows = self.training.batch(mine or batch[:1], self.place.device)
        with self.place.precision():
            loss = cross_entropy(parallel(**rows.inputs).logits.float(), rows.labels, reduction="sum") * bool(mine)
        scaled: torch.Tensor = self.scaler.scale(loss * self.place.world / len(batch))
        torch.autograd.backward(scaled)
        self._step()
        self.loss += loss.detach()
        self.state.step += 1
        self.state.tokens += int(self.training.lengths[batch].sum())
        self.state.seconds += time.perf_counter() - began

    def _step(self) -> None:
        import torch

        rate = self.config.learning_rate * ramp(self.state.step, self.steps, self.config.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.trained.values(), self.config.gradient_norm, foreach=True)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()

    def _look(self, position: int) -> dict[str, float]:
        """Return this epoch's figures so far, after ``position`` batches, once it is sure that they are numbers."""
        rows = min(position * self.config.batch_rows, len(self.training))
        mean = self.place.add_up(self.loss.clone()).item() / rows
        if not math.isfinite(mean):
            raise TrainingError(
                f"the loss is {mean} after {self.state.step} batches; try a lower learning_rate (now "
                f"{self.config.learning_rate:g}), a longer warmup or a smaller gradient_norm"
            )
        return {"loss": mean, "tokens_per_second": self.state.tokens_per_second}

    def _end_epoch(self) -> dict[str, float]:
        """Validate; remember the weights when they are the best so far."""
        figures, before = self._look(self.per_epoch), sum(epoch["seconds"] for epoch in self.state.history)
        accuracy, loss = self._validate()
        done: Epoch = {
            "epoch": len(self.state.history) + 1,
            "loss": round(figures["loss"], 6),
            "validation_loss": round(loss, 6),
            "validation_accuracy": round(accuracy, 6),
            "seconds": round(self.state.seconds - before, 3),
        }
        self.state.history.append(done)
        if self.state.best is done:
            self.best = {name: weight.detach().clone() for name, weight in self.trained.items()}
        self.loss.zero_()
        return {**figures, "validation_loss": loss, "validation_accuracy": accuracy}

    def _validate(self) -> tuple[float, float]:
        """Return the share of validation rows that are answered rightly, and their mean cross-entropy."""
        import torch
        from torch.nn.functional import cross_entropy

        self.model.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=self.place.device)
        batches = batches_by_length(
            self.validation.lengths.tolist(), self.config.batch_rows * VALIDATION_FACTOR, seed=0
        )
        mine = self.place.share(batches)
        for batch in track(mine, "validate", len(mine), "batches") if self.place.first else mine:
            rows = self.validation.batch(batch, self.place.device)
            with torch.inference_mode(), self.place.precision():
                logits = self.model(**rows.inputs).logits.float()
                right, loss = (
                    (logits.argmax(1) == rows.labels).sum(),
                    cross_entropy(logits, rows.labels, reduction="sum"),
                )
            sums += torch.stack([right.double(), loss.double()])
        self.model.train()
        accuracy, loss = (self.place.add_up(sums) / len(self.validation)).tolist()
        return accuracy, loss

    def _is_stale(self) -> bool:
        return len(self.state.history) - self.state.best["epoch"] >= self.config.patience

    def _save(self, checkpoint: Checkpoint) -> None:
        self.state.loss = self.place.add_up(self.loss.clone()).item()
        if self.place.first:
            weights = {name: weight.detach() for name, weight in self.trained.items()}
            parts = {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}
            checkpoint.save({"state": asdict(self.state), "weights": weights, "best": self.best, **parts})

    def _resume(self, checkpoint: Checkpoint | None) -> None:
        saved = checkpoint.load(self.place.device) if checkpoint else None
        if saved is None:
            return
        self.model.load_state_dict(saved["weights"], strict=False)
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        self.best, self.state = saved["best"], State(**saved["state"])
        if self.place.first:  # the others add nothing to the sum that all had
            self.loss += self.state.loss


def ramp(step: int, steps: int, warmup: float) -> float:
    """Return the share of the full learning rate at ``step`` of ``steps``: up for ``warmup`` of them, then down."""
    rising = max(1, round(steps * warmup))
    return (step + 1) / rising if step < rising else (steps - step) / max(1, steps - rising)


def _optimizer(trained: "dict[str, torch.nn.Parameter]", config: "Config") -> "torch.optim.Optimizer":
    """Return AdamW in one fused kernel; biases and the scales of norms do not decay (as BERT's own code does it)."""
    import torch

    groups = [
        {"params": [w for w in trained.values() if w.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [w for w in trained.values() if w.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def _parallel(model: Any, place: Place) -> Any:
    """Return ``model`` such that its gradients are averaged over all processes."""
    from torch.nn.parallel import DistributedDataParallel

    return DistributedDataParallel(model) if place.world > 1 else model
