from dataclasses import replace

import pytest

from cli.serving.history import _print_notes, _table
from toolchain.lifecycle.ledger import CANARY, PROMOTED, Entry, Ledger, Line

FIRST = Entry(
    action=PROMOTED, version="2", digest="b" * 64, variant="int8", verdict="accurate on any (accuracy 0.9)",
    reason="[bold] names", overridden="a newer version is serving", user="ann", created_at=1_700_000_000_000,
)  # fmt: skip


def cells(*lines: Line) -> list[list[str]]:
    table = _table(Ledger("reviews", lines))
    return [list(row) for row in zip(*(column.cells for column in table.columns), strict=True)]


def test_an_entry_is_a_row_with_its_time_in_utc():
    ((number, at, *row, verdict, notes),) = cells(Line(1, FIRST, valid=True))
    assert (number, at) == ("1", "2023-11-14 22:13:20")
    assert row == ["ann", "promoted", "2", "int8", "b" * 12]
    assert (verdict, notes) == ("accurate on any", r"\[bold] names; forced, although a newer version is serving")


def test_a_canary_shows_its_share_and_a_void_entry_is_marked():
    canary = replace(FIRST, action=CANARY, percent=12.5)
    assert cells(Line(1, canary, valid=True))[0][3] == "canary 12.5 %"
    assert cells(Line(2, FIRST, valid=False))[0][-1].startswith("void")


def test_an_alias_that_differs_from_the_ledger_is_printed_with_its_repair(capsys: pytest.CaptureFixture[str]):
    _print_notes(Ledger("reviews", (Line(1, FIRST, valid=True),)), {"champion": "1"})
    assert "toolchain promote reviews --version 2" in capsys.readouterr().out
    _print_notes(Ledger("reviews", (Line(1, FIRST, valid=True),)), {"champion": "2"})
    assert capsys.readouterr().out == ""


def test_an_empty_ledger_is_a_line(capsys: pytest.CaptureFixture[str]):
    _print_notes(Ledger("reviews", ()), {})
    assert "reviews" in capsys.readouterr().out
