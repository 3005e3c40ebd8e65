"""Load tensors by name into PyTorch modules."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


def load_tensors(module: "Module", tensors: "Mapping[str, Tensor]", strict: bool = True) -> None:
    """Load ``tensors`` of an equal module into ``module``, in place.

    PyTorch stores the versions of layers as metadata of a module's state, which a plain dict and safetensors lack.
    Without them some layers (MNASNet's) fail to load and others treat the tensors as those of an older version.

    Raises:
        RuntimeError: shapes differ; or, where ``strict``, names do.
    """
    state: OrderedDict[str, Tensor] = OrderedDict(tensors)
    state._metadata = module.state_dict()._metadata  # type: ignore[attr-defined]  # PyTorch sets it on a plain OrderedDict
    module.load_state_dict(state, strict=strict)
