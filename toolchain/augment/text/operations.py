"""The four operations of EDA (Wei & Zou 2019, arXiv 1901.11196) on the words of a text: replace, insert, swap, delete.

They differ from the paper's where its own would turn a label round: "not good, but funny" must not become "good, but
not funny". Negations stay as they are, and so does the order of the words they reach; an inserted synonym stands beside
its word, words change places with their neighbours only, and only small words are deleted.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random

Choices = Callable[["Word"], tuple[str, ...]]  # the forms that may stand for a word, in its own inflection, best first

# Words that turn a sentence round, after VADER's list (Hutto & Gilbert 2014) and the contextual valence shifters of
# Polanyi & Zaenen (2006): never replaced, moved or deleted; nor is what they reach moved, deleted or added to.
NEGATIONS = frozenset(
    """
    not n't n’t nt never no none nobody nothing nowhere neither nor nope without cannot hardly barely scarcely rarely
    seldom ain aint arent cant couldnt didnt doesnt dont hadnt hasnt havent isnt shouldnt wasnt werent wont wouldnt
    despite lack lacks lacked lacking fail fails failed failing failure avoid avoids less least few little anything but
    """.split()  # noqa: SIM905 - fifty words read better than fifty strings
)
REACH = 3  # words after a negation that it may turn round (VADER looks back as far)

# By Penn tag. Verbs and prepositions hold a sentence together; a label hangs on adjectives, nouns and verbs.
DELETABLE = frozenset({"DT", "PRP$", "RB", "UH"})
MOVABLE = frozenset({"JJ", "NN", "NNS", "RB"})
INSERTED = frozenset({"JJ", "RB"})  # two nouns or verbs in a row read as something else: "movie film"

# What follows "an": a vowel, save where it is spoken as "you" or "won"; and a silent h.
SPOKEN_VOWEL = re.compile(
    r"(?!eu|ew|on(?:c?e)|uni(?!n|m)|u[bst][aeiou]|ur[aei])[aeiou]|hour|honest|hono|heir", re.IGNORECASE
)


@dataclass(frozen=True)
class Word:
    """A token of a text, and what may be done with it."""

    text: str
    space: str = ""  # the white space after it
    tag: str = ""  # its part of speech and inflection (Penn Treebank), as in "NNS"
    replaceable: bool = False  # a common word that is no part of a compound, protected or a negation
    free: bool = False  # stands between spaces (or before a stop), so that it can come, go and move; not the first word


def replace_words(words: Sequence[Word], rate: float, choices: Choices, chance: Random) -> tuple[list[Word], list[str]]:
    """Return ``words`` with each replaceable one changed for a synonym with probability ``rate``, and what was done."""
    result, done = list(words), list[str]()
    for place, word in enumerate(words):
        if word.replaceable and chance.random() < rate and (forms := choices(word)):
            form = _cased(_chosen(forms, chance), word.text)
            result[place] = _settled(word, form, word.space)
            done.append(f"synonym: {word.text} → {form}")
    return result, done


def insert_words(words: Sequence[Word], rate: float, choices: Choices, chance: Random) -> tuple[list[Word], list[str]]:
    """Return ``words`` with a synonym put before each adjective or adverb with probability ``rate``."""
    result, done = list[Word](), list[str]()
    reached = within_reach(words)
    for place, word in enumerate(words):
        fit = word.replaceable and word.free and word.tag in INSERTED and place not in reached
        if fit and chance.random() < rate and (forms := choices(word)):
            form = _chosen(forms, chance)
            result.append(_settled(word, form, " "))
            done.append(f"insertion: {form} before {word.text}")
        result.append(word)
    return result, done


def swap_words(words: Sequence[Word], rate: float, chance: Random) -> tuple[list[Word], list[str]]:
    """Return ``words`` with each movable one and the next changed about with probability ``rate``; each moves once."""
    result, done = list(words), list[str]()
    reached = within_reach(words)
    place = 0
    while place < len(words) - 1:
        pair = words[place : place + 2]
        fit = all(word.free and word.tag in MOVABLE for word in pair) and pair[0].space == " "
        if fit and not {place, place + 1} & reached and chance.random() < rate:
            result[place] = _settled(pair[1], pair[1].text, pair[0].space)
            result[place + 1] = _settled(pair[0], pair[0].text, pair[1].space)
            done.append(f"swap: {pair[0].text} / {pair[1].text}")
            place += 1
        place += 1
    return result, done


def delete_words(words: Sequence[Word], rate: float, chance: Random) -> tuple[list[Word], list[str]]:
    """Return ``words`` without some of its articles and adverbs, never without all."""
    reached = within_reach(words)
    kept, done = list[Word](), list[str]()
    for place, word in enumerate(words):
        fit = word.free and word.tag in DELETABLE and place not in reached and len(words) - len(done) > 1
        if fit and chance.random() < rate:
            done.append(f"deletion: {word.text}")
            if kept and not word.space:  # before a stop: the space before the word goes with it
                kept[-1] = replace(kept[-1], space="")
        else:
            kept.append(word)
    return kept, done


def agree_articles(words: Sequence[Word], before: Sequence[Word]) -> list[Word]:
    """Return ``words`` with "a" and "an" suiting what follows, where that is another word than ``before``."""
    old = {(article.text, noun.text) for article, noun in pairwise(before)}
    result = list(words)
    for place, (article, noun) in enumerate(pairwise(words)):
        if article.text.lower() in ("a", "an") and (article.text, noun.text) not in old:
            result[place] = replace(article, text=article.text[0] + ("n" if SPOKEN_VOWEL.match(noun.text) else ""))
    return result


def within_reach(words: Sequence[Word]) -> set[int]:
    """Return the places of negations and of the words that they may turn round: the one before and ``REACH`` after."""
    negated = [place for place, word in enumerate(words) if word.text.lower() in NEGATIONS]
    return {near for place in negated for near in range(place - 1, place + REACH + 1)}


def joined(words: Sequence[Word]) -> str:
    """Return the text that ``words`` make."""
    return "".join(word.text + word.space for word in words)


def _settled(word: Word, text: str, space: str) -> Word:
    """Return ``word`` with another text and space, which the operations that follow leave alone."""
    return Word(text, space, word.tag)


def _chosen(forms: Sequence[str], chance: Random) -> str:
    return forms[min(int(chance.expovariate(1.0)), len(forms) - 1)]  # the best most often: 63 %, 23 %, 9 %, ...


def _cased(form: str, like: str) -> str:
    if like.isupper() and len(like) > 1:
        return form.upper()
    return form.capitalize() if like[:1].isupper() else form
