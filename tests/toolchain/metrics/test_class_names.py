from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from toolchain.errors import DataError
from toolchain.metrics.class_names import check_classes

DATA: Any = SimpleNamespace(path=Path("dataset"), labels=("cat", "dog"))


def test_equal_classes_are_valid_whatever_holds_them():
    assert check_classes(DATA, ["cat", "dog"]) is None  # type: ignore[func-returns-value]


@pytest.mark.parametrize("names", [("dog", "cat"), ("cat",), ("cat", "dog", "bird")])
def test_other_classes_or_another_order_are_not_valid(names: tuple[str, ...]):
    with pytest.raises(DataError, match="cat, dog"):
        check_classes(DATA, names)
