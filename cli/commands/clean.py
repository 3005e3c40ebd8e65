"""``toolchain clean``: results of old runs, removed."""

import argparse

from cli.commands.options import add_engine, add_json
from cli.exit_status import SUCCESS

SUMMARY = "Remove results of old runs that nothing depends on."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--older-than", required=True, metavar="AGE", help="Age in days or hours, such as 30d or 12h.")
    parser.add_argument("--dry-run", action="store_true", help="Only print what would be removed.")
    add_engine(parser)
    add_json(parser)


def run(older_than: str, dry_run: bool, engine: str | None, as_json: bool) -> int:
    from cli.cleanup.command import clean
    from cli.settings import read_settings

    clean(older_than, dry_run, engine, read_settings(), as_json)
    return SUCCESS
