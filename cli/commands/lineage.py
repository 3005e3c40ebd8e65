"""``toolchain lineage``: what a model was made from."""

import argparse

from cli.commands.options import add_engine, add_json
from cli.exit_status import SUCCESS

SUMMARY = "Show what a model was made from, back to the source rows."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target",
        nargs="?",
        metavar="RUN|MODEL|URL",
        help="ID of a run, name of a registered model, or URL of a model server. Default: the latest run with a model.",
    )
    add_engine(parser, registry=True)
    add_json(parser)


def run(target: str | None, engine: str | None, as_json: bool) -> int:
    from cli.output.machine import print_json
    from cli.run.lineage import find_lineages, print_tree, to_json
    from cli.settings import read_settings

    lineages = find_lineages(target, engine, read_settings())
    if as_json:
        print_json(to_json(lineages))
    else:
        print_tree(lineages)
    return SUCCESS
