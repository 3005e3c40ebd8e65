"""``toolchain openapi``: the API of a registered version, and what it breaks for clients of another."""

import argparse

from cli.commands.options import add_engine, add_json
from cli.exit_status import REJECTED, SUCCESS

SUMMARY = "Print the OpenAPI document of a version, or its breaking changes."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="Name of a registered model.")
    parser.add_argument("--version", default="", metavar="N", help="Default: the champion, else the candidate.")
    parser.add_argument(
        "--against",
        default="",
        metavar="N",
        help="List what breaks for clients of this version. Exit with status 3 if anything does.",
    )
    add_engine(parser, registry=True)
    add_json(parser)


def run(model: str, version: str, against: str, engine: str | None, as_json: bool) -> int:
    from cli.cluster.tracking import registry_of
    from cli.serving.openapi import print_breaking_changes, print_openapi
    from cli.settings import read_settings

    with registry_of(engine, read_settings()) as settings:
        if not against:
            print_openapi(model, version, settings)
            return SUCCESS
        return SUCCESS if print_breaking_changes(model, version, against, settings, as_json) else REJECTED
