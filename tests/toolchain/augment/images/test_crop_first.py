"""Compare operations after the crop was moved to the front with the original order."""

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.augment.images.crop_first import crop_first, shape_after
from toolchain.augment.images.operations import Crop, Filter, LookupTable, Operation, Resize, Symmetry

SMOOTH = np.stack([np.add.outer(np.arange(37) * 3, np.arange(52) * 2) % 256] * 3, axis=-1).astype(np.uint8)
ALL_SYMMETRIES = [Symmetry(*flags) for flags in product([False, True], repeat=3)]


def apply_all(operations: list[Operation], image: np.ndarray) -> np.ndarray:
    for operation in operations:
        image = operation.apply(image)
    return image


kernels = st.integers(0, 2**16).map(lambda seed: Filter(_kernel(seed)))
tables = st.integers(0, 2**16).map(
    lambda seed: LookupTable(np.random.default_rng(seed).permutation(256).astype(np.uint8))
)
operations_before_crop = st.lists(st.one_of(st.sampled_from(ALL_SYMMETRIES), kernels, tables), max_size=5)


def _kernel(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    kernel = random.random((random.choice([3, 5, 7]),) * 2).astype(np.float32)
    return kernel / kernel.sum()


@settings(max_examples=150)
@given(operations_before_crop, st.data())
def test_reordering_keeps_the_result(before: list[Operation], data: st.DataObject):
    height, width = shape_after(before, (37, 52))
    left, top = data.draw(st.integers(0, width - 2)), data.draw(st.integers(0, height - 2))
    right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
    operations = [*before, Crop((left, top, right, bottom)), Symmetry(True)]
    reordered = crop_first(operations, (37, 52))
    assert shape_after(reordered, (37, 52)) == shape_after(operations, (37, 52))
    difference = apply_all(reordered, SMOOTH).astype(int) - apply_all(operations, SMOOTH).astype(int)
    # a transformed kernel may round differently by 1; a lookup table may amplify that
    allowed = 0 if not any(isinstance(operation, Filter) for operation in before) else 1
    if not any(isinstance(operation, LookupTable) for operation in before):
        assert np.abs(difference).max() <= allowed
    else:
        assert (difference != 0).mean() <= (0.0 if not allowed else 0.05)


def test_a_resize_after_the_crop_moves_before_the_symmetry():
    operations: list[Operation] = [Symmetry(True, True, False), Crop((3, 5, 30, 45)), Resize(20, 16, 1, 0)]
    reordered = crop_first(operations, (37, 52))
    assert [type(operation).__name__ for operation in reordered] == ["Crop", "Resize", "Symmetry"]
    difference = np.abs(apply_all(reordered, SMOOTH).astype(int) - apply_all(operations, SMOOTH).astype(int))
    assert difference.max() <= 1
