"""Component for toolchain.augment.text."""

from kfp import dsl

from components.images import TEXT


@dsl.component(base_image=TEXT, install_kfp_package=False)
def text(
    dataset: dsl.Input[dsl.Dataset],
    augmented: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    copies: int = 1,
    fraction: float = 0.1,
    synonyms: float = 0.3,
    insertion: float = 0.05,
    swap: float = 0.03,
    deletion: float = 0.05,
    protected: list[str] = [],
    seed: int = 0,
    workers: int = 0,
):
    """Add rewritten copies of some training rows that keep their meaning.

    Args:
        dataset: Texts in splits.
        augmented: The dataset with copies in the training split, marked by a column `augmented`.
        metrics: copies, unchanged, in_other_splits, non_english.
        copies: Rewritten copies of each selected row, 0..20; 0: the dataset is unchanged.
        fraction: Fraction of the training rows to augment, 0..1; a copy costs as much training time as a row.
        synonyms: Probability to replace a word that has a good synonym; about one word in ten has one.
        insertion: Probability to insert a synonym before an adjective or adverb.
        swap: Probability to swap two neighboring words; below EDA's 0.1, because a copy combines four operations.
        deletion: Probability to delete an article or adverb.
        protected: Words to leave unchanged, case-insensitive.
        seed: Random seed; the copies do not depend on the number of workers.
        workers: Number of processes; 0: one per CPU core, or fewer for few copies.
    """
    from pathlib import Path

    from toolchain.augment.text import Config, run

    config = Config(
        copies=copies,
        fraction=fraction,
        synonyms=synonyms,
        insertion=insertion,
        swap=swap,
        deletion=deletion,
        protected=protected,
        seed=seed,
        workers=workers,
    )
    result = run(Path(dataset.path), Path(augmented.path), config)
    metrics.log_metric("copies", result.copies)
    metrics.log_metric("unchanged", result.unchanged)
    metrics.log_metric("in_other_splits", result.in_other_splits)
    metrics.log_metric("non_english", result.non_english)
