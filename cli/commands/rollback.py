"""``toolchain rollback``: the previous version, served again."""

import argparse

from cli.commands.options import add_engine, add_reason, add_servers
from cli.exit_status import SUCCESS

SUMMARY = "Serve the previous version of a model again, or end its trial."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="Name of a registered model.")
    add_reason(parser)
    add_engine(parser, registry=True)
    add_servers(parser)


def run(model: str, reason: str, engine: str | None, servers: list[str]) -> int:
    from cli.serving.promote import rollback
    from cli.settings import read_settings

    rollback(model, reason, engine, servers, read_settings())
    return SUCCESS
