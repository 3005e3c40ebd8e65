"""Every family of networks that docs name learns for a step, is is saved, and is pruned or refused in one line."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from toolchain.artifacts.model import open_model
from toolchain.errors import ConfigError, UnprunableError
from toolchain.frameworks.torch.image_classifier import load_network
from toolchain.optimize.prune import Config as Pruning
from toolchain.optimize.prune import run as prune
from toolchain.train.torch_image import Config, run

RECOVERY = Pruning(epochs=1, batch_size=2, importance_batches=1)
SLOW = [pytest.mark.slow]
PRUNED = [  # with the pixels of a side
    ("cnn", 32),
    ("linear", 32),
    ("efficientnet-lite0", 32),
    ("torchvision:mnasnet0_5", 32),
    ("torchvision:mobilenet_v2", 32),
    ("torchvision:mobilenet_v3_small", 32),
    ("torchvision:resnet18", 32),
    ("torchvision:squeezenet1_1", 32),
    ("timm:mobilenetv3_small_050", 32),
    ("timm:resnet10t", 32),
    pytest.param("torchvision:alexnet", 224, marks=SLOW),
    pytest.param("torchvision:densenet121", 32, marks=SLOW),
    pytest.param("torchvision:efficientnet_b0", 32, marks=SLOW),
    pytest.param("torchvision:efficientnet_v2_s", 32, marks=SLOW),
    pytest.param("torchvision:regnet_x_400mf", 32, marks=SLOW),
    pytest.param("torchvision:regnet_y_400mf", 32, marks=SLOW),
    pytest.param("torchvision:resnext50_32x4d", 32, marks=SLOW),
    pytest.param("torchvision:vgg11", 224, marks=SLOW),
    pytest.param("torchvision:vgg11_bn", 224, marks=SLOW),
    pytest.param("torchvision:wide_resnet50_2", 32, marks=SLOW),
]
REFUSED = [  # by pruning
    ("torchvision:shufflenet_v2_x0_5", 32),
    ("timm:convnext_atto", 32),
    pytest.param("torchvision:convnext_tiny", 32, marks=SLOW),
    pytest.param("torchvision:maxvit_t", 224, marks=SLOW),
    pytest.param("torchvision:swin_t", 32, marks=SLOW),
    pytest.param("torchvision:swin_v2_t", 32, marks=SLOW),
    pytest.param("torchvision:vit_b_16", 224, marks=SLOW),
]


@pytest.fixture(scope="module")
def five(make_images: Callable[..., Path]) -> Callable[[int], Path]:
    """Return a function that writes 5 images of a size to train on, dark and light, and 2 to validate."""
    known: dict[int, Path] = {}
    random = np.random.default_rng(0)

    def write(size: int) -> Path:
        if size not in known:
            noise = random.integers(0, 100, (7, size, size, 3), dtype=np.uint8)
            rows = [(image + 150 * (number % 2), number % 2) for number, image in enumerate(noise)]
            known[size] = make_images({"train": rows[:5], "validation": rows[5:]})
        return known[size]

    return write


def begin(name: str, dataset: Path, target: Path) -> None:
    """Train for an epoch: 5 images in batches of two, the last of which must not be a single image."""
    run(dataset, target, Config(base_model=name, epochs=1, batch_size=2))
    load_network(open_model(target))


@pytest.mark.parametrize(("name", "size"), PRUNED)
def test_a_family_learns_and_is_pruned(name: str, size: int, five: Callable[[int], Path], tmp_path: Path):
    begin(name, five(size), tmp_path / "whole")
    result = prune(tmp_path / "whole", five(size), tmp_path / "pruned", RECOVERY)
    load_network(open_model(tmp_path / "pruned"))
    assert result.sparsity > 0.2


@pytest.mark.parametrize(("name", "size"), REFUSED)
def test_a_family_learns_and_is_rejected_by_pruning_or_skipped(
    name: str, size: int, five: Callable[[int], Path], tmp_path: Path
):
    begin(name, five(size), tmp_path / "whole")
    with pytest.raises(UnprunableError, match="use method none") as caught:
        prune(tmp_path / "whole", five(size), tmp_path / "pruned", RECOVERY)
    assert "\n" not in str(caught.value)
    result = prune(tmp_path / "whole", five(size), tmp_path / "same", replace(RECOVERY, unprunable="skip"))
    assert result.skipped == str(caught.value)
    assert open_model(tmp_path / "same").digest == open_model(tmp_path / "whole").digest


def test_pooling_that_onnx_cannot_express_is_rejected_before_training(five: Callable[[int], Path], tmp_path: Path):
    with pytest.raises(ConfigError, match=r"vgg11 cannot take images of 32 x 32 pixels \(it pools 1 x 1 .* 224"):
        run(five(32), tmp_path / "out", Config(base_model="torchvision:vgg11", epochs=1, batch_size=4))


def test_progress_is_shown_from_the_first_batch_on_in_training_and_in_distillation(
    five: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("toolchain.progress.LOG_INTERVAL_S", 0.0)
    run(five(32), tmp_path / "model", Config(base_model="cnn", epochs=1, batch_size=2))
    lines = capsys.readouterr().out.splitlines()
    start = next(position for position, line in enumerate(lines) if line.startswith("training on 5 images: 2 batches"))
    assert lines[start + 1].startswith("progress: train 1/2 batches (50 %)")
    prune(tmp_path / "model", five(32), tmp_path / "pruned", RECOVERY)
    (first,) = [line for line in capsys.readouterr().out.splitlines() if "distil 1/2" in line]
    assert "loss" in first
