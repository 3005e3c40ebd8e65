from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from toolchain.artifacts.model import Model, Signature, new_model, open_model
from toolchain.artifacts.provenance import Work
from toolchain.errors import ArtifactError, ConfigError, DataError, TrainingError, UnprunableError
from toolchain.frameworks.torch.image_classifier import (
    WEIGHTS,
    Architecture,
    build_network,
    load_network,
    read_architecture,
    save_network,
)
from toolchain.frameworks.torch.image_dataset import ImageDataset
from toolchain.optimize.prune import Config, run
from toolchain.optimize.prune.channels import check_layers, count_multiplications, remove, reset_batch_norm

QUICK = {"importance_batches": 2, "epochs": 1, "batch_size": 16}


def architecture(name: str, size: int = 64) -> Architecture:
    values = 1 if name in ("cnn", "linear") else 3
    return Architecture(name, 2, 1, size, size, (0.5,) * values, (0.25,) * values)


def network_of(name: str, size: int = 64) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_network(architecture(name, size)).eval()


@pytest.fixture(scope="module")
def trained(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from toolchain.train.torch_image import Config as Training
    from toolchain.train.torch_image import run as train

    path = tmp_path_factory.mktemp("trained") / "fp32"
    train(digits, path, Training(epochs=4, batch_size=16))
    return path


@pytest.fixture(scope="module")
def smaller(trained: Path, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("pruned") / "pruned"
    run(trained, digits, path, Config(epochs=6, batch_size=16, importance_batches=8, learning_rate=2e-3))
    return open_model(path)


def test_channels_are_really_gone_and_it_loads_from_disk(smaller: Model, trained: Path):
    kernels = [layer for layer in load_network(smaller).modules() if isinstance(layer, torch.nn.Conv2d)]
    assert [layer.out_channels for layer in kernels] == [16, 32, 32, 48, 48]
    assert smaller.size_bytes < 0.4 * open_model(trained).size_bytes


def test_weights_and_multiplications_are_those_counted_by_hand(smaller: Model):
    note = smaller.notes["optimize.prune"]
    for stage, (a, b, c) in {"before": (32, 64, 96), "after": (16, 32, 48)}.items():
        kernels = 9 * np.array([1 * a, a * b, b * b, b * c, c * c])
        assert note[f"weights_{stage}"] == kernels.sum() + 2 * (a + b + b + c + c) + 2 * c + 2
        positions = np.array([28 * 28, 14 * 14, 14 * 14, 7 * 7, 7 * 7])
        assert note[f"multiplications_{stage}"] == (kernels * positions).sum() + 2 * c
        assert note[f"channels_{stage}"] == a + b + b + c + c


def test_the_pruned_network_is_as_good_again(smaller: Model):
    note = smaller.notes["optimize.prune"]
    assert note["accuracy_before"] > 0.9
    assert note["accuracy_after"] >= note["accuracy_before"] - 0.05
    assert note["history"][-1]["loss"] < note["history"][0]["loss"]


def test_the_pruned_network_shows_what_it_is_and_where_it_came_from(smaller: Model, trained: Path):
    assert (smaller.variant, smaller.signature.origin) == ("pruned", "")
    assert smaller.signature.inputs == open_model(trained).signature.inputs
    assert smaller.lineage[-1].parents["model"] == open_model(trained).digest
    assert smaller.sparsity == pytest.approx(0.75, abs=0.02)
    assert "75 % of the layers' weights are removed" in smaller.notes["optimize.prune"]["speed"]


def test_a_network_that_was_pruned_can_be_pruned_again(smaller: Model, digits: Path, tmp_path: Path):
    run(smaller.path, digits, tmp_path / "again", Config(**QUICK))
    kernels = [m for m in load_network(open_model(tmp_path / "again")).modules() if isinstance(m, torch.nn.Conv2d)]
    assert [layer.out_channels for layer in kernels] == [8, 16, 16, 24, 24]


def test_keeping_everything_without_distillation_changes_only_what_normalisation_has_seen(trained: Path):
    what, network = read_architecture(open_model(trained)), load_network(open_model(trained))
    image = torch.randint(0, 256, (3, 28, 28, 1), dtype=torch.uint8)
    before = network(image)
    remove(network, what, 1.0)
    assert torch.equal(network(image), before)


def test_none_passes_the_model_through(trained: Path, digits: Path, tmp_path: Path):
    run(trained, digits, tmp_path / "same", Config(method="none"))
    assert open_model(tmp_path / "same").digest == open_model(trained).digest


@pytest.mark.parametrize("name", ["torchvision:resnet18", "torchvision:mobilenet_v2", "efficientnet-lite0", "linear"])
def test_networks_of_many_kinds_shrink_and_still_predict(name: str):
    network, what = network_of(name), architecture(name)
    before = sum(weight.numel() for weight in network.parameters()), count_multiplications(network, what)
    remove(network, what, 0.5)
    after = sum(weight.numel() for weight in network.parameters()), count_multiplications(network, what)
    assert after[0] < 0.55 * before[0]
    assert after[1] < 0.55 * before[1]
    kinds = torch.nn.Conv2d | torch.nn.Linear
    widths = [len(layer.weight) for layer in network.modules() if isinstance(layer, kinds)]
    assert widths.pop() == 2, "the head keeps its classes"
    assert all(width % 8 == 0 for width in widths)


def test_channels_that_do_nothing_go_first_and_are_not_missed():
    network, what = network_of("cnn", 28), architecture("cnn", 28)
    with torch.no_grad():
        for block in network.body[:5]:
            block[0].weight[::2] = 0
            for part in (block[1].weight, block[1].bias):
                part[::2] = 0
        for block, reader in zip(network.body[:5], [*network.body[1:5], None], strict=True):
            readers = reader[0] if reader else network.body[7]
            readers.weight[:, ::2] = 0
            assert block[1].bias[::2].abs().sum() == 0
    image = torch.randint(0, 256, (3, 28, 28, 1), dtype=torch.uint8)
    before = network(image)
    remove(network, what, 0.5)
    assert network.body[3][0].out_channels == 48
    torch.testing.assert_close(network(image), before, rtol=1e-4, atol=1e-5)


def test_normalisation_is_that_of_the_batches_that_were_seen():
    rng = np.random.default_rng(0)
    rows = ImageDataset(rng.integers(0, 256, (40, 28, 28, 1), dtype=np.uint8), np.zeros(40, np.int64))
    network = network_of("cnn", 28)
    reset_batch_norm(network, rows.batches(10, 0, torch.device("cpu")))
    with torch.inference_mode():
        seen = network.body[0][0](torch.from_numpy(rows.images).permute(0, 3, 1, 2) * network.scale + network.offset)
    torch.testing.assert_close(network.body[0][1].running_mean, seen.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert not network.training


# --- what cannot be pruned ---


def test_a_network_with_other_kinds_of_layers_is_rejected():
    with pytest.raises(ArtifactError, match="only networks of convolutions, linear layers and batch normalization"):
        check_layers(network_of("timm:vit_tiny_patch16_224"))


def test_a_network_whose_groups_have_no_end_is_rejected(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("toolchain.optimize.prune.channels.MAX_ANALYSIS_S", 0.5)
    with pytest.raises(UnprunableError, match=r"rexnet_100 cannot be pruned: .*not found within 0\.5 s; use"):
        remove(network_of("timm:rexnet_100"), architecture("timm:rexnet_100"), 0.5)


def test_a_network_is_rejected_before_images_are_read(digits: Path, tmp_path: Path):
    what = architecture("timm:vit_tiny_patch16_224")
    known = {"task": "image-classification", "framework": "pytorch", "variant": "fp32", "backend": "pytorch"}
    with new_model(tmp_path / "vit", Signature(**known, weights=WEIGHTS, labels=("0", "1")), Work("x", None)) as writer:
        save_network(network_of(what.name), what, writer.folder)
    with pytest.raises(ArtifactError, match="use method none"):
        run(tmp_path / "vit", digits, tmp_path / "out", Config(**QUICK))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ({"method": "unstructured"}, "method 'unstructured' is for texts"),
        ({"batch_size": 1}, "batch_size is 1"),
    ],
)
def test_a_setting_that_is_not_for_images_is_rejected(
    setting: dict[str, Any], complaint: str, digit_network: Path, digits: Path, tmp_path: Path
):
    with pytest.raises(ConfigError, match=complaint):
        run(digit_network, digits, tmp_path / "out", Config(**setting))


def test_an_empty_split_is_rejected(digit_network: Path, make_images: Callable[..., Path], tmp_path: Path):
    rows = [(np.zeros((28, 28, 1), np.uint8), 0)]
    with pytest.raises(DataError, match="no rows in its validation split"):
        run(digit_network, make_images({"train": rows, "validation": []}), tmp_path / "out", Config(**QUICK))


def test_a_loss_that_is_no_number_ends_the_step_and_leaves_nothing(digit_network: Path, digits: Path, tmp_path: Path):
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) after \d+ batches"):
        run(digit_network, digits, tmp_path / "out", Config(**{**QUICK, "epochs": 9}, learning_rate=1e38))
    assert not (tmp_path / "out").exists()
