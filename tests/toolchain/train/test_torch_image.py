import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from toolchain.artifacts.dataset import open_dataset
from toolchain.artifacts.model import open_model, require
from toolchain.errors import ArtifactError, ConfigError, DataError, TrainingError
from toolchain.frameworks.torch.checkpoint import Checkpoint
from toolchain.frameworks.torch.device import TrainingDevice
from toolchain.frameworks.torch.image_classifier import (
    EFFICIENTNET_LITE0,
    Architecture,
    build_network,
    load_network,
    normalisation,
)
from toolchain.frameworks.torch.image_dataset import Shape, read_images
from toolchain.frameworks.torch.weights import LITE_WEIGHTS, PINNED
from toolchain.image_decoding import crop_middle, resize
from toolchain.train.torch_image import Config, run, train
from toolchain.train.torch_image.base import find_weights, load_weights
from toolchain.train.torch_image.loop import balanced
from toolchain.train.torch_image.mixing import flip_half, mix, patch

QUICK = {"epochs": 1, "batch_size": 32}
CPU = TrainingDevice(torch.device("cpu"), None)


def network_of(name: str = "cnn", classes: int = 2, size: int = 28) -> torch.nn.Module:
    torch.manual_seed(0)
    values = 1 if name in ("cnn", "linear") else 3
    return build_network(Architecture(name, classes, 1, size, size, (0.5,) * values, (0.25,) * values))


# --- what comes out ---


def test_learns_and_writes_a_model_that_the_next_steps_take(digits: Path, tmp_path: Path):
    result = run(digits, tmp_path / "model", Config(epochs=3, batch_size=16))
    model = open_model(tmp_path / "model")
    require(model, "image-classification", "pytorch")
    note = model.notes["train.torch_image"]
    assert result.validation_accuracy == max(epoch["validation_accuracy"] for epoch in note["history"]) > 0.9
    assert note["history"][-1]["loss"] < note["history"][0]["loss"]
    assert {"epoch", "loss", "validation_accuracy", "seconds"} <= note["history"][0].keys()
    (image,) = model.signature.inputs
    assert (image.name, image.dtype, image.shape) == ("image", "uint8", ("batch", 28, 28, 1))
    assert model.lineage[-1].parents == {"dataset": open_dataset(digits).digest}


def test_the_written_model_predicts_as_its_note_states(digits: Path, digit_network: Path):
    model = open_model(digit_network)
    rows = read_images(open_dataset(digits), "validation", Shape(28, 28, 1))
    with torch.inference_mode():
        found = load_network(model)(torch.from_numpy(rows.images)).argmax(1).numpy()
    assert (found == rows.labels).mean() == pytest.approx(
        model.notes["train.torch_image"]["validation_accuracy"], abs=1e-6
    )


def test_the_same_seed_makes_the_same_model(digits: Path, tmp_path: Path):
    for name in ("one", "two"):
        run(digits, tmp_path / name, Config(**QUICK, mixup=0.2, cutmix=1.0, horizontal_flip=True, ema_decay=0.9))
    assert open_model(tmp_path / "one").files == open_model(tmp_path / "two").files


def test_few_batches_are_enough_to_be_normalised_by(digits: Path, tmp_path: Path):
    """A moving mean that began at 0 would hold two thirds of it after 4 batches, and validation be far off."""
    run(digits, tmp_path / "model", Config(epochs=1, batch_size=30, learning_rate=1e-12))
    network = load_network(open_model(tmp_path / "model"))
    images = torch.from_numpy(read_images(open_dataset(digits), "train", Shape(28, 28, 1)).images)
    convolution, norm = network.body[0][0], network.body[0][1]
    with torch.inference_mode():
        seen = convolution(images.permute(0, 3, 1, 2) * network.scale + network.offset)
    torch.testing.assert_close(norm.running_mean, seen.mean((0, 2, 3)), rtol=1e-3, atol=1e-4)


def test_normalises_by_the_training_images(digits: Path, digit_network: Path):
    pixels = read_images(open_dataset(digits), "train", Shape(28, 28, 1)).images / 255
    found = open_model(digit_network).notes["train.torch_image"]["architecture"]
    assert found["mean"] == pytest.approx([pixels.mean()], abs=1e-3)
    assert found["deviation"] == pytest.approx([pixels.std()], abs=1e-3)


def test_a_training_that_was_killed_goes_on_as_if_it_had_not_been(digits: Path, tmp_path: Path):
    rows = open_dataset(digits)
    training, validation = (read_images(rows, split, Shape(28, 28, 1)) for split in ("train", "validation"))
    config, checkpoint = Config(epochs=2, batch_size=32, checkpoint_batches=1, ema_decay=0.9), Checkpoint(tmp_path)
    whole, killed, resumed = network_of(), network_of(), network_of()
    train(whole, 2, training, validation, config, CPU)

    class Killed(Exception):
        pass

    def kill(state: Any, metrics: Any) -> None:
        if state.history:
            raise Killed

    with pytest.raises(Killed):  # at the end of the first epoch, after the checkpoint of the batch before
        train(killed, 2, training, validation, config, CPU, kill, checkpoint)
    assert (tmp_path / "state.pt").is_file()
    train(resumed, 2, training, validation, config, CPU, checkpoint=checkpoint)
    state = resumed.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in whole.state_dict().items())


# --- weights to begin from ---


@pytest.fixture(scope="module")
def other(digits: Path, digit_network: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return weights of the compact network for five other classes."""
    path = tmp_path_factory.mktemp("weights") / "five.safetensors"
    save_file({name: value.contiguous() for name, value in network_of(classes=5).state_dict().items()}, path)
    return path


def test_weights_for_other_classes_are_taken_with_a_new_head(
    digits: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run(digits, tmp_path / "model", Config(**QUICK, weights=str(other), freeze_backbone_epochs=1))
    assert "body.7 starts at random for the 2" in capsys.readouterr().out
    given, found = find_weights("cnn", str(other)).tensors, load_network(open_model(tmp_path / "model")).state_dict()
    same = {name for name, value in found.items() if torch.equal(value, given[name])}
    assert found.keys() - same == {"body.7.weight", "body.7.bias"}, "all but the head was frozen, norms included"
    assert open_model(tmp_path / "model").lineage[-1].source["uri"] == str(other)
    assert open_model(tmp_path / "model").notes["train.torch_image"]["new_head"]


def test_a_models_folder_is_taken_whole(digits: Path, digit_network: Path):
    network = network_of()
    assert not load_weights(network, find_weights("cnn", str(digit_network)), 2)
    state, given = network.state_dict(), load_network(open_model(digit_network)).state_dict()
    assert all(torch.equal(value, state[name]) for name, value in given.items() if "num_batches" not in name)


def test_weights_in_a_training_scripts_form_are_found(tmp_path: Path):
    state = {f"module.{name}": value for name, value in network_of("linear").body.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "weights.pth")
    network = network_of("linear")
    torch.nn.init.zeros_(network.body[1].weight)
    assert not load_weights(network, find_weights("linear", str(tmp_path / "weights.pth")), 2)
    assert torch.equal(network.body[1].weight, state["module.1.weight"])


@pytest.mark.slow
def test_efficientnet_lite0_knows_a_temple_and_a_daisy():
    from sklearn.datasets import load_sample_images
    from timm.data import ImageNetInfo

    network = build_network(Architecture(EFFICIENTNET_LITE0, 1000, 3, 224, 224, *normalisation(EFFICIENTNET_LITE0)))
    assert not load_weights(network, find_weights(EFFICIENTNET_LITE0, "pretrained"), 1000)
    images = np.stack([resize(crop_middle(image, 224, 224), 224, 224) for image in load_sample_images().images])
    with torch.inference_mode():
        ranked = network.eval()(torch.from_numpy(images)).topk(5).indices.tolist()
    names = [[ImageNetInfo().index_to_description(index) for index in row] for row in ranked]
    assert names[0][0].startswith("palace")
    assert {"monastery", "lakeside, lakeshore"} <= set(names[0])
    assert names[1][0].startswith("daisy")


@pytest.mark.slow
def test_efficientnet_lite0_learns_a_new_task_with_its_body_frozen(digits: Path, tmp_path: Path):
    config = Config(
        base_model=EFFICIENTNET_LITE0,
        weights="pretrained",
        height=64,
        width=64,
        epochs=4,
        freeze_backbone_epochs=4,
        batch_size=16,
        learning_rate=1e-2,
    )
    result = run(digits, tmp_path / "model", config)
    assert result.validation_accuracy > 0.9
    assert open_model(tmp_path / "model").lineage[-1].source["sha256"] == PINNED[LITE_WEIGHTS]


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda path: path.write_bytes(b"not weights"), "holds no readable weights"),
        (lambda path: torch.save([1, 2], path), "holds no tensors by name"),
        (lambda path: torch.save({}, path), "holds no tensors by name"),
    ],
)
def test_damaged_weights_are_rejected(damage: Callable[[Path], Any], complaint: str, tmp_path: Path):
    damage(tmp_path / "weights.pth")
    with pytest.raises(ArtifactError, match=complaint):
        find_weights("cnn", str(tmp_path / "weights.pth"))


def test_a_file_that_would_run_code_is_not_run(tmp_path: Path):
    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return (tmp_path / "ran").touch, ()

    torch.save({"weight": Hostile()}, tmp_path / "weights.pth")
    with pytest.raises(ArtifactError, match="holds no readable weights"):
        find_weights("cnn", str(tmp_path / "weights.pth"))
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_architecture_are_rejected(other: Path):
    with pytest.raises(ArtifactError, match=r"is of another architecture: \d+ tensors are missing"):
        load_weights(network_of("torchvision:resnet18"), find_weights("torchvision:resnet18", str(other)), 2)


def test_weights_with_parts_that_the_network_lacks_are_rejected(tmp_path: Path):
    state = {**network_of("linear").body.state_dict(), "9.weight": torch.zeros(3)}
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(ArtifactError, match=r"1 are foreign \(body.9.weight\)"):
        load_weights(network_of("linear"), find_weights("linear", str(tmp_path / "weights.pth")), 2)


def test_weights_with_another_digest_are_rejected(other: Path):
    with pytest.raises(ConfigError, match=f"have SHA-256 [0-9a-f]{{64}}, expected {'0' * 64}"):
        find_weights("cnn", str(other), "0" * 64)


def test_an_architecture_without_published_weights_logs_it():
    with pytest.raises(ConfigError, match="no pretrained weights for cnn"):
        find_weights("cnn", "pretrained")


# --- data that cannot be learned from ---


def dark_and_light(rows: int, size: int = 8, channels: int = 1) -> list[tuple[np.ndarray, int]]:
    rng = np.random.default_rng(0)
    return [
        ((rng.integers(0, 100, (size, size, channels)) + 150 * (n % 2)).astype(np.uint8), n % 2) for n in range(rows)
    ]


def test_images_of_different_sizes_and_colours_are_brought_to_one(make_images: Callable[..., Path], tmp_path: Path):
    rows = dark_and_light(12) + dark_and_light(12, size=12, channels=3)
    dataset = make_images({"train": rows, "validation": rows})
    run(dataset, tmp_path / "model", Config(**QUICK, height=16, width=20))
    assert open_model(tmp_path / "model").signature.inputs[0].shape == ("batch", 16, 20, 3)


@pytest.mark.parametrize(
    ("splits", "labels", "complaint"),
    [
        ({"train": dark_and_light(8)[::2], "validation": dark_and_light(8)}, ("a", "b"), "all training rows are 'a'"),
        ({"train": dark_and_light(8), "validation": []}, ("a", "b"), "no rows in its validation split"),
        ({"train": [], "validation": dark_and_light(8)}, ("a", "b"), "no rows in its train split"),
        ({"train": dark_and_light(8)}, ("a", "b"), "has no split 'validation'"),
        ({"train": dark_and_light(8), "validation": dark_and_light(8)}, (), "has 0 label names"),
    ],
)
def test_a_dataset_that_teaches_nothing_is_rejected(
    splits: dict[str, Any], labels: tuple[str, ...], complaint: str, make_images: Callable[..., Path], tmp_path: Path
):
    with pytest.raises(DataError, match=complaint):
        run(make_images(splits, labels), tmp_path / "model", Config(**QUICK))
    assert not (tmp_path / "model").exists()


def test_a_class_without_rows_is_reported_and_noted(
    make_images: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    dataset = make_images({"train": dark_and_light(16), "validation": dark_and_light(8)}, ("a", "b", "c"))
    run(dataset, tmp_path / "model", Config(**QUICK, class_weights="balanced"))
    assert "no training image has the class c" in capsys.readouterr().out
    assert open_model(tmp_path / "model").notes["train.torch_image"]["classes_without_rows"] == ["c"]


def test_images_too_small_for_the_architecture_are_rejected(digits: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"torchvision:alexnet cannot take images of 28 x 28 pixels .*set height"):
        run(digits, tmp_path / "model", Config(base_model="torchvision:alexnet", **QUICK))


def test_a_loss_that_is_no_number_ends_the_step_and_leaves_nothing(digits: Path, tmp_path: Path):
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) after \d+ batches"):
        run(digits, tmp_path / "model", Config(base_model="linear", epochs=9, learning_rate=1e38, batch_size=2))
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ({"batch_size": 0}, "batch_size must be 2 or more"),
        ({"epochs": 0}, "epochs must be 1 or more"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0"),
        ({"channels": 2}, "channels must be 1"),
        ({"class_weights": "all"}, "class_weights is 'all'; choose one of none, balanced"),
        ({"label_smoothing": 1.0}, "label_smoothing must be from 0 to below 1"),
        ({"mixup": -1.0}, "mixup must be 0 or more"),
        ({"height": -1}, "height must be 0 or more"),
        ({"freeze_backbone_epochs": 1}, "freeze_backbone_epochs keeps weights that know something"),
    ],
)
def test_a_setting_that_cannot_work_is_rejected(setting: dict[str, Any], complaint: str):
    with pytest.raises(ConfigError, match=complaint):
        Config(**setting)


def test_an_unknown_architecture_is_rejected_before_anything_is_read(tmp_path: Path):
    with pytest.raises(ConfigError, match="there is no architecture 'cnnn'; similar ones are cnn"):
        run(tmp_path / "nothing", tmp_path / "model", Config(base_model="cnnn"))


# --- the parts ---


@given(st.integers(1, 64), st.integers(1, 64), st.floats(0, 1), st.integers(0, 99))
def test_a_patch_lies_inside_and_covers_no_more_than_its_share(height: int, width: int, share: float, seed: int):
    rows, columns = patch(height, width, share, np.random.default_rng(seed))
    assert 0 <= rows.start <= rows.stop <= height
    assert 0 <= columns.start <= columns.stop <= width
    sides = (rows.stop - rows.start, columns.stop - columns.start)
    assert all(side <= size * share**0.5 + 1 for side, size in zip(sides, (height, width), strict=True))


@pytest.mark.parametrize(("mixup", "cutmix"), [(1.0, 0.0), (0.0, 1.0)])
@given(st.integers(0, 99))
def test_mixed_images_have_as_much_of_a_class_as_their_labels_state(mixup: float, cutmix: float, seed: int):
    images = torch.tensor([0, 250], dtype=torch.uint8).reshape(2, 1, 1, 1).expand(2, 20, 20, 1)
    mixed = mix(images, torch.tensor([0, 1]), mixup, cutmix, np.random.default_rng(seed))
    light = mixed.share * mixed.labels + (1 - mixed.share) * mixed.others
    torch.testing.assert_close(mixed.images.float().mean((1, 2, 3)), 250 * light, rtol=1e-4, atol=1e-2)


def test_about_half_of_the_images_are_mirrored():
    images = torch.arange(6, dtype=torch.uint8).reshape(1, 1, 6, 1).expand(1000, 1, 6, 1)
    first = flip_half(images, np.random.default_rng(0))[:, 0, :, 0]
    turned = (first == torch.arange(5, -1, -1)).all(1)
    assert (turned | (first == torch.arange(6)).all(1)).all()
    assert 450 < turned.sum() < 550


def test_rare_classes_count_more_when_they_are_balanced(make_images: Callable[..., Path]):
    rows = dark_and_light(16)[::2] + dark_and_light(4)[1::2]  # eight dark ones, two light ones
    training = read_images(open_dataset(make_images({"train": rows})), "train", Shape(8, 8, 1))
    found = balanced(training, 2, CPU)
    assert found.tolist() == pytest.approx([10 / (2 * 8), 10 / (2 * 2)])


def test_a_copy_of_the_model_elsewhere_is_as_good(digit_network: Path, tmp_path: Path):
    moved = Path(shutil.copytree(digit_network, tmp_path / "moved"))
    assert find_weights("cnn", str(moved)).sha256 == open_model(digit_network).files["model.safetensors"]
