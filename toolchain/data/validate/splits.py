"""The splits that a validated dataset must have."""

from toolchain.artifacts.dataset import Dataset

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")


def required_splits(dataset: Dataset) -> tuple[str, ...]:
    """Return the splits that ``dataset`` must have: all three, or only test in a dataset for measuring a model."""
    return (TEST,) if set(dataset.splits) == {TEST} else SPLITS
