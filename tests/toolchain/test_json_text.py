import json

from hypothesis import given
from hypothesis import strategies as st

from toolchain.json_text import loads

ANY_TEXT = st.text(st.characters(categories=["L", "N", "P", "S", "Z", "C", "Cs"]))
VALUES = st.recursive(
    ANY_TEXT | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner)
)


@given(VALUES, st.booleans())
def test_every_string_can_be_written_as_utf8_and_only_lone_surrogates_change(value: object, upper: bool):
    text = json.dumps(value)  # each surrogate as an escape, as Python and JavaScript write it
    text = text.replace("\\ud", "\\uD") if upper else text
    found = json.dumps(loads(text), ensure_ascii=False)
    found.encode("utf-8")
    whole = json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert json.loads(found) == json.loads(whole)


def test_an_escaped_backslash_does_not_start_a_surrogate():
    assert loads(r'["\\ud83d", "\\\ud83d", "\ud83d\ude00"]') == [r"\ud83d", "\\\ufffd", "😀"]
