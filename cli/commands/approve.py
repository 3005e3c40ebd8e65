"""``toolchain approve``: a person's approval of what a run registered."""

import argparse

from cli.commands.options import add_engine, add_reason
from cli.exit_status import SUCCESS

SUMMARY = "Approve the versions that a run registered for promotion."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_id", metavar="RUN", help="ID of the run that requested approval.")
    add_reason(parser)
    add_engine(parser, registry=True)


def run(run_id: str, reason: str, engine: str | None) -> int:
    from cli.serving.approve import approve
    from cli.settings import read_settings

    approve(run_id, reason, engine, read_settings())
    return SUCCESS
