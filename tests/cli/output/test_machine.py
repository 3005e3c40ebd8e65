"""The JSON of commands: its fields are those that docs/start/command-line.md lists."""

import argparse
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from cli.__main__ import parser
from cli.output.machine import print_json, run_details, run_fields, text_output
from cli.records.cost import Prices
from cli.records.runs import LOCAL, SUCCEEDED, Run, StepRecord
from toolchain.lifecycle.ledger_entries import Entry, Line

PAGE = Path(__file__).resolve().parents[3] / "docs" / "start" / "command-line.md"
STEP = StepRecord("ingest", "data.ingest", "key", SUCCEEDED, seconds=3600.0)
RUN = Run("tidy-1", "tidy", Path("runs/tidy-1"), {"rows": 3}, [STEP], SUCCEEDED, "2026-11-25T10:00:00+00:00", 9.0)


def documented(command: str) -> set[str]:
    table = PAGE.read_text().partition("## JSON")[2].splitlines()
    row = next(line for line in table if line.startswith(f"| {command} |"))
    return set(re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", row.split("|")[3])))


def commands_with_json() -> set[str]:
    (subparsers,) = (one for one in parser()._actions if isinstance(one, argparse._SubParsersAction))
    return {name for name, command in subparsers.choices.items() if "--json" in command._option_string_actions}


def test_each_command_with_json_is_documented():
    page = PAGE.read_text().partition("## JSON")[2]
    first_cells = " ".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `"))
    assert {name for name in commands_with_json() if f"`{name}`" not in first_cells} == {"openapi"}
    assert "`openapi --against`" in first_cells


def test_text_does_not_mix_with_json(capsys: pytest.CaptureFixture[str]):
    with text_output(as_json=True):
        print("submitted")
    print_json({"id": "tidy-1"})
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"id": "tidy-1"}
    assert printed.err == "submitted\n"
    with text_output(as_json=False):
        print("submitted")
    assert capsys.readouterr().out == "submitted\n"


def test_a_runs_fields_are_documented():
    assert run_fields(RUN).keys() == documented("`runs`")


def test_the_fields_of_a_run_in_detail_are_documented():
    shown = run_details(RUN, Prices())
    assert shown.keys() == run_fields(RUN).keys() | documented("`show`") - {"runs"}
    assert shown["steps"][0].keys() == documented("`show`, each of `steps`")
    assert shown["cost"].keys() == documented("`show`, each `cost`")


def test_money_is_null_without_a_price_and_a_cached_step_costs_nothing():
    assert run_details(RUN, Prices())["cost"]["money"] is None
    cached = replace(RUN, steps=[replace(STEP, cached=True)], engine=LOCAL)
    assert run_details(cached, Prices(cpu_hour=1.0))["cost"]["money"] == 0.0


def test_the_fields_of_a_ledgers_entry_are_documented():
    entry = Entry(action="promoted", version="1", digest="1" * 64, variant="fp32", verdict="accurate")
    assert Line(1, entry, valid=True).as_dict.keys() == documented("`ledger`")
