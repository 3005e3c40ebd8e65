"""Training state in any framework: the part of a checkpoint with which a killed training resumes where it stopped."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NotRequired, TypedDict, cast

EPOCH_SEEDS = 1_000_003  # a prime far above any number of epochs, so that two seeds share no epoch's order


class Scores(TypedDict):
    """The metrics of one validation."""

    validation_accuracy: float  # 0..1; mAP50 of a detector
    validation_loss: NotRequired[float]  # mean of the rows, in nats
    threshold: NotRequired[float]  # of a detector: the score where F1 on the validation images is highest


class Epoch(Scores):
    """The metrics of one epoch."""

    epoch: int  # counted from 1
    loss: float  # mean of the training rows, or of a detector's batches
    seconds: float  # spent on batches


@dataclass
class TrainingState:
    """The progress of a training; a checkpoint has it with the weights and the state of the optimizer."""

    step: int = 0  # batches done, over all epochs
    loss: float = 0.0  # weighted sum over this epoch's batches
    weight: float = 0.0  # sum of these batches' weights
    items: int = 0  # tokens or images trained on, over all epochs
    seconds: float = 0.0  # spent on batches, over all epochs
    history: list[Epoch] = field(default_factory=list)

    @property
    def items_per_second(self) -> float:
        return self.items / self.seconds if self.seconds else 0.0

    @property
    def best(self) -> Epoch:
        """The epoch with the highest validation accuracy; of equal ones, that with the lower loss, then the earlier."""
        return max(self.history, key=lambda epoch: (epoch["validation_accuracy"], -epoch.get("validation_loss", 0.0)))

    def end_epoch(self, loss: float, scores: Scores) -> bool:
        """Append an epoch of mean ``loss`` to the history; return whether it is the best one so far."""
        before = sum(epoch["seconds"] for epoch in self.history)
        rounded = cast(Scores, {name: round(value, 6) for name, value in cast(Mapping[str, float], scores).items()})
        done: Epoch = {
            "epoch": len(self.history) + 1,
            "loss": round(loss, 6),
            "seconds": round(self.seconds - before, 3),
            **rounded,
        }
        self.history.append(done)
        return self.best is done

    def is_stale(self, patience: int) -> bool:
        """Return whether none of the last ``patience`` epochs was better."""
        return len(self.history) - self.best["epoch"] >= patience


def epoch_seed(seed: int, number: int) -> int:
    """Return the seed of epoch, or step, ``number`` in a training with ``seed``."""
    return seed * EPOCH_SEEDS + number
