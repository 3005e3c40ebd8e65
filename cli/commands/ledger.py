"""``toolchain ledger``: the history of a model's promotions."""

import argparse

from cli.commands.options import add_engine, add_json
from cli.exit_status import SUCCESS

SUMMARY = "Show the promotions, trials, approvals and rollbacks of a model."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="Name of a registered model.")
    add_engine(parser, registry=True)
    add_json(parser)


def run(model: str, engine: str | None, as_json: bool) -> int:
    from cli.cluster.tracking import registry_of
    from cli.serving.history import print_ledger
    from cli.settings import read_settings

    with registry_of(engine, read_settings()) as settings:
        print_ledger(model, settings, as_json)
    return SUCCESS
