"""The loop: pictures and their boxes in, a detector that finds more of them out, the best of them kept."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from toolchain.errors import TrainingError
from toolchain.frameworks.length_batches import count_batches, even_batches
from toolchain.frameworks.torch.checkpoint import Checkpoint
from toolchain.frameworks.torch.device import Place
from toolchain.frameworks.torch.tensors import load_tensors
from toolchain.metrics.detections import Answer, answer_of, stretch
from toolchain.metrics.detections.matching import ALL, OVERLAPS, average_precision, best_threshold, match, mean
from toolchain.progress import ReportThrottle, track
from toolchain.train.torch_detector.pictures import Pictures

if TYPE_CHECKING:
    import torch

    from toolchain.frameworks.torch.detector.parts import Detector
    from toolchain.train.torch_detector import Config

STEPS_BETWEEN_LOOKS = 5  # at the loss: each look makes a GPU wait, and a NaN is not missed: it stays in the sum
EPOCH_SEEDS = 1_000_003  # a prime far above any number of epochs, so that two seeds share no epoch's order


class Epoch(TypedDict):
    """What one epoch came to."""

    epoch: int  # counted from 1
    loss: float  # mean of the training batches
    validation_accuracy: float  # mAP50, 0..1
    threshold: float  # the score from which an answer counts, where F1 on the validation pictures is highest
    seconds: float  # spent on batches


@dataclass
class State:
    """How far training has come; with the weights and the optimizer's state all that a resumed run needs."""

    step: int = 0  # batches done, over all epochs
    loss: float = 0.0  # summed over this epoch's batches
    pictures: int = 0  # learned from, over all epochs
    seconds: float = 0.0  # spent on batches, over all epochs
    history: list[Epoch] = field(default_factory=list)

    @property
    def pictures_per_second(self) -> float:
        return self.pictures / self.seconds if self.seconds else 0.0

    @property
    def best(self) -> Epoch:
        """The epoch with the highest validation accuracy, the earlier of equals."""
        return max(self.history, key=lambda epoch: (epoch["validation_accuracy"], -epoch["epoch"]))


Watch = Callable[[State, Mapping[str, float]], None]  # is told how far it is, and figures


class Training:
    """One training of one detector, from where its checkpoint left it to its end."""

    def __init__(
        self, detector: "Detector", training: Pictures, validation: Pictures, config: "Config", place: Place
    ) -> None:
        import torch

        self.detector, self.training, self.validation = detector.to(place.device), training, validation
        self.config, self.place, self.state = config, place, State()
        self.per_epoch = count_batches(len(training), config.batch_rows)
        self.steps = self.per_epoch * config.epochs
        self.trained = {name: weight for name, weight in detector.named_parameters() if weight.requires_grad}
        self.optimizer = torch.optim.AdamW(_groups(self.trained, config.weight_decay), lr=config.learning_rate)
        self.scaler = torch.amp.GradScaler(place.device.type, enabled=place.half == torch.float16)
        self.loss = torch.zeros((), device=place.device)
        self.best: dict[str, torch.Tensor] = {}
        self.throttle = ReportThrottle(STEPS_BETWEEN_LOOKS)

    def run(self, watch: Watch, checkpoint: Checkpoint | None = None) -> State:
        """Train to the end, or until ``patience`` epochs brought nothing; leave the best epoch's weights in place.

        Raises:
            TrainingError: the loss is no number any more.
        """
        self._resume(checkpoint)
        for epoch, positions in self._batches():
            self._learn(epoch, positions)
            position = self.state.step % self.per_epoch
            if position == 0:
                watch(self.state, self._end_epoch())
            elif self.throttle.should_report():
                watch(self.state, self._look(position))
            if checkpoint and self.state.step % self.config.checkpoint_batches == 0 and self.state.step < self.steps:
                self._save(checkpoint)
            if position == 0 and len(self.state.history) - self.state.best["epoch"] >= self.config.patience:
                break
        load_tensors(self.detector, self.best)
        self.detector.eval()
        return self.state

    def _batches(self) -> Iterator[tuple[int, list[int]]]:
        """Yield the batches that are still to do; an epoch's order depends on the seed and the epoch alone."""
        for epoch in range(self.state.step // self.per_epoch, self.config.epochs):
            random = np.random.default_rng(self.config.seed * EPOCH_SEEDS + epoch)
            order = random.permutation(len(self.training)).tolist()
            batches = even_batches(order, self.config.batch_rows)
            yield from ((epoch, batch) for batch in batches[self.state.step - epoch * self.per_epoch :])

    def _learn(self, epoch: int, positions: list[int]) -> None:
        import torch

        began = time.perf_counter()
        random = np.random.default_rng((self.config.seed, epoch, *positions))
        mirrored = (random.random(len(positions)) < self.config.mirror).tolist()
        images, targets = self.training.batch(positions, mirrored, self.place.device)
        learn(self.detector)
        with self.place.precision():
            loss = self.detector.losses(images, targets)
        torch.autograd.backward(self.scaler.scale(loss))
        self._step()
        self.loss += loss.detach()
        self.state.step += 1
        self.state.pictures += len(positions)
        self.state.seconds += time.perf_counter() - began

    def _step(self) -> None:
        import torch

        rate = self.config.learning_rate * ramp(self.state.step, self.steps, self.config.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.trained.values(), self.config.gradient_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()

    def _look(self, position: int) -> dict[str, float]:
        """Return this epoch's figures so far, after ``position`` batches, once it is sure that they are numbers."""
        loss = self.loss.item() / position
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} after {self.state.step} batches; try a lower learning_rate (now "
                f"{self.config.learning_rate:g}), a longer warmup or a smaller gradient_norm"
            )
        return {"loss": loss, "pictures_per_second": self.state.pictures_per_second}

    def _end_epoch(self) -> dict[str, float]:
        """Validate; remember the weights when they are the best so far."""
        figures, before = self._look(self.per_epoch), sum(epoch["seconds"] for epoch in self.state.history)
        accuracy, threshold = validate(self.detector, self.validation, self.place)
        done: Epoch = {
            "epoch": len(self.state.history) + 1,
            "loss": round(figures["loss"], 6),
            "validation_accuracy": round(accuracy, 6),
            "threshold": round(threshold, 6),
            "seconds": round(self.state.seconds - before, 3),
        }
        self.state.history.append(done)
        if self.state.best is done:
            self.best = {name: weight.detach().clone() for name, weight in self.detector.state_dict().items()}
        self.loss.zero_()
        return {**figures, "validation_accuracy": accuracy}

    def _save(self, checkpoint: Checkpoint) -> None:
        self.state.loss = self.loss.item()
        parts = {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict(), "best": self.best}
        checkpoint.save({"state": asdict(self.state), "weights": self.detector.state_dict(), **parts})

    def _resume(self, checkpoint: Checkpoint | None) -> None:
        saved = checkpoint.load(self.place.device) if checkpoint else None
        if saved is None:
            return
        load_tensors(self.detector, saved["weights"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        self.best, self.state = saved["best"], State(**saved["state"])
        self.loss += self.state.loss


def validate(detector: "Detector", pictures: Pictures, place: Place) -> tuple[float, float]:
    """Return mAP50 of ``detector`` on ``pictures``, 0..1, and the score at which its F1 is highest."""
    positions = track(range(len(pictures)), "validate", len(pictures), "pictures")
    answers = [_answer(detector, pictures, position, place) for position in positions]
    truth = [picture.objects for picture in pictures.pictures]
    found = match(answers, truth, detector.architecture.classes, OVERLAPS[:1])[ALL]
    value = float(mean(average_precision(found, np.ones((1, len(truth)))))[0])
    return 0.0 if math.isnan(value) else value, best_threshold(found)


def learn(detector: "Detector") -> None:
    """Put ``detector`` in training mode; norms whose weights are frozen keep their statistics too."""
    import torch

    detector.train()
    for module in detector.modules():
        if isinstance(module, torch.nn.BatchNorm2d) and not module.weight.requires_grad:
            module.eval()


def ramp(step: int, steps: int, warmup: float) -> float:
    """Return the share of the full learning rate at ``step`` of ``steps``: up for ``warmup`` of them, then down."""
    rising = max(1, round(steps * warmup))
    return (step + 1) / rising if step < rising else (steps - step) / max(1, steps - rising)


def _answer(detector: "Detector", pictures: Pictures, position: int, place: Place) -> Answer:
    import torch

    detector.eval()
    with torch.inference_mode(), place.precision():
        boxes, scores, labels = (part.cpu().numpy() for part in detector(pictures.image(position, place.device)))
    picture, size = pictures.pictures[position], pictures.size
    return answer_of(stretch(boxes, (size, size), (picture.width, picture.height)), scores, labels)


def _groups(trained: "dict[str, torch.nn.Parameter]", decay: float) -> list[dict[str, Any]]:
    """Biases and the scales of norms do not decay."""
    return [
        {"params": [weight for weight in trained.values() if weight.ndim > 1], "weight_decay": decay},
        {"params": [weight for weight in trained.values() if weight.ndim <= 1], "weight_decay": 0.0},
    ]
