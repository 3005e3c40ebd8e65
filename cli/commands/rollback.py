"""``toolchain rollback``: the previous version, served again."""

import argparse

from cli.commands.options import add_engine, add_json, add_reason, add_servers
from cli.exit_status import SUCCESS

SUMMARY = "Serve the previous version of a model again, or end its trial."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="Name of a registered model.")
    add_reason(parser)
    add_engine(parser, registry=True)
    add_servers(parser)
    add_json(parser)


def run(model: str, reason: str, engine: str | None, servers: list[str], as_json: bool) -> int:
    from cli.output.machine import print_json, text_output
    from cli.serving.promote import rollback
    from cli.settings import read_settings

    with text_output(as_json):
        fields = rollback(model, reason, engine, servers, read_settings())
    if as_json:
        print_json(fields)
    return SUCCESS
