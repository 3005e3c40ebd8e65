import pytest
import torch

from toolchain.errors import ConfigError
from toolchain.frameworks.torch.device import require_gpus, why_no_gpu
from toolchain.optimize.prune import Config as PruneConfig
from toolchain.train.torch_detector import Config as DetectionConfig
from toolchain.train.torch_image import Config as ImageConfig
from toolchain.train.torch_text import Config as TransformersConfig

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


@without_gpu
def test_a_gpu_that_is_requested_and_not_there_ends_the_step_and_names_the_fix():
    with pytest.raises(ConfigError, match=r"num_gpus is 1, but PyTorch finds 0 \(.+\); .*allow_cpu=true") as refused:
        require_gpus(1, allow_cpu=False)
    assert "\n" not in str(refused.value)


@without_gpu
def test_the_cpu_trains_instead_only_when_it_is_allowed_to_and_that_is_reported(capsys: pytest.CaptureFixture[str]):
    require_gpus(1, allow_cpu=True)
    assert "training on the CPU, as allowed" in capsys.readouterr().out


def test_nothing_is_requested_of_a_machine_when_no_gpu_is_requested(capsys: pytest.CaptureFixture[str]):
    require_gpus(0, allow_cpu=False)
    assert capsys.readouterr().out == ""


@without_gpu
def test_the_reason_is_one_line():
    assert "\n" not in why_no_gpu()
    assert why_no_gpu()


@pytest.mark.parametrize("config", [PruneConfig, DetectionConfig, TransformersConfig, ImageConfig])
@pytest.mark.parametrize("num_gpus", [-1, 2])
def test_a_number_of_gpus_that_one_process_cannot_use_is_rejected(config: type, num_gpus: int):
    with pytest.raises(ConfigError, match=f"num_gpus must be 0 or 1, got {num_gpus}"):
        config(num_gpus=num_gpus)
