import json
from dataclasses import asdict

from toolchain.frameworks.training_state import Scores, TrainingState, epoch_seed


def scores(accuracy: float, loss: float) -> Scores:
    return {"validation_accuracy": accuracy, "validation_loss": loss}


def test_the_best_epoch_has_the_highest_accuracy_then_the_lowest_loss_then_comes_first():
    state = TrainingState()
    best = [
        state.end_epoch(1.0, scores(*pair)) for pair in [(0.5, 0.9), (0.6, 0.8), (0.6, 0.7), (0.6, 0.7), (0.5, 0.1)]
    ]
    assert best == [True, True, True, False, False]
    assert state.best["epoch"] == 3
    assert [state.is_stale(patience) for patience in (1, 2, 3)] == [True, True, False]


def test_equal_accuracies_without_a_loss_keep_the_earlier_epoch():
    state = TrainingState()
    assert [state.end_epoch(1.0, {"validation_accuracy": 0.5, "threshold": 0.2}) for _ in range(2)] == [True, False]


def test_an_epoch_counts_its_own_seconds():
    state = TrainingState(seconds=2.0, items=100)
    state.end_epoch(1.0, scores(0.5, 1.0))
    state.seconds = 5.0
    state.end_epoch(1.0, scores(0.5, 1.0))
    assert [epoch["seconds"] for epoch in state.history] == [2.0, 3.0]
    assert state.items_per_second == 20.0


def test_a_state_is_restored_from_json():
    state = TrainingState(step=3, loss=1.5, weight=2.0)
    state.end_epoch(0.75, scores(0.5, 1.0))
    assert TrainingState(**json.loads(json.dumps(asdict(state)))) == state


def test_seeds_of_two_trainings_share_no_epoch():
    assert not {epoch_seed(0, epoch) for epoch in range(1000)} & {epoch_seed(1, epoch) for epoch in range(1000)}
