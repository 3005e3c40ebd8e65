"""``toolchain report``: where a run's report is."""

import argparse

from cli.commands.options import add_json, add_run
from cli.exit_status import SUCCESS
from toolchain.errors import ToolchainError

SUMMARY = "Print the paths of a run's report."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    add_json(parser)


def run(run_id: str | None, as_json: bool) -> int:
    from cli.output.machine import print_json
    from cli.output.summary import report_file
    from cli.records.runs import find_run
    from cli.settings import read_settings

    found = find_run(read_settings().runs, run_id)
    page = report_file(found)
    if page is None:
        raise ToolchainError(
            f"{found.id} has no report: it {found.state} before one was made, or its pipeline makes none"
        )
    numbers = page.with_suffix(".json")
    if as_json:
        print_json({"run": found.id, "html": str(page), "json": str(numbers)})
    else:
        print(page, numbers, sep="\n")
    return SUCCESS
