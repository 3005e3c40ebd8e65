"""``toolchain follow``: a run on a cluster, until it ends."""

import argparse

from cli.commands.options import add_require_promotion, add_run

SUMMARY = "Follow a run on a cluster until it ends."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    add_require_promotion(parser)


def run(run_id: str | None, require_promotion: bool) -> int:
    from cli.run.submit import follow
    from cli.settings import read_settings

    return follow(run_id, require_promotion, read_settings())
