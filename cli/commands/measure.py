"""``toolchain measure``: a registered model's variants, measured and gated on this machine."""

import argparse

from cli.commands.options import add_engine, add_json, add_parameters, add_require_promotion

SUMMARY = "Measure and gate the variants of a registered model on this machine."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="Name of a registered model.")
    add_parameters(parser)
    add_engine(parser, registry=True)
    add_require_promotion(parser)
    add_json(parser)


def run(
    model: str, parameters: list[str], no_cache: bool, engine: str | None, require_promotion: bool, as_json: bool
) -> int:
    from cli.cluster.tracking import registry_of
    from cli.output.machine import print_run_details, text_output
    from cli.run.submit import Submission, exit_status, submit_local
    from cli.settings import read_settings

    values = (f"model={model}", *parameters)
    submission = Submission("measure", values, cached=not no_cache, require_promotion=require_promotion)
    with text_output(as_json), registry_of(engine, read_settings()) as settings:
        found = submit_local(submission, settings)
    if as_json:
        print_run_details(found)
    return exit_status(found, require_promotion)
