import math
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toolchain.artifacts.model import Model, open_model
from toolchain.errors import ArtifactError, ConfigError, TrainingError
from toolchain.frameworks.torch.text_classifier import layers, load_classifier
from toolchain.frameworks.torch.token_dataset import TokenDataset
from toolchain.optimize.prune import Config, run
from toolchain.optimize.prune.distillation import feature_loss, first_tokens, logit_loss
from toolchain.optimize.prune.importance import measure_importance
from toolchain.optimize.prune.size import Latency, describe_speed, measure_latency
from toolchain.optimize.prune.structured import count_heads, count_neurons, most_important, remove

QUICK = {"importance_batches": 2, "epochs": 1, "batch_size": 16}


@pytest.fixture(scope="module")
def smaller(classifier: Path, reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    target = tmp_path_factory.mktemp("pruned") / "model"
    run(classifier, reviews, target, Config(heads_to_keep=0.5, neurons_to_keep=0.5, **QUICK))
    return open_model(target)


def logits_of(model: Model) -> np.ndarray:
    ids = torch.tensor([[2, 9, 12, 3], [2, 30, 3, 1]])
    with torch.inference_mode():
        return load_classifier(model)(input_ids=ids, attention_mask=(ids != 1).long()).logits.numpy()


def test_heads_and_neurons_are_really_gone(smaller: Model, classifier: Path):
    cut, whole = (layers(load_classifier(model)) for model in (smaller, open_model(classifier)))
    assert [(layer.heads, layer.neurons) for layer in whole] == [(4, 128)] * 2
    assert [(layer.heads, layer.neurons) for layer in cut] == [(2, 64)] * 2
    assert smaller.size_bytes < open_model(classifier).size_bytes


def test_the_pruned_model_shows_what_it_is_and_where_it_came_from(smaller: Model, classifier: Path):
    assert (smaller.variant, smaller.signature.origin) == ("pruned", "")
    assert smaller.lineage[-1].parents["model"] == open_model(classifier).digest
    assert 0 < smaller.sparsity < 1
    note = smaller.notes["optimize.prune"]
    assert (note["heads"], note["neurons"]) == (2, 64)
    assert "removed" in note["speed"]


def test_the_same_seed_makes_the_same_model(smaller: Model, classifier: Path, reviews: Path, tmp_path: Path):
    run(classifier, reviews, tmp_path / "again", Config(heads_to_keep=0.5, neurons_to_keep=0.5, **QUICK))
    assert open_model(tmp_path / "again").digest == smaller.digest


def test_keeping_everything_without_distillation_changes_no_prediction(classifier: Path, reviews: Path, tmp_path: Path):
    keep_all = Config(heads_to_keep=1, neurons_to_keep=1, importance_batches=1, epochs=0)
    run(classifier, reviews, tmp_path / "kept", keep_all)
    np.testing.assert_allclose(logits_of(open_model(tmp_path / "kept")), logits_of(open_model(classifier)), atol=1e-5)


def test_unstructured_pruning_zeroes_weights_and_reports_that_it_buys_no_speed(
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


def test_a_model_of_another_task_is_rejected(make_classifier: Callable[..., Path], reviews: Path, tmp_path: Path):
    other = make_classifier(task="object-detection")
    with pytest.raises(ArtifactError, match="object-detection"):
        run(other, reviews, tmp_path / "out", Config(**QUICK))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ({"method": "magic"}, "method is 'magic'; choose one of"),
        ({"heads_to_keep": 0}, "heads_to_keep is 0"),
        ({"neurons_to_keep": 1.5}, "neurons_to_keep is 1.5"),
        ({"channels_to_keep": 0.0}, "channels_to_keep is 0.0"),
        ({"sparsity": 1.0}, "sparsity is 1.0"),
        ({"epochs": -1}, "epochs is -1"),
        ({"temperature": 0}, "temperature is 0"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
    ],
)
def test_a_setting_that_cannot_work_is_rejected(setting: dict[str, Any], complaint: str):
    with pytest.raises(ConfigError, match=complaint):
        Config(**setting)


def test_the_most_important_are_kept_in_their_order():
    assert most_important(torch.tensor([1.0, 5, 3, 5]), 2).tolist() == [1, 3]


@given(st.integers(1, 5000), st.floats(0.01, 1))
def test_never_more_are_kept_than_there_are_and_never_none(parts: int, share: float):
    assert 1 <= count_heads(parts, share) <= parts
    assert 1 <= count_neurons(parts, share) <= parts


def test_facts_of_the_default_cut_hold_for_minilm():
    assert (count_heads(12, Config().heads_to_keep), count_neurons(1536, Config().neurons_to_keep)) == (6, 512)


def test_prediction_loss_is_hintons():
    logits, taught, labels = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0]]), torch.tensor([0])
    student = [math.exp(1) / (math.exp(1) + 1), 1 / (math.exp(1) + 1)]  # softened at temperature 2
    divergence = sum(0.5 * math.log(0.5 / share) for share in student)
    hard = math.log(1 + math.exp(-2))
    found = logit_loss(logits, taught, labels, temperature=2.0, share=0.7)
    assert float(found) == pytest.approx(0.7 * 4 * divergence + 0.3 * hard, rel=1e-5)


CPU = torch.device("cpu")
ROW = TokenDataset.of([[2, 9, 12, 40, 3]], np.array([1]), pad_id=1)  # one review of five tokens


def loss_without(module: Any, layer: int, inputs: slice, share: float) -> float:
    """Return the loss of ROW when ``share`` of some inputs of the layer's ``joined`` is left out."""

    def scale(_: object, values: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        mask = torch.ones(values[0].shape[-1], dtype=torch.float64)
        mask[inputs] = 1 - share
        return (values[0] * mask,)

    hook = layers(module)[layer].joined.register_forward_pre_hook(scale)
    batch = ROW.batch([0], CPU)
    loss = torch.nn.functional.cross_entropy(module(**batch.inputs).logits, batch.labels)
    hook.remove()
    return loss.item()


@pytest.mark.parametrize("head", range(4))
def test_a_heads_importance_is_the_slope_of_the_loss_when_it_is_turned_down(head: int, classifier: Path):
    module = load_classifier(open_model(classifier)).double()
    found = measure_importance(module, [ROW.batch([0], CPU)])[1].heads[head]
    step, inputs = 1e-5, slice(8 * head, 8 * head + 8)
    slope = (loss_without(module, 1, inputs, step) - loss_without(module, 1, inputs, -step)) / (2 * step)
    assert float(found) == pytest.approx(abs(slope), rel=1e-4)


def test_parts_that_do_nothing_go_first_and_are_not_missed(make_classifier: Callable[..., Path]):
    def idle(module: Any) -> None:
        with torch.no_grad():
            for layer in layers(module):
                layer.joined.weight[:, 8:24] = 0  # heads 1 and 2 of 4
                layer.narrowing.weight[:, ::2] = 0  # every other neuron

    model = open_model(make_classifier(change=idle))
    module, before = load_classifier(model), logits_of(model)
    words = np.random.default_rng(0).integers(5, 200, (40, 12)).tolist()  # enough that each real part does something
    rows = TokenDataset.of(words, np.arange(40) % 2, pad_id=1)
    remove(module, measure_importance(module, rows.batches(20, 0, CPU)), 0.5, 0.5)
    assert [(layer.heads, layer.neurons) for layer in layers(module)] == [(2, 64)] * 2
    ids = torch.tensor([[2, 9, 12, 3], [2, 30, 3, 1]])
    with torch.inference_mode():
        after = module(input_ids=ids, attention_mask=(ids != 1).long()).logits.numpy()
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_recovery_teaches(classifier: Path, reviews: Path, tmp_path: Path):
    config = Config(heads_to_keep=0.5, neurons_to_keep=0.5, epochs=6, batch_size=8, learning_rate=3e-3)
    run(classifier, reviews, tmp_path / "out", config)
    losses = [epoch["loss"] for epoch in open_model(tmp_path / "out").notes["optimize.prune"]["history"]]
    assert len(losses) == 6
    assert losses[-1] < 0.6 * losses[0]


def test_a_loss_that_is_no_number_ends_the_step_and_leaves_nothing(classifier: Path, reviews: Path, tmp_path: Path):
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) after \d+ batches"):
        run(classifier, reviews, tmp_path / "out", Config(**QUICK, learning_rate=1e30))
    assert not list(tmp_path.iterdir())


def test_a_kind_whose_parts_are_unknown_is_rejected_before_work_starts(
    make_classifier: Callable[..., Path], reviews: Path, tmp_path: Path
):
    with pytest.raises(ArtifactError, match="type 'albert' cannot be pruned"):
        run(make_classifier("albert"), reviews, tmp_path / "out", Config(**QUICK))


def test_features_are_the_first_token_after_each_layer(classifier: Path):
    module = load_classifier(open_model(classifier))
    inputs = ROW.batch([0], CPU).inputs
    with torch.inference_mode(), first_tokens(module) as found:
        states = module(**inputs, output_hidden_states=True).hidden_states[1:]
        assert all(torch.equal(one, state[:, 0]) for one, state in zip(found(), states, strict=True))


def test_feature_loss_is_the_share_of_the_square_that_is_missed():
    taught = [torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0]])]
    assert float(feature_loss(taught, taught)) == 0
    assert float(feature_loss([torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])], taught)) == pytest.approx(0.5)


class Sleeper(torch.nn.Module):
    """Takes its time, and nothing else."""

    def __init__(self, milliseconds: float) -> None:
        super().__init__()
        self.milliseconds, self.config = milliseconds, SimpleNamespace(max_position_embeddings=512)

    def forward(self, **_: torch.Tensor) -> None:
        time.sleep(self.milliseconds / 1000)


def test_latency_is_compared_in_turns():
    found = measure_latency(Sleeper(60), Sleeper(20))
    assert found.before_ms >= 60
    assert 1.5 < found.speedup < 3.1


@pytest.mark.parametrize(
    ("method", "speedup", "sentence"),
    [
        ("structured", 2.0, "62 % of the layers' weights are removed, which makes a request 2.00 times faster"),
        ("unstructured", 1.01, "62 % of the layers' weights are zero, without a speedup"),
    ],
)
def test_shows_plainly_what_the_sparsity_bought(method: str, speedup: float, sentence: str):
    assert describe_speed(method, 0.62, Latency(10.0, 10.0 / speedup, speedup)).startswith(sentence)
