from collections import Counter
from functools import partial
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.augment.text.operations import (
    NEGATIONS,
    VOWEL_SOUND,
    Word,
    correct_articles,
    delete_words,
    insert_words,
    join,
    negated_indices,
    replace_words,
    swap_words,
)

TAGS = ["JJ", "NN", "NNS", "RB", "VBZ", "DT", "IN", "NNP"]
FREE = {"replaceable": True, "movable": True, "space": " "}


def negation(text: str) -> Word:
    return Word(text, " ", "RB")


words = st.lists(
    st.one_of(
        st.builds(
            Word,
            st.text("abcdef", min_size=1, max_size=6),
            st.just(" "),
            st.sampled_from(TAGS),
            st.just(True),
            st.booleans(),
        ),
        st.builds(negation, st.sampled_from(sorted(NEGATIONS))),
        st.builds(Word, st.sampled_from([",", ".", "'s", "("]), st.sampled_from(["", " "])),
    ),
    min_size=1,
    max_size=20,
)
rates = st.floats(0, 1)
seeds = st.integers(0, 2**32)


def upper(word: Word) -> tuple[str, ...]:
    return ("synonym", f"another{word.text}")


def sentence(*tagged: str) -> list[Word]:
    """Return words from "film/NN"; the first is never movable, as in parsed text."""
    pairs = [entry.split("/") for entry in tagged]
    return [
        Word(text, " ", tag, text not in NEGATIONS, index > 0 and text not in NEGATIONS)
        for index, (text, tag) in enumerate(pairs)
    ]


def negations(some: list[Word]) -> list[str]:
    return [word.text for word in some if word.text in NEGATIONS]


@given(words, rates, seeds)
def test_only_replaceable_words_are_replaced(some: list[Word], rate: float, seed: int):
    result, _ = replace_words(some, rate, upper, Random(seed))
    assert len(result) == len(some)
    assert all(new == old for new, old in zip(result, some, strict=True) if not old.replaceable)
    assert all((new.space, new.tag) == (old.space, old.tag) for new, old in zip(result, some, strict=True))


@given(words, rates, seeds)
def test_insertion_only_adds_words(some: list[Word], rate: float, seed: int):
    result, done = insert_words(some, rate, upper, Random(seed))
    assert len(result) == len(some) + len(done)
    remaining = iter(result)
    assert all(word in remaining for word in some)


@given(words, rates, seeds)
def test_swapping_keeps_all_words(some: list[Word], rate: float, seed: int):
    result, _ = swap_words(some, rate, Random(seed))
    assert Counter(word.text for word in result) == Counter(word.text for word in some)
    assert [word.space for word in result] == [word.space for word in some]


@given(words, rates, seeds)
def test_deletion_keeps_at_least_one_word(some: list[Word], rate: float, seed: int):
    result, done = delete_words(some, rate, Random(seed))
    assert len(result) == len(some) - len(done) >= 1
    remaining = iter(word.text for word in some)
    assert all(word.text in remaining for word in result)


@given(words, rates, seeds)
def test_every_operation_keeps_negations_and_their_scope(some: list[Word], rate: float, seed: int):
    rng = Random(seed)
    negated = [some[index].text for index in sorted(negated_indices(some)) if 0 <= index < len(some)]
    for operation in (swap_words, delete_words):
        result, _ = operation(some, rate, rng)
        assert negations(result) == negations(some)
        assert not Counter(negated) - Counter(word.text for word in result)
    for operation in (replace_words, insert_words):
        assert negations(operation(some, rate, upper, rng)[0]) == negations(some)


@given(words, rates, seeds)
def test_operations_are_reproducible(some: list[Word], rate: float, seed: int):
    for operation in (swap_words, delete_words):
        assert operation(some, rate, Random(seed)) == operation(some, rate, Random(seed))
    assert replace_words(some, rate, upper, Random(seed)) == replace_words(some, rate, upper, Random(seed))


@given(words, seeds)
def test_a_rate_of_zero_changes_nothing(some: list[Word], seed: int):
    rng = Random(seed)
    for result in (
        replace_words(some, 0, upper, rng),
        insert_words(some, 0, upper, rng),
        swap_words(some, 0, rng),
        delete_words(some, 0, rng),
    ):
        assert result == (some, [])


def test_a_replaced_word_keeps_its_case():
    some = [Word("Film", " ", "NN", True), Word("FILM", " ", "NN", True), Word("film", "", "NN", True)]
    result, done = replace_words(some, 1, lambda word: ("movie",), Random(0))
    assert join(result) == "Movie MOVIE movie"
    assert done == ["synonym: Film → Movie", "synonym: FILM → MOVIE", "synonym: film → movie"]


def test_the_best_synonym_is_the_most_frequent():
    some = [Word("film", " ", "NN", True)] * 3000
    result, _ = replace_words(some, 1, lambda word: ("movie", "picture", "flick"), Random(0))
    counts = Counter(word.text for word in result)
    assert counts["movie"] / 3000 == pytest.approx(0.632, abs=0.03)  # 1 - 1/e
    assert counts["movie"] > counts["picture"] > counts["flick"] > 0


def test_a_synonym_is_inserted_before_its_word():
    some = sentence("a/DT", "funny/JJ", "film/NN")
    result, done = insert_words(some, 1, lambda word: ("comic",), Random(0))
    assert join(result) == "a comic funny film "
    assert done == ["insertion: comic before funny"]


def test_a_changed_word_is_not_changed_again():
    some = sentence("a/DT", "really/RB", "big/JJ", "funny/JJ", "film/NN")
    for operation in (partial(replace_words, synonyms=upper), partial(insert_words, synonyms=upper), swap_words):
        changed, _ = operation(some, rate=1, rng=Random(1))
        fixed = {word.text for word in changed} - {word.text for word in some}
        assert fixed <= {word.text for word in delete_words(changed, 1, Random(0))[0]}
    replaced, _ = replace_words(some, 1, upper, Random(0))
    assert insert_words(replaced, 1, upper, Random(0)) == (replaced, [])


def test_neighbors_are_swapped():
    some = sentence("a/DT", "big/JJ", "bold/JJ", "and/CC", "loud/JJ", "film/NN")
    result, done = swap_words(some, 1, Random(0))
    assert join(result) == "a bold big and film loud "
    assert done == ["swap: big / bold", "swap: loud / film"]


def test_words_near_a_negation_are_not_moved_or_deleted():
    some = sentence("it/PRP", "is/VBZ", "not/RB", "really/RB", "very/RB", "funny/JJ", "anyway/RB", "here/RB")
    assert join(delete_words(some, 1, Random(0))[0]) == "it is not really very funny "
    assert join(swap_words(some, 1, Random(0))[0]) == "it is not really very funny here anyway "
    assert (
        join(insert_words(some, 1, lambda word: ("so",), Random(0))[0])
        == "it is not really very funny so anyway so here "
    )


def test_deleting_the_last_word_deletes_the_space_before_it():
    some = [Word("good", " ", "JJ"), Word("enough", "", "RB", False, True), Word(".", "", ".")]
    assert join(delete_words(some, 1, Random(0))[0]) == "good."


def test_articles_are_corrected():
    before = sentence("A/DT", "film/NN", "and/CC", "an/DT", "hour/NN")
    after = sentence("A/DT", "epic/NN", "and/CC", "an/DT", "minute/NN")
    assert join(correct_articles(after, before)) == "An epic and a minute "


def test_wrong_articles_of_the_original_are_kept():
    some = sentence("a/DT", "honest/JJ", "film/NN")
    assert join(correct_articles(some, some)) == "a honest film "


@pytest.mark.parametrize(
    "word", ["apple", "hour", "honest", "umbrella", "uninteresting", "urgent", "heir", "epic", "onion"]
)
def test_an_precedes(word: str):
    assert VOWEL_SOUND.match(word)


@pytest.mark.parametrize(
    "word", ["film", "house", "unique", "universal", "one", "once", "European", "user", "usual", "ewe"]
)
def test_a_precedes(word: str):
    assert not VOWEL_SOUND.match(word)
