"""``toolchain runs``: past runs."""

import argparse

from cli.commands.options import add_json
from cli.exit_status import SUCCESS

SUMMARY = "List past runs, newest first."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json(parser)


def run(as_json: bool) -> int:
    from cli.output.machine import print_json, run_fields
    from cli.output.summary import print_table, table_of_runs
    from cli.records.runs import all_runs
    from cli.settings import read_settings

    known = all_runs(read_settings().runs)
    if as_json:
        print_json([run_fields(one) for one in known])
    else:
        print_table(table_of_runs(known))
    return SUCCESS
