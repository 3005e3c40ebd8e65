"""Options that several commands share."""

import argparse

ENGINES = ("local", "cluster")
SIZES = ("small", "medium", "large")
MODEL = "registered model as NAME, NAME@ALIAS or NAME:VERSION"


def add_engine(parser: argparse.ArgumentParser, registry: bool = False) -> None:
    """Add --engine; ``registry``: it chooses where the model is registered, not where the pipeline runs."""
    meaning = "Which registry to use" if registry else "Where to run"
    parser.add_argument(
        "--engine", choices=ENGINES, help=f"{meaning}. Default: cluster if KFP_ENDPOINT is set, else local."
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", dest="as_json", action="store_true", help="Print JSON (fields: docs/start/command-line.md)."
    )


def add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_id", nargs="?", metavar="RUN", help="ID of a run. Default: the latest run.")


def add_reason(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", default="", metavar="TEXT", help="Reason to record in the ledger.")


def add_review(parser: argparse.ArgumentParser) -> None:
    """Add what approve and reject take."""
    parser.add_argument("run_id", metavar="RUN", help="ID of the run that requested approval.")
    add_reason(parser)
    add_engine(parser, registry=True)
    add_json(parser)


def add_servers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--server",
        dest="servers",
        action="append",
        default=[],
        metavar="URL",
        help="Local model server to wait for. Repeatable. Default: http://127.0.0.1:8080.",
    )


def add_parameters(parser: argparse.ArgumentParser) -> None:
    """Add what every run of a pipeline takes: parameters and --no-cache."""
    parser.add_argument(
        "-p",
        "--param",
        dest="parameters",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="Set a pipeline parameter. Repeatable.",
    )
    parser.add_argument("--no-cache", action="store_true", help="Run every step, even if its result is cached.")


def add_require_promotion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--require-promotion", action="store_true", help="Exit with status 3 unless an optimized variant is selected."
    )
