"""``toolchain follow``: a run on a cluster, until it ends."""

import argparse

from cli.commands.options import add_json, add_require_promotion, add_run

SUMMARY = "Follow a run on a cluster until it ends."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    add_require_promotion(parser)
    add_json(parser)


def run(run_id: str | None, require_promotion: bool, as_json: bool) -> int:
    from cli.output.machine import print_run_details, text_output
    from cli.run.submit import exit_status, follow
    from cli.settings import read_settings

    with text_output(as_json):
        found = follow(run_id, read_settings())
    if as_json:
        print_run_details(found)
    return exit_status(found, require_promotion)
