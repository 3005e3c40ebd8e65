"""The loop: batches of pictures in, better weights out, the best epoch's kept."""

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from toolchain.errors import TrainingError
from toolchain.frameworks.length_batches import even_batches
from toolchain.frameworks.torch.checkpoint import Checkpoint
from toolchain.frameworks.torch.device import Place
from toolchain.frameworks.torch.image_dataset import Batch, Pixels
from toolchain.frameworks.torch.tensors import load_tensors
from toolchain.progress import ReportThrottle, track
from toolchain.train.torch_image.mixing import mirrored, mix

if TYPE_CHECKING:
    import torch

    from toolchain.train.torch_image import Config

STEPS_BETWEEN_LOOKS = 10  # at the loss: each look makes a GPU wait, and a NaN is not missed: it stays in the sum
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
    rows: int = 0  # pictures learned from, over all epochs
    seconds: float = 0.0  # spent on batches, over all epochs
    history: list[Epoch] = field(default_factory=list)

    @property
    def pictures_per_second(self) -> float:
        return self.rows / self.seconds if self.seconds else 0.0

    @property
    def best(self) -> Epoch:
        """The epoch with the highest validation accuracy, the lower loss deciding between equals."""
        return max(self.history, key=lambda epoch: (epoch["validation_accuracy"], -epoch["validation_loss"]))


Watch = Callable[[State, Mapping[str, float]], None]  # is told how far it is, and figures


class Training:
    """One training of one network, from where its checkpoint left it to its end."""

    def __init__(
        self,
        network: "torch.nn.Module",
        head: str,
        training: Pixels,
        validation: Pixels,
        config: "Config",
        place: Place,
    ) -> None:
        """``head`` is the name of the layer that learns alone in the frozen epochs."""
        import torch

        self.network = network.to(place.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.head, self.training, self.validation, self.config, self.place = head, training, validation, config, place
        self.judged = copy.deepcopy(self.network) if config.average else self.network
        self.forward: Any = torch.compile(self.network) if config.compiled else self.network
        self.optimizer = _optimizer(self.network, config)
        self.scaler = torch.amp.GradScaler(place.device.type, enabled=place.half == torch.float16)
        last: Any = network.get_submodule(head)
        self.weights = _class_weights(training, len(last.weight), place) if config.class_weights == "balanced" else None
        self.norms = [] if config.weights else _norms(self.network)
        self.per_epoch = training.count_batches(config.batch_rows)
        self.steps = self.per_epoch * config.epochs
        self.state = State()
        self.best: dict[str, torch.Tensor] = {}
        self.loss = torch.zeros((), dtype=torch.float64, device=place.device)
        self.throttle = ReportThrottle(STEPS_BETWEEN_LOOKS)

    def run(self, watch: Watch, checkpoint: Checkpoint | None = None) -> State:
        """Train to the end, or until ``patience`` epochs brought nothing; leave the best epoch's in the network.

        Raises:
            TrainingError: the loss is no number any more.
        """
        self._resume(checkpoint)
        for positions in self._batches():
            self._learn(positions)
            done = self.state.step % self.per_epoch
            if done == 0:
                watch(self.state, self._end_epoch())
            elif self.throttle.should_report():
                watch(self.state, self._look(done))
            if checkpoint and done % self.config.checkpoint_batches == 0 and self.state.step < self.steps:
                self._save(checkpoint)
            if done == 0 and self._is_stale():
                break
        load_tensors(self.network, self.best)
        self.network.requires_grad_(True)
        return self.state

    def _batches(self) -> Iterator[list[int]]:
        """Yield the batches that are still to do."""
        for epoch in range(self.state.step // self.per_epoch, self.config.epochs):
            self._free(epoch >= self.config.frozen_epochs)
            order = self.training.order(self.config.seed * EPOCH_SEEDS + epoch)
            yield from even_batches(order, self.config.batch_rows)[self.state.step - epoch * self.per_epoch :]

    def _free(self, everything: bool) -> None:
        """Let the whole network learn, or its head only: then the rest normalises as it did where it comes from."""
        import torch

        self.network.train()
        for weight in self.network.parameters():
            weight.requires_grad_(everything)
        self.network.get_submodule(self.head).requires_grad_(True)
        if not everything:
            for layer in self.network.modules():
                if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
                    layer.eval()

    def _learn(self, positions: list[int]) -> None:
        """Take one step on the training rows at ``positions``."""
        import torch

        began = time.perf_counter()
        torch.manual_seed(self.config.seed * EPOCH_SEEDS + self.state.step)  # of dropout
        for layer, momentum in self.norms:  # a plain mean at first, or what it began with would outweigh few batches
            layer.momentum = max(momentum, 1 / (self.state.step + 1))
        loss = self._loss(self.training.batch(positions, self.place.device))
        scaled: torch.Tensor = self.scaler.scale(loss)
        torch.autograd.backward(scaled)
        self._step()
        if self.config.average:
            self._average()
        self.loss += loss.detach() * len(positions)
        self.state.step += 1
        self.state.rows += len(positions)
        self.state.seconds += time.perf_counter() - began

    def _loss(self, batch: Batch) -> "torch.Tensor":
        """Return the mean cross-entropy of ``batch``, mirrored and mixed as the settings say."""
        from torch.nn.functional import cross_entropy

        rng = np.random.default_rng((self.config.seed, self.state.step))
        images = mirrored(batch.images, rng) if self.config.mirror else batch.images
        mixed = mix(images, batch.labels, self.config.mixup, self.config.cutmix, rng)
        with self.place.precision():
            logits = self.forward(mixed.images)
        losses = [
            share * cross_entropy(logits, labels, self.weights, label_smoothing=self.config.label_smoothing)
            for labels, share in ((mixed.labels, mixed.share), (mixed.others, 1 - mixed.share))
            if share > 0
        ]
        return sum(losses[1:], losses[0])

    def _step(self) -> None:
        import torch

        rate = self.config.learning_rate * ramp(self.state.step, self.steps, self.config.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.gradient_norm, foreach=True)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()

    def _average(self) -> None:
        """Move the averaged network a little towards the one that learns; more at the start, where that is far off."""
        import torch

        decay = min(self.config.average, (1 + self.state.step) / (10 + self.state.step))  # as TensorFlow ramps it up
        with torch.no_grad():
            pairs = zip(self.judged.state_dict().values(), self.network.state_dict().values(), strict=True)
            for mean, value in pairs:
                if mean.is_floating_point():
                    mean.lerp_(value, 1 - decay)
                else:
                    mean.copy_(value)

    def _look(self, done: int) -> dict[str, float]:
        """Return this epoch's figures so far, after ``done`` batches, once it is sure that they are numbers."""
        mean = self.loss.item() * self.per_epoch / (done * len(self.training))
        if not math.isfinite(mean):
            raise TrainingError(
                f"the loss is {mean} after {self.state.step} batches; try a lower learning_rate (now "
                f"{self.config.learning_rate:g}), a longer warmup or a smaller gradient_norm"
            )
        return {"loss": mean, "pictures_per_second": self.state.pictures_per_second}

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
            self.best = {name: value.detach().clone() for name, value in self.judged.state_dict().items()}
        self.loss.zero_()
        return {**figures, "validation_loss": loss, "validation_accuracy": accuracy}

    def _validate(self) -> tuple[float, float]:
        """Return the share of validation rows that are answered rightly, and their mean cross-entropy."""
        import torch
        from torch.nn.functional import cross_entropy

        self.judged.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=self.place.device)
        rows = self.config.batch_rows * VALIDATION_FACTOR
        batches = self.validation.batches(rows, None, self.place.device)
        for batch in track(batches, "validate", self.validation.count_batches(rows), "batches"):
            with torch.inference_mode(), self.place.precision():
                logits = self.judged(batch.images)
            right = (logits.argmax(1) == batch.labels).sum()
            sums += torch.stack([right.double(), cross_entropy(logits, batch.labels, reduction="sum").double()])
        accuracy, loss = (sums / len(self.validation)).tolist()
        return accuracy, loss

    def _is_stale(self) -> bool:
        return len(self.state.history) - self.state.best["epoch"] >= self.config.patience

    def _save(self, checkpoint: Checkpoint) -> None:
        self.state.loss = self.loss.item()
        parts = {"network": self.network, "judged": self.judged, "optimizer": self.optimizer, "scaler": self.scaler}
        states = {name: part.state_dict() for name, part in parts.items()}
        checkpoint.save({"state": asdict(self.state), "best": self.best, **states})

    def _resume(self, checkpoint: Checkpoint | None) -> None:
        saved = checkpoint.load(self.place.device) if checkpoint else None
        if saved is None:
            return
        load_tensors(self.network, saved["network"])
        load_tensors(self.judged, saved["judged"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        self.best, self.state = saved["best"], State(**saved["state"])
        self.loss += self.state.loss


def ramp(step: int, steps: int, warmup: float) -> float:
    """Return the share of the full learning rate at ``step`` of ``steps``: up in a line for ``warmup`` of them, then
    down in half a cosine to 0 (Smith and Topin 2018, arXiv 1708.07120, as PyTorch's OneCycleLR ends it).
    """
    rising = max(1, round(steps * warmup))
    if step < rising:
        return (step + 1) / rising
    return (1 + math.cos(math.pi * (step - rising + 1) / max(1, steps - rising + 1))) / 2


def _optimizer(network: "torch.nn.Module", config: "Config") -> "torch.optim.Optimizer":
    """Return AdamW in one fused kernel; biases and the scales of norms do not decay."""
    import torch

    weights = list(network.parameters())
    groups = [
        {"params": [w for w in weights if w.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [w for w in weights if w.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def _norms(network: "torch.nn.Module") -> "list[tuple[torch.nn.modules.batchnorm._BatchNorm, float]]":
    """Return the layers that keep a moving mean of what they saw, each with the share that a new batch has in it."""
    import torch

    layers = [layer for layer in network.modules() if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm)]
    return [(layer, layer.momentum) for layer in layers if layer.momentum is not None]


def _class_weights(training: Pixels, classes: int, place: Place) -> "torch.Tensor":
    """Return what a row of each class counts: the rarer the class, the more; float32 (classes,)."""
    import torch

    counts = np.bincount(training.labels, minlength=classes)
    found = len(training) / (np.count_nonzero(counts) * np.maximum(counts, 1))  # as scikit-learn's "balanced"
    return torch.tensor(found, dtype=torch.float32, device=place.device)
