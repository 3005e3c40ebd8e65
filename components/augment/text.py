"""Augment text: toolchain.augment.text, in the text image."""

from kfp import dsl

from components.images import TEXT


@dsl.component(base_image=TEXT, install_kfp_package=False)
def text(
    dataset: dsl.Input[dsl.Dataset],
    augmented: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    copies: int = 1,
    share: float = 0.1,
    synonyms: float = 0.3,
    insertion: float = 0.05,
    swap: float = 0.03,
    deletion: float = 0.05,
    protected: list[str] = [],
    seed: int = 0,
    workers: int = 0,
):
    """Rewrite some training rows so that they say the same in other words, and add the copies.

    Args:
        dataset: Texts in splits.
        augmented: The same with copies in the training split, told apart by a column `augmented`.
        metrics: copies, unchanged, held_out, not_english.
        copies: Rewritten copies of each chosen row, 0 to 20.
        share: Share of the training rows that are chosen, 0 to 1.
        synonyms: Chance that a word with a good synonym is replaced.
        insertion: Chance that an adjective or adverb gets a synonym beside it.
        swap: Chance that two neighbours change places.
        deletion: Chance that an article or adverb goes.
        protected: Words that stay as they are.
        seed: The same seed makes the same copies.
        workers: Processes; 0 takes one for each processor.
    """
    from pathlib import Path

    from toolchain.augment.text import Config, run

    config = Config(
        copies=copies,
        share=share,
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
    metrics.log_metric("held_out", result.held_out)
    metrics.log_metric("not_english", result.not_english)
