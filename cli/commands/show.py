"""``toolchain show``: the steps of a run and what they cost."""

import argparse

from cli.commands.options import add_json, add_run
from cli.exit_status import SUCCESS

SUMMARY = "Show the steps of a run, with their state, duration and cost."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    add_json(parser)


def run(run_id: str | None, as_json: bool) -> int:
    from cli.output.machine import print_json, run_details
    from cli.output.summary import print_run
    from cli.records.cost import read_prices
    from cli.records.runs import find_run
    from cli.settings import read_settings

    found, prices = find_run(read_settings().runs, run_id), read_prices()
    if as_json:
        print_json(run_details(found, prices))
    else:
        print_run(found, prices)
    return SUCCESS
