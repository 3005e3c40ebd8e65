"""``toolchain list``: the pipelines that can be submitted."""

import argparse

from cli.commands.options import add_json
from cli.exit_status import SUCCESS

SUMMARY = "List the pipelines."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json(parser)


def run(as_json: bool) -> int:
    from cli.compiled import catalog

    known = catalog.entries()
    if as_json:
        from cli.output.machine import print_json

        print_json([{"name": entry.name, "summary": entry.summary} for entry in known])
        return SUCCESS
    width = max(len(entry.name) for entry in known)
    for entry in known:
        print(f"{entry.name:<{width}}  {entry.summary}")
    return SUCCESS
