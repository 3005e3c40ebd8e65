"""``toolchain submit``: a run of a pipeline, on this machine or on a cluster."""

import argparse
from pathlib import Path

from cli.commands.options import SIZES, add_engine, add_json, add_parameters, add_require_promotion

SUMMARY = "Run a pipeline on this machine or on a cluster."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pipeline", metavar="PIPELINE", help="Name of a pipeline; toolchain list prints them.")
    add_parameters(parser)
    parser.add_argument(
        "--params", type=Path, metavar="FILE", help="YAML file of parameters, one per line. -p takes precedence."
    )
    add_engine(parser)
    parser.add_argument(
        "--resources",
        default="",
        choices=SIZES,
        help="Cluster only: resource size of the steps. Default: TOOLCHAIN_RESOURCES, else medium.",
    )
    parser.add_argument("--detach", action="store_true", help="Cluster only: return as soon as the run has started.")
    add_require_promotion(parser)
    add_json(parser)


def run(
    pipeline: str,
    parameters: list[str],
    no_cache: bool,
    params: Path | None,
    engine: str | None,
    resources: str,
    detach: bool,
    require_promotion: bool,
    as_json: bool,
) -> int:
    from cli.output.machine import print_run_details, text_output
    from cli.run.submit import Submission, exit_status, submit_local, submit_to_cluster
    from cli.settings import read_settings

    settings = read_settings()
    submission = Submission(
        pipeline, tuple(parameters), params, cached=not no_cache, require_promotion=require_promotion
    )
    with text_output(as_json):
        if (engine or settings.engine) == "cluster":
            found = submit_to_cluster(submission, settings, resources, detach)
        else:
            found = submit_local(submission, settings)
    if as_json:
        print_run_details(found)
    return exit_status(found, require_promotion, detach)
