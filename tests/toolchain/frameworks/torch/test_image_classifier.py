import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from toolchain.artifacts.model import Model, Signature, new_model, open_model
from toolchain.artifacts.provenance import Work
from toolchain.errors import ArtifactError, ConfigError
from toolchain.frameworks.torch.image_classifier import (
    WEIGHTS,
    Architecture,
    build_network,
    check_name,
    head_name,
    load_network,
    normalisation,
    resize,
    save_network,
)

LABELS = ("cat", "dog", "bird")


def architecture(name: str = "cnn", channels: int = 1, size: int = 28) -> Architecture:
    values = channels if name in ("cnn", "linear") else 3
    return Architecture(name, len(LABELS), channels, size, size, (0.4,) * values, (0.2,) * values)


def random_images(what: Architecture, rows: int = 2) -> torch.Tensor:
    size = (rows, what.height, what.width, what.channels)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Model]:
    def write(
        network: torch.nn.Module, what: Architecture, change: Callable[[Path], Any] = lambda folder: None
    ) -> Model:
        signature = Signature(
            task="image-classification",
            framework="pytorch",
            variant="fp32",
            backend="pytorch",
            weights=WEIGHTS,
            labels=LABELS,
        )
        with new_model(tmp_path / "model", signature, Work("train.torch_image", None)) as writer:
            save_network(network, what, writer.folder)
            change(writer.folder)
        return open_model(tmp_path / "model")

    return write


@pytest.mark.parametrize(
    ("name", "channels", "size"),
    [
        ("cnn", 1, 28),
        ("cnn", 3, 96),
        ("linear", 1, 28),
        ("efficientnet-lite0", 3, 64),
        ("torchvision:resnet18", 1, 64),
        ("timm:mobilenetv3_small_050", 3, 64),
    ],
)
def test_a_network_predicts_the_same_after_saving_and_loading(
    name: str, channels: int, size: int, write: Callable[..., Model]
):
    what = architecture(name, channels, size)
    network = build_network(what).eval()
    loaded = load_network(write(network, what))
    with torch.inference_mode():
        given, found = network(random_images(what)), loaded(random_images(what))
    assert torch.equal(given, found)
    assert (found.shape, found.dtype) == ((2, 3), torch.float32)


def test_pixels_are_normalised_inside():
    what = Architecture("linear", 3, 3, 4, 5, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    network, image = build_network(what).eval(), random_images(what)
    by_hand = (image.numpy() / 255 - np.array(what.mean)) / np.array(what.deviation)
    expected = network.body(torch.from_numpy(by_hand.transpose(0, 3, 1, 2)).float())
    torch.testing.assert_close(network(image), expected, rtol=1e-4, atol=1e-5)


def test_a_grey_image_is_three_equal_channels_to_a_network_of_colours():
    grey = architecture("torchvision:resnet18", 1, 64)
    network = build_network(grey).eval()
    with torch.inference_mode():
        torch.testing.assert_close(network(random_images(grey)), network(random_images(grey).expand(-1, -1, -1, 3)))


def test_the_compact_network_has_the_weights_that_are_counted_by_hand():
    kernels = 9 * (1 * 32 + 32 * 64 + 64 * 64 + 64 * 96 + 96 * 96)
    norms = 2 * (32 + 64 + 64 + 96 + 96)
    network = build_network(architecture())
    assert sum(weight.numel() for weight in network.parameters()) == kernels + norms + 96 * 3 + 3


@pytest.mark.parametrize(("size", "side"), [(28, 7), (40, 10), (41, 6), (80, 10), (224, 7), (640, 10)])
def test_the_compact_network_ends_with_about_as_many_positions_whatever_the_size(size: int, side: int):
    what = architecture("cnn", 1, size)
    body = build_network(what).eval().body
    with torch.inference_mode():
        assert body[:-3](torch.zeros(1, 1, size, size)).shape[-2:] == (side, side)


def test_layers_take_the_shapes_of_smaller_weights(write: Callable[..., Model]):
    what = architecture("timm:mobilenetv3_small_050", 3, 64)
    network = build_network(what).eval()
    expand, depthwise = network.body.blocks[1][1].conv_pw, network.body.blocks[1][1].conv_dw
    assert depthwise.groups == depthwise.in_channels == expand.out_channels
    state = {name: value.clone() for name, value in network.state_dict().items()}
    kept, prefix = 40, "body.blocks.1.1."
    for name, value in state.items():
        if name.startswith((f"{prefix}conv_pw.", f"{prefix}bn1.", f"{prefix}conv_dw.", f"{prefix}bn2.")) and value.ndim:
            state[name] = value[:kept]
    state[f"{prefix}conv_pwl.weight"] = state[f"{prefix}conv_pwl.weight"][:, :kept]

    def swap(folder: Path) -> None:
        save_file({name: value.contiguous() for name, value in state.items()}, folder / WEIGHTS)

    small = load_network(write(network, what, swap))
    layer = small.body.blocks[1][1]
    assert (layer.conv_pw.out_channels, layer.bn1.num_features) == (kept, kept)
    assert (layer.conv_dw.groups, layer.conv_dw.in_channels, layer.conv_dw.out_channels) == (kept, kept, kept)
    assert layer.conv_pwl.in_channels == kept
    assert small(random_images(what)).shape == (2, 3)


def test_grouped_convolutions_keep_their_groups():
    layer = torch.nn.Sequential(torch.nn.Conv2d(16, 32, 3, groups=4))
    resize(layer, {"0.weight": torch.zeros(16, 2, 3, 3), "0.bias": torch.zeros(16)})
    assert (layer[0].groups, layer[0].in_channels, layer[0].out_channels) == (4, 8, 16)
    assert layer(torch.zeros(1, 8, 5, 5)).shape == (1, 16, 3, 3)


def test_the_head_is_the_last_layer_with_an_output_for_each_class():
    assert head_name(build_network(architecture("torchvision:squeezenet1_1", 3, 64)), 3) == "body.classifier.1"
    assert head_name(build_network(architecture()), 3) == "body.7"
    with pytest.raises(ArtifactError, match="no layer with 4 outputs"):
        head_name(build_network(architecture()), 4)


def test_published_weights_come_with_their_normalisation():
    assert normalisation("torchvision:resnet18") == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert normalisation("timm:tf_efficientnet_lite0") == ((0.5,) * 3, (0.5,) * 3)
    assert normalisation("cnn") is None


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("torchvision:resnt18", "torchvision:resnet18"),
        ("timm:resnet8", "timm:resnet18"),
        ("efficientnet_lite0", "efficientnet-lite0"),
        ("resnet18", "torchvision:resnet18"),
        ("torchvision:googlenet", "torchvision:"),
        ("", "cnn"),
    ],
)
def test_an_unknown_name_is_rejected_with_the_nearest(name: str, near: str):
    with pytest.raises(ConfigError, match=f"there is no architecture '{name}'; similar ones are .*{near}"):
        check_name(name)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"channels": 4}, "4 channels"),
        ({"height": 0}, "height is 0"),
        ({"classes": 0}, "classes is 0"),
        ({"mean": (0.5, 0.5)}, "a value for each channel"),
        ({"deviation": (0.0,)}, "above 0"),
    ],
)
def test_an_architecture_that_cannot_be_is_rejected(change: dict[str, Any], complaint: str):
    with pytest.raises(ConfigError, match=complaint):
        Architecture(**{**vars(architecture()), **change})


def edited(file: str, /, **changes: Any) -> Callable[[Path], Any]:
    def edit(folder: Path) -> None:
        (folder / file).write_text(json.dumps({**json.loads((folder / file).read_text()), **changes}))

    return edit


def without_head(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    save_file({name: value for name, value in weights.items() if "body.7" not in name}, folder / WEIGHTS)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda folder: (folder / WEIGHTS).write_bytes(b"damaged" * 9), "holds no network that PyTorch can load"),
        (lambda folder: (folder / "architecture.json").unlink(), "has no architecture.json"),
        (without_head, "holds no network that PyTorch can load"),
        (edited("architecture.json", name="torchvision:resnet18", mean=[0.4] * 3, deviation=[0.2] * 3), "holds no net"),
        (edited("architecture.json", name="resnet"), "there is no architecture 'resnet'"),
        (edited("architecture.json", classes=4), "names 3 labels but its network has 4 outputs"),
        (edited("architecture.json", mean="grey"), "architecture.json is damaged"),
        (edited("architecture.json", channels="one"), "architecture.json is damaged"),
    ],
)
def test_a_damaged_model_is_rejected(change: Callable[[Path], Any], complaint: str, write: Callable[..., Model]):
    model = write(build_network(architecture()), architecture(), change)
    with pytest.raises(ArtifactError, match=complaint):
        load_network(model)
