import pytest
import torch

from toolchain.frameworks.torch.tensors import load_tensors


def test_tensors_of_a_plain_dict_are_loaded_with_the_versions_of_layers():
    """A batch norm without its version gets a count of batches that starts at 0, independently of the tensors."""
    source, target = (torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)) for _ in range(2))
    source(torch.rand(4, 3))
    load_tensors(target, dict(source.state_dict()))
    assert target[1].num_batches_tracked == 1
    assert all(torch.equal(target.state_dict()[name], tensor) for name, tensor in source.state_dict().items())


def test_a_missing_tensor_is_an_error_only_where_strict():
    module = torch.nn.Linear(3, 2)
    with pytest.raises(RuntimeError, match="bias"):
        load_tensors(module, {"weight": torch.ones(2, 3)})
    load_tensors(module, {"weight": torch.ones(2, 3)}, strict=False)
    assert torch.equal(module.weight, torch.ones(2, 3))


def test_tensors_of_another_shape_are_an_error():
    with pytest.raises(RuntimeError, match="size mismatch"):
        load_tensors(torch.nn.Linear(3, 2), {"weight": torch.ones(2, 4), "bias": torch.ones(2)})
