from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from toolchain.artifacts.digest import sha256_of_file
from toolchain.errors import ArtifactError, ConfigError, ServiceError
from toolchain.frameworks.torch.weights import fetch_weights, timm_weights, torchvision_weights


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.save({"model": {"module.weight": torch.ones(2)}}, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def test_tensors_are_found_inside_a_training_scripts_state(file: Path):
    weights = fetch_weights(str(file), sha256_of_file(file))
    assert weights.tensors.keys() == {"weight"}
    assert weights.sha256 == sha256_of_file(file)


def test_another_digest_is_an_error(file: Path):
    with pytest.raises(ConfigError, match=f"expected {'0' * 64}"):
        fetch_weights(str(file), "0" * 64)


def test_a_file_without_tensors_is_an_error(tmp_path: Path):
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ArtifactError, match="no tensors by name"):
        fetch_weights(str(tmp_path / "list.pth"))


def fail(*_: object, **__: object) -> None:
    raise OSError("Name or service not known")


@pytest.mark.parametrize(
    ("download", "name", "patched"),
    [
        (torchvision_weights, "resnet18", "torchvision.models._api.load_state_dict_from_url"),
        (timm_weights, "resnet18", "timm.create_model"),
    ],
)
def test_a_library_whose_server_is_out_of_reach(
    download: Callable[[str], Any], name: str, patched: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(patched, fail)
    with pytest.raises(ServiceError, match="resnet18 cannot be downloaded"):
        download(name)


def test_a_model_without_published_weights_is_an_error():
    with pytest.raises(ConfigError, match="timm has no weights for test_vit"):
        timm_weights("test_vit_that_is_not_there")
