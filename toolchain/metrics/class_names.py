"""Check that a dataset has the classes of a model."""

from collections.abc import Sequence

from toolchain.artifacts.dataset import Dataset
from toolchain.errors import DataError


def check_classes(data: Dataset, names: Sequence[str]) -> None:
    """Raise DataError unless the classes of ``data`` are ``names``, in their order."""
    if list(data.labels) != list(names):
        raise DataError(f"{data.path} has the classes {', '.join(data.labels)}; the model has {', '.join(names)}")
