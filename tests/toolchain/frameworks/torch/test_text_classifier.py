from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.text_models import logits, remove_first_heads
from toolchain.artifacts.model import Model, Signature, new_model, open_model
from toolchain.artifacts.provenance import Work
from toolchain.errors import ArtifactError
from toolchain.frameworks.torch.text_classifier import layers, load_classifier, resize_linear, save_classifier

KINDS = ("bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta")


def cut(module: Any) -> None:
    """Take the first head and all but 7 neurons from each layer."""
    remove_first_heads(module)
    for layer in layers(module):
        resize_linear(layer.widening, layer.widening.weight[:7], layer.widening.bias[:7])
        resize_linear(layer.narrowing, layer.narrowing.weight[:, :7], None)


def saved(module: Any, path: Path, signature: Signature) -> Model:
    with new_model(path, signature, Work("optimize.prune", None)) as writer:
        save_classifier(module, writer.folder)
    return open_model(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_classifier_without_some_heads_and_neurons_is_saved_and_loaded(
    kind: str, make_classifier: Callable[..., Path], tmp_path: Path
):
    model = open_model(make_classifier(kind))
    module = load_classifier(model)
    before = logits(module)
    cut(module)
    again = load_classifier(saved(module, tmp_path / "cut", model.signature))
    assert [(layer.heads, layer.neurons) for layer in layers(again)] == [(3, 7), (3, 7)]
    assert torch.equal(logits(again), logits(module))
    assert not torch.allclose(logits(again), before)


def test_is_what_transformers_loads(classifier: Path):
    from transformers import AutoModelForSequenceClassification

    expected = AutoModelForSequenceClassification.from_pretrained(classifier).eval()
    assert torch.equal(logits(load_classifier(open_model(classifier))), logits(expected))


def test_eager_and_fast_attention_predict_equally(classifier: Path):
    model = open_model(classifier)
    assert torch.allclose(logits(load_classifier(model, "eager")), logits(load_classifier(model)), atol=1e-5)


def test_rejects_weights_of_another_kind(make_classifier: Callable[..., Path], tmp_path: Path):
    model = open_model(make_classifier("distilbert"))
    module = load_classifier(model)
    module.config = load_classifier(open_model(make_classifier())).config
    with pytest.raises(ArtifactError, match="holds no text classifier that PyTorch can load") as caught:
        load_classifier(saved(module, tmp_path / "mixed", model.signature))
    assert "\n" not in str(caught.value)


def test_rejects_damaged_weights(classifier: Path, tmp_path: Path):
    model = open_model(classifier)
    with new_model(tmp_path / "bad", model.signature, Work("train.torch_text", None)) as writer:
        writer.keep(model, "config.json")
        (writer.folder / "model.safetensors").write_bytes(model.weights.read_bytes()[:1000])
    with pytest.raises(ArtifactError, match="holds no text classifier that PyTorch can load"):
        load_classifier(open_model(tmp_path / "bad"))


def test_rejects_more_label_names_than_outputs(make_classifier: Callable[..., Path]):
    with pytest.raises(ArtifactError, match="names 3 labels but its classifier has 2 outputs"):
        load_classifier(open_model(make_classifier(labels=("a", "b", "c"))))


def test_rejects_the_parts_of_a_kind_that_it_does_not_know():
    from transformers import FNetConfig, FNetForSequenceClassification

    module = FNetForSequenceClassification(FNetConfig(hidden_size=8, num_hidden_layers=1, intermediate_size=8))
    with pytest.raises(ArtifactError, match="type 'fnet' cannot be pruned; supported types: bert"):
        layers(module)
