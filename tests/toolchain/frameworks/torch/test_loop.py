from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from toolchain.errors import TrainingError
from toolchain.frameworks.torch.checkpoint import Checkpoint
from toolchain.frameworks.torch.device import TrainingDevice
from toolchain.frameworks.torch.loop import BatchLoss, Learner, TrainingLoop, adamw, training_notes
from toolchain.frameworks.training_state import Scores

CPU = TrainingDevice(torch.device("cpu"), None)
DTYPES = [None, torch.bfloat16, torch.float16]  # float16 scales its loss
ROWS = torch.arange(24.0).reshape(12, 2) / 24
ACCURACIES = (0.25, 0.75, 0.5, 0.5, 0.5, 0.5)  # of each epoch


@dataclass(frozen=True)
class Settings:
    epochs: int = 4
    learning_rate: float = 0.1
    warmup_ratio: float = 0.1
    max_grad_norm: float = 1.0
    patience: int = 9
    checkpoint_batches: int = 1
    seed: int = 0


def learner_of(device: TrainingDevice = CPU, **changes: Any) -> tuple[Learner, list[torch.Tensor]]:
    """Return a learner with 3 batches an epoch, and the list that gets its weight at each validation."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Dropout(0.3), torch.nn.Linear(2, 1))
    trained, seen = dict(model.named_parameters()), []
    accuracies = iter(ACCURACIES)

    def loss(positions: list[int], step: int) -> BatchLoss:
        with device.autocast():
            error = model(ROWS[positions]).float() - ROWS[positions].sum(1, keepdim=True)
        return BatchLoss(error.square().mean(), len(positions), len(positions))

    def validate() -> Scores:
        seen.append(model[1].weight.detach().clone())
        return {"validation_accuracy": next(accuracies)}

    parts: dict[str, Any] = {
        "model": model,
        "trained": trained,
        "optimizer": adamw(trained, 0.1, 0.01),
        "batches": lambda epoch: [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]],
        "batches_per_epoch": 3,
        "loss": loss,
        "validate": validate,
        "unit": "rows",
    }
    return Learner(**{**parts, **changes}), seen


def ignore(*_: object) -> None:
    pass


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("after", [2, 3, 8])  # within an epoch, at its end, in a later one
def test_a_killed_training_resumes_to_the_same_weights(dtype: torch.dtype | None, after: int, tmp_path: Path):
    device, checkpoint = TrainingDevice(torch.device("cpu"), dtype), Checkpoint(tmp_path)
    whole, _ = learner_of(device)
    TrainingLoop(whole, Settings(), device).run(ignore)

    def kill(step: int) -> None:
        if step == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TrainingLoop(learner_of(device, after_step=kill)[0], Settings(), device).run(ignore, checkpoint)
    resumed, _ = learner_of(device)
    next_scores = iter(ACCURACIES[after // 3 :])
    resumed = Learner(**{**vars(resumed), "validate": lambda: {"validation_accuracy": next(next_scores)}})
    state = TrainingLoop(resumed, Settings(), device).run(ignore, checkpoint)
    assert state.step == 12
    assert [epoch["validation_accuracy"] for epoch in state.history] == list(ACCURACIES[:4])
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name])


def test_the_weights_of_the_best_epoch_are_kept_and_patience_ends_training():
    learner, seen = learner_of()
    state = TrainingLoop(learner, Settings(epochs=6, patience=2), CPU).run(ignore)
    assert (len(state.history), state.best["epoch"]) == (4, 2)
    assert torch.equal(learner.model[1].weight, seen[1])


def test_the_weights_of_the_last_epoch_are_kept_when_the_best_are_not_wanted():
    learner, seen = learner_of(keep_best=False)
    TrainingLoop(learner, Settings(), CPU).run(ignore)
    assert torch.equal(learner.model[1].weight, seen[-1])


def test_a_frozen_parameter_is_not_written_to_checkpoints(tmp_path: Path):
    learner, _ = learner_of()
    weight = {"1.weight": learner.trained["1.weight"]}
    learner = Learner(**{**vars(learner), "trained": weight, "optimizer": adamw(weight, 0.1, 0.01)})
    TrainingLoop(learner, Settings(), CPU).run(ignore, Checkpoint(tmp_path))
    saved = Checkpoint(tmp_path).load(CPU.device)
    assert saved is not None
    assert saved["weights"].keys() == saved["best"].keys() == {"1.weight"}


def test_a_loss_that_is_not_finite_ends_training():
    def infinite(positions: list[int], step: int) -> BatchLoss:
        return BatchLoss(learner.model(ROWS).sum() * float("inf"), 1, 1)

    learner, _ = learner_of()
    learner = Learner(**{**vars(learner), "loss": infinite})
    with pytest.raises(TrainingError, match=r"the loss is -?(inf|nan) after 1 batches"):
        TrainingLoop(learner, Settings(), CPU).run(ignore)


def test_reports_metrics_and_notes():
    reported: list[dict[str, float]] = []
    learner, _ = learner_of()
    state = TrainingLoop(learner, Settings(epochs=1), CPU).run(lambda state, metrics: reported.append(dict(metrics)))
    assert reported[0].keys() == {"loss", "rows_per_second"}
    assert reported[-1]["validation_accuracy"] == 0.25
    notes = training_notes(state, learner.model, "rows", CPU)
    assert (notes["epochs"], notes["best_epoch"], notes["parameters"]) == (1, 1, 3)
    assert notes["history"] == state.history


def test_biases_and_norms_do_not_decay():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LayerNorm(2))
    decaying, other = adamw(dict(model.named_parameters()), 0.1, 0.01).param_groups
    assert [weight.ndim for weight in decaying["params"]] == [2]
    assert other["weight_decay"] == 0
    assert len(other["params"]) == 3
