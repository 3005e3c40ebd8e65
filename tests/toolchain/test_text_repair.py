import html
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from toolchain.text_repair import repair

# Words and sentences of languages in Latin script, from spaCy's lists of stop words and examples (MIT).
LANGUAGES = json.loads((Path(__file__).parents[1] / "cases/text/languages.json").read_text(encoding="utf-8"))
LAST_SIGNS = ["…", "®", "™", "»", "«", "“", "”", "’", "!", "?", ",", ")", "—", "%", "€"]
FIRST_SIGNS = ("„", "“", "«", "»", "‚", "‘", "¿", "¡", "(", "—", "§ ", "€ ", "® ", "© ")


@pytest.mark.parametrize(
    ("text", "repaired", "kinds"),
    [
        ("plain", "plain", []),
        ("Lovely &amp; Amazing", "Lovely & Amazing", ["HTML"]),
        ("&amp;quot;x&amp;quot;", '"x"', ["HTML"]),
        ("caf&Atilde;&copy;", "café", ["HTML", "encoding"]),
        ("one<br />two<BR>three", "one two three", ["HTML"]),
        ("AT&T and a < b", "AT&T and a < b", []),
        ("R&D;", "R&D;", []),
        ("cafÃ©", "café", ["encoding"]),
        ("itâ€™s â€œfineâ€\x9d", "it’s “fine”", ["encoding"]),
        ("it’s cafÃ©", "it’s café", ["encoding"]),
        ("cafÃƒÂ©", "café", ["encoding"]),
        ("Ã\xa0 la carte", "à la carte", ["encoding"]),
        ("mÂ² at 20Â°C", "m² at 20°C", ["encoding"]),
        ("it\x92s", "it’s", ["encoding"]),
        ("Ã‰TÃ‰", "ÉTÉ", ["encoding"]),
        ("CAFÉ® ist gut", "CAFÉ® ist gut", []),
        ("Spaß… wirklich", "Spaß… wirklich", []),
        ("cafÃ© und CAFÉ®", "café und CAFÉ®", ["encoding"]),
        ("»Även« nach HÄNTÄ°", "»Även« nach HÄNTÄ°", []),
        ("São, Ångström, naïve, MAÇÃ VERMELHA", "São, Ångström, naïve, MAÇÃ VERMELHA", []),
        ("日本語 👩‍👩‍👧 कि", "日本語 👩‍👩‍👧 कि", []),
        ("a\x00b\u200bc\ufeff", "abc", ["control characters"]),
        ("e\u0301", "é", ["composition"]),
        ("  a \t\n b\u00a0 c ", "a b c", ["control characters", "spaces"]),
    ],
)
def test_damage_from_transport_is_repaired(text: str, repaired: str, kinds: list[str]):
    assert repair(text) == (repaired, kinds)


@given(st.data(), st.sampled_from(sorted(LANGUAGES)), st.sampled_from([str, str.upper, str.capitalize]))
def test_words_next_to_punctuation_are_unchanged(data: st.DataObject, language: str, cased: Callable[[str], str]):
    known = st.sampled_from(LANGUAGES[language]["words"])
    word, other = (cased(data.draw(known)) for _ in range(2))
    first, last = data.draw(st.sampled_from(FIRST_SIGNS)), data.draw(st.sampled_from(LAST_SIGNS))
    text = f"{other} {first}{word}{last} {other}{last}"
    assert repair(text) == (text, [])


SENTENCES = [sentence for language in LANGUAGES.values() for sentence in language["sentences"]]


@pytest.mark.parametrize(("encoding", "repaired"), [("latin-1", 0.99), ("cp1252", 0.95), ("mac_roman", 0.8)])
def test_sentences_decoded_with_a_wrong_encoding_are_repaired(encoding: str, repaired: float):
    read = {text: text.encode().decode(encoding, "replace") for text in SENTENCES}
    wrong = {text: damaged for text, damaged in read.items() if "\ufffd" not in damaged}
    assert len(wrong) > 100
    assert sum(repair(damaged)[0] == repair(text)[0] for text, damaged in wrong.items()) >= repaired * len(wrong)


def test_correct_sentences_are_unchanged():
    forms = [form for text in SENTENCES for form in (text, text.upper())]
    assert [form for form in forms if repair(form)[0] != " ".join(form.split())] == []


@given(st.text())
@example("&amp;amp;lt;b> cafÃƒÂ© e\u0301 \x92")
def test_repair_is_idempotent(text: str):
    assert repair(repair(text)[0]) == (repair(text)[0], [])


def test_a_long_run_of_accents_takes_linear_time():
    assert len(repair("a" + "\u0301\u0323" * 50_000)[0]) > 90_000  # at once: 10 s


@given(st.text())
def test_a_repaired_text_has_no_control_characters_nor_runs_of_spaces(text: str):
    repaired, _ = repair(text)
    assert repaired == " ".join(repaired.split())
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in repaired)


@given(st.text(st.characters(max_codepoint=0x24F, exclude_categories=["Cc", "Cf"])))
@example("é à la ’")
def test_escaped_text_is_restored(text: str):
    sound = repair(text)[0]
    assert repair(html.escape(sound))[0] == sound
