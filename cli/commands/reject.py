"""``toolchain reject``: a person's rejection of what a run registered."""

import argparse

from cli.commands.options import add_review
from cli.exit_status import SUCCESS

SUMMARY = "Reject the versions that a run registered; they are never promoted."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_review(parser)


def run(run_id: str, reason: str, engine: str | None, as_json: bool) -> int:
    from cli.output.machine import print_json, text_output
    from cli.serving.approve import reject
    from cli.settings import read_settings

    with text_output(as_json):
        fields = reject(run_id, reason, engine, read_settings())
    if as_json:
        print_json(fields)
    return SUCCESS
