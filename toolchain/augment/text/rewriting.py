"""Rewrite texts: replace, insert, swap and delete words."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from random import Random

from toolchain.augment.text.operations import (
    Word,
    correct_articles,
    delete_words,
    insert_words,
    join,
    replace_words,
    swap_words,
)
from toolchain.augment.text.settings import Config

MAX_ATTEMPTS = 8  # to make a copy that differs from its original: EDA changes at least one word


@dataclass(frozen=True)
class Copy:
    """A rewritten text."""

    text: str
    operations: tuple[str, ...]  # in order, such as "synonym: film → movie"; empty if the text is unchanged
    language: str = ""  # of a text that was not rewritten because it is not English


def augment(rows: Iterable[int], texts: Iterable[str], config: Config) -> list[list[Copy]]:
    """Return ``config.copies`` copies of each of ``texts``, some possibly unchanged.

    A text that is not English gets one copy that names its language. A copy depends on the text, its row number and the
    seed alone.

    Raises:
        DataError: a package with the dictionary or the tagger is missing.
    """
    from toolchain.augment.text.language import ENGLISH, language_of, read

    inputs = [(row, text, language_of(text)) for row, text in zip(rows, texts, strict=True)]
    english = [text for _, text, language in inputs if language == ENGLISH]
    words = iter(list(read(english, config.protected)) if english else [])  # without English text, nothing is loaded
    return [
        _copies(next(words), row, config) if language == ENGLISH else [Copy(text, (), language)]
        for row, text, language in inputs
    ]


def _copies(words: list[Word], row: int, config: Config) -> list[Copy]:
    return [_rewrite(words, Random(f"{config.seed}/{row}/{copy}"), config) for copy in range(config.copies)]


def _rewrite(words: list[Word], rng: Random, config: Config) -> Copy:
    from toolchain.augment.text.language import synonyms

    steps = (
        partial(replace_words, rate=config.synonyms, synonyms=synonyms),
        partial(insert_words, rate=config.insertion, synonyms=synonyms),
        partial(swap_words, rate=config.swap),
        partial(delete_words, rate=config.deletion),
    )
    original = join(words)
    for _ in range(MAX_ATTEMPTS):
        result, operations = words, list[str]()
        for step in steps:
            result, changes = step(result, rng=rng)
            operations += changes
        text = join(correct_articles(result, words))
        if text != original:
            return Copy(text, tuple(operations))
    return Copy(original, ())
