"""Replace, insert, swap and delete the words of a text: the four operations of EDA (Wei & Zou 2019, arXiv 1901.11196).

They are more careful than the paper's, which can reverse a label: "not good, but funny" must not become "good, but not
funny". Negations and the order of the words in their scope are kept, a synonym is inserted before its word, only
neighbors are swapped, and only function words are deleted.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random

Synonyms = Callable[["Word"], tuple[str, ...]]  # returns the synonyms of a word in its inflection, best first

# Words that reverse the meaning of a sentence, after VADER's list (Hutto & Gilbert 2014) and the contextual valence
# shifters of Polanyi & Zaenen (2006). They are never replaced, moved or deleted; the words in their scope are never
# moved or deleted, and no word is inserted there.
NEGATIONS = frozenset(
    """
    not n't n’t nt never no none nobody nothing nowhere neither nor nope without cannot hardly barely scarcely rarely
    seldom ain aint arent cant couldnt didnt doesnt dont hadnt hasnt havent isnt shouldnt wasnt werent wont wouldnt
    despite lack lacks lacked lacking fail fails failed failing failure avoid avoids less least few little anything but
    """.split()  # noqa: SIM905 - fifty words read better than fifty strings
)
NEGATION_SCOPE = 3  # words after a negation that it may reverse (as in VADER)

# By Penn tag. Verbs and prepositions carry the sentence structure; adjectives, nouns and verbs carry the label.
DELETABLE_TAGS = frozenset({"DT", "PRP$", "RB", "UH"})
SWAPPABLE_TAGS = frozenset({"JJ", "NN", "NNS", "RB"})
INSERTABLE_TAGS = frozenset({"JJ", "RB"})  # two nouns or verbs in a row change the meaning: "movie film"

# Words that follow "an": those that begin with a vowel, unless it sounds like "you" or "won", or with a silent h.
VOWEL_SOUND = re.compile(
    r"(?!eu|ew|on(?:c?e)|uni(?!n|m)|u[bst][aeiou]|ur[aei])[aeiou]|hour|honest|hono|heir", re.IGNORECASE
)


@dataclass(frozen=True)
class Word:
    """A token of a text, and the operations that it allows."""

    text: str
    space: str = ""  # the white space after it
    tag: str = ""  # its part of speech and inflection (Penn Treebank), as in "NNS"
    replaceable: bool = False  # a common word that is not protected, a negation, or part of a compound
    movable: bool = False  # between spaces (or before punctuation) and not the first word: can be moved or deleted


def replace_words(words: Sequence[Word], rate: float, synonyms: Synonyms, rng: Random) -> tuple[list[Word], list[str]]:
    """Return ``words`` with each replaceable word replaced with probability ``rate``, and the list of changes."""
    result, changes = list(words), list[str]()
    for index, word in enumerate(words):
        if word.replaceable and rng.random() < rate and (forms := synonyms(word)):
            form = _match_case(_sample(forms, rng), word.text)
            result[index] = _fixed(word, form, word.space)
            changes.append(f"synonym: {word.text} → {form}")
    return result, changes


def insert_words(words: Sequence[Word], rate: float, synonyms: Synonyms, rng: Random) -> tuple[list[Word], list[str]]:
    """Return ``words`` with a synonym inserted before each adjective or adverb with probability ``rate``."""
    result, changes = list[Word](), list[str]()
    negated = negated_indices(words)
    for index, word in enumerate(words):
        allowed = word.replaceable and word.movable and word.tag in INSERTABLE_TAGS and index not in negated
        if allowed and rng.random() < rate and (forms := synonyms(word)):
            form = _sample(forms, rng)
            result.append(_fixed(word, form, " "))
            changes.append(f"insertion: {form} before {word.text}")
        result.append(word)
    return result, changes


def swap_words(words: Sequence[Word], rate: float, rng: Random) -> tuple[list[Word], list[str]]:
    """Return ``words`` with neighbors swapped with probability ``rate``; each word moves at most once."""
    result, changes = list(words), list[str]()
    negated = negated_indices(words)
    index = 0
    while index < len(words) - 1:
        pair = words[index : index + 2]
        allowed = all(word.movable and word.tag in SWAPPABLE_TAGS for word in pair) and pair[0].space == " "
        if allowed and not {index, index + 1} & negated and rng.random() < rate:
            result[index] = _fixed(pair[1], pair[1].text, pair[0].space)
            result[index + 1] = _fixed(pair[0], pair[0].text, pair[1].space)
            changes.append(f"swap: {pair[0].text} / {pair[1].text}")
            index += 1
        index += 1
    return result, changes


def delete_words(words: Sequence[Word], rate: float, rng: Random) -> tuple[list[Word], list[str]]:
    """Return ``words`` without some of its articles and adverbs; at least one word is kept."""
    negated = negated_indices(words)
    kept, changes = list[Word](), list[str]()
    for index, word in enumerate(words):
        allowed = word.movable and word.tag in DELETABLE_TAGS and index not in negated
        if allowed and len(words) - len(changes) > 1 and rng.random() < rate:
            changes.append(f"deletion: {word.text}")
            if kept and not word.space:  # before punctuation: also delete the space before the word
                kept[-1] = replace(kept[-1], space="")
        else:
            kept.append(word)
    return kept, changes


def correct_articles(words: Sequence[Word], before: Sequence[Word]) -> list[Word]:
    """Return ``words`` with "a" or "an" corrected where the following word differs from that in ``before``."""
    old = {(article.text, noun.text) for article, noun in pairwise(before)}
    result = list(words)
    for index, (article, noun) in enumerate(pairwise(words)):
        if article.text.lower() in ("a", "an") and (article.text, noun.text) not in old:
            result[index] = replace(article, text=article.text[0] + ("n" if VOWEL_SOUND.match(noun.text) else ""))
    return result


def negated_indices(words: Sequence[Word]) -> set[int]:
    """Return the indices of negations and of the words in their scope: one before and ``NEGATION_SCOPE`` after."""
    negations = [index for index, word in enumerate(words) if word.text.lower() in NEGATIONS]
    return {near for index in negations for near in range(index - 1, index + NEGATION_SCOPE + 1)}


def join(words: Sequence[Word]) -> str:
    """Return the text of ``words``."""
    return "".join(word.text + word.space for word in words)


def _fixed(word: Word, text: str, space: str) -> Word:
    """Return ``word`` with another text and space, not to be changed by later operations."""
    return Word(text, space, word.tag)


def _sample(forms: Sequence[str], rng: Random) -> str:
    return forms[min(int(rng.expovariate(1.0)), len(forms) - 1)]  # the best with probability 63 %, then 23 %, 9 %, ...


def _match_case(form: str, original: str) -> str:
    if original.isupper() and len(original) > 1:
        return form.upper()
    return form.capitalize() if original[:1].isupper() else form
