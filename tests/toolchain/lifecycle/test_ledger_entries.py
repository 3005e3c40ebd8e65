"""Entries as MLflow returns them."""

import json

from hypothesis import given
from hypothesis import strategies as st

from toolchain.lifecycle import ledger
from toolchain.lifecycle.ledger import Entry
from toolchain.lifecycle.ledger_entries import read_entry
from toolchain.services.mlflow import Version


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists) | st.text())
def test_whatever_an_entry_holds_it_is_read_or_damaged(value: object):
    for text in (json.dumps(value), json.dumps({"action": "promoted", "version": value}), str(value)):
        kept = Version("m.ledger", "1", "r", "p", {ledger.TAG_ENTRY: text, ledger.TAG_SHA256: ""})
        assert read_entry(kept).action == "damaged"


ENTRY = Entry(action="canary", version="3", digest="3" * 64, variant="int8", verdict="accurate", user="ann", percent=10)


def test_an_entry_is_read_as_it_was_written():
    tags = {ledger.TAG_ENTRY: json.dumps(ENTRY.as_json), ledger.TAG_SHA256: ENTRY.sha256}
    assert read_entry(Version("m.ledger", "1", "r", "p", tags)) == ENTRY
    changed = {**tags, ledger.TAG_ENTRY: json.dumps({**ENTRY.as_json, "user": "eve"})}
    assert read_entry(Version("m.ledger", "1", "r", "p", changed)).reason == ledger.CHANGED


def test_a_copy_is_a_new_entry_with_the_changes():
    copy = ENTRY.renewed(percent=25.0)
    assert (copy.percent, copy.user, copy.digest) == (25.0, "ann", ENTRY.digest)
    assert copy.key != ENTRY.key
    assert copy.created_at >= ENTRY.created_at


def test_the_summary_names_the_share_the_version_and_the_user():
    assert ENTRY.summary == f"gave 10 % to the canary version 3 (int8, digest {'3' * 12}) by ann"


def test_a_line_has_its_time_in_utc():
    line = ledger.Line(1, ENTRY.renewed(created_at=1_700_000_000_000), valid=True).as_dict
    assert (line["created_at"], line["number"], line["valid"]) == ("2023-11-14T22:13:20.000+00:00", 1, True)
