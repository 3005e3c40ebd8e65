import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toolchain.artifacts.model import Model, open_model
from toolchain.artifacts.transformer import layers, load_classifier
from toolchain.errors import ArtifactError, ConfigError
from toolchain.optimize.prune import Config, run
from toolchain.optimize.prune.distillation import answer_loss, rate
from toolchain.optimize.prune.structured import kept_heads, kept_neurons, most

QUICK = {"importance_batches": 2, "epochs": 1, "batch_rows": 16}


@pytest.fixture(scope="module")
def smaller(classifier: Path, reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    target = tmp_path_factory.mktemp("pruned") / "model"
    run(classifier, reviews, target, Config(heads_kept=0.5, neurons_kept=0.5, **QUICK))
    return open_model(target)


def answers(model: Model) -> np.ndarray:
    ids = torch.tensor([[2, 9, 12, 3], [2, 30, 3, 1]])
    with torch.inference_mode():
        return load_classifier(model)(input_ids=ids, attention_mask=(ids != 1).long()).logits.numpy()


def test_heads_and_neurons_are_really_gone(smaller: Model, classifier: Path):
    cut, whole = (layers(load_classifier(model)) for model in (smaller, open_model(classifier)))
    assert [(layer.heads, layer.neurons) for layer in whole] == [(4, 128)] * 2
    assert [(layer.heads, layer.neurons) for layer in cut] == [(2, 64)] * 2
    assert smaller.size_bytes < open_model(classifier).size_bytes


def test_the_pruned_model_says_what_it_is_and_where_it_came_from(smaller: Model, classifier: Path):
    assert (smaller.variant, smaller.signature.origin) == ("pruned", "")
    assert smaller.lineage[-1].parents["model"] == open_model(classifier).digest
    assert 0 < smaller.sparsity < 1
    note = smaller.notes["optimize.prune"]
    assert (note["heads"], note["neurons"]) == (2, 64)
    assert "gone" in note["speed"]


def test_the_same_seed_makes_the_same_model(smaller: Model, classifier: Path, reviews: Path, tmp_path: Path):
    run(classifier, reviews, tmp_path / "again", Config(heads_kept=0.5, neurons_kept=0.5, **QUICK))
    assert open_model(tmp_path / "again").digest == smaller.digest


def test_keeping_everything_without_recovery_changes_no_answer(classifier: Path, reviews: Path, tmp_path: Path):
    keep_all = Config(heads_kept=1, neurons_kept=1, importance_batches=1, epochs=0)
    run(classifier, reviews, tmp_path / "kept", keep_all)
    np.testing.assert_allclose(answers(open_model(tmp_path / "kept")), answers(open_model(classifier)), atol=1e-5)


def test_unstructured_pruning_zeroes_weights_and_says_that_it_buys_no_speed(
    classifier: Path, reviews: Path, tmp_path: Path
):
    run(classifier, reviews, tmp_path / "sparse", Config(method="unstructured", sparsity=0.6, **QUICK))
    model = open_model(tmp_path / "sparse")
    matrices = [layer.widening.weight for layer in layers(load_classifier(model))]
    zeros = [float((matrix == 0).float().mean()) for matrix in matrices]
    assert model.variant == "pruned-unstructured"
    assert sum(zeros) / len(zeros) == pytest.approx(0.6, abs=0.15)
    assert model.notes["optimize.prune"]["layer_sparsity"] == pytest.approx(0.6, abs=0.01)
    assert "zero" in model.notes["optimize.prune"]["speed"]


def test_none_passes_the_model_through(classifier: Path, reviews: Path, tmp_path: Path):
    run(classifier, reviews, tmp_path / "same", Config(method="none"))
    assert open_model(tmp_path / "same").digest == open_model(classifier).digest


def test_a_model_of_another_task_is_refused(make_classifier: Callable[..., Path], reviews: Path, tmp_path: Path):
    other = make_classifier(task="image-classification")
    with pytest.raises(ArtifactError, match="image-classification"):
        run(other, reviews, tmp_path / "out", Config(**QUICK))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ({"method": "magic"}, "method is 'magic'; choose one of"),
        ({"heads_kept": 0}, "heads_kept is 0"),
        ({"neurons_kept": 1.5}, "neurons_kept is 1.5"),
        ({"sparsity": 1.0}, "sparsity is 1.0"),
        ({"epochs": -1}, "epochs is -1"),
        ({"temperature": 0}, "temperature is 0"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(setting: dict[str, Any], complaint: str):
    with pytest.raises(ConfigError, match=complaint):
        Config(**setting)


def test_the_most_important_are_kept_in_their_order():
    assert most(torch.tensor([1.0, 5, 3, 5]), 2).tolist() == [1, 3]


@given(st.integers(1, 5000), st.floats(0.01, 1))
def test_never_more_are_kept_than_there_are_and_never_none(parts: int, share: float):
    assert 1 <= kept_heads(parts, share) <= parts
    assert 1 <= kept_neurons(parts, share) <= parts


def test_facts_of_the_default_cut_hold_for_minilm():
    assert (kept_heads(12, Config().heads_kept), kept_neurons(1536, Config().neurons_kept)) == (6, 512)


def test_answer_loss_is_hintons():
    logits, taught, labels = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0]]), torch.tensor([0])
    student = [math.exp(1) / (math.exp(1) + 1), 1 / (math.exp(1) + 1)]  # softened at temperature 2
    divergence = sum(0.5 * math.log(0.5 / share) for share in student)
    hard = math.log(1 + math.exp(-2))
    found = answer_loss(logits, taught, labels, temperature=2.0, share=0.7)
    assert float(found) == pytest.approx(0.7 * 4 * divergence + 0.3 * hard, rel=1e-5)


def test_the_rate_rises_then_falls_to_nothing():
    rates = [rate(step, 100) for step in range(100)]
    assert max(rates) == 1
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.02
