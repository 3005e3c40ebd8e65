"""``toolchain measure``: a registered model's variants, measured and gated on this machine."""

import argparse

from cli.commands.options import add_engine, add_parameters, add_require_promotion

SUMMARY = "Measure and gate the variants of a registered model on this machine."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="Name of a registered model.")
    add_parameters(parser)
    add_engine(parser, registry=True)
    add_require_promotion(parser)


def run(model: str, parameters: list[str], no_cache: bool, engine: str | None, require_promotion: bool) -> int:
    from cli.cluster.tracking import registry_of
    from cli.run.submit import Submission, submit_local
    from cli.settings import read_settings

    values = (f"model={model}", *parameters)
    submission = Submission("measure", values, cached=not no_cache, require_promotion=require_promotion)
    with registry_of(engine, read_settings()) as settings:
        return submit_local(submission, settings)
