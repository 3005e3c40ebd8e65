"""``toolchain promote``: a registered version, served from now on."""

import argparse

from cli.commands.options import SIZES, add_engine, add_json, add_reason, add_servers
from cli.exit_status import REJECTED, SUCCESS

SUMMARY = "Promote a version of a registered model, at once or after a trial."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="Name of a registered model.")
    version = parser.add_mutually_exclusive_group()
    version.add_argument("--version", default="", metavar="N", help="Number of the version to promote.")
    version.add_argument("--alias", default="", help="Alias of the version to promote. Default: candidate.")
    parser.add_argument(
        "--force",
        action="store_true",
        help="Promote even if the gate rejected it or a newer version is live. Requires --reason.",
    )
    add_reason(parser)
    _add_trial(parser)
    _add_pods(parser)
    add_engine(parser, registry=True)
    add_servers(parser)
    add_json(parser)


def _add_trial(parser: argparse.ArgumentParser) -> None:
    trial = parser.add_mutually_exclusive_group()
    trial.add_argument(
        "--canary",
        nargs="?",
        type=float,
        const=10.0,
        default=0.0,
        metavar="PERCENT",
        help="Start a canary with this share of the traffic (10), or resume one.",
    )
    trial.add_argument(
        "--shadow",
        action="store_true",
        help="Mirror requests to the version in the background and compare; clients never see its predictions.",
    )
    parser.add_argument(
        "--steps",
        default="25,50,100",
        metavar="PERCENTS",
        help="Traffic steps after the first, in percent. Default: %(default)s.",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=30.0,
        metavar="N",
        help="Time limit of each traffic step. Default: %(default)g.",
    )
    parser.add_argument(
        "-p",
        "--param",
        dest="tests",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="Parameter of the trial's tests: alpha, beta, failures, slow, disagreement (=ACCEPTABLE,UNACCEPTABLE).",
    )


def _add_pods(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--resources",
        default="",
        choices=SIZES,
        help="Cluster only: resource size of each pod. Default: TOOLCHAIN_RESOURCES, else unchanged; medium at first.",
    )
    parser.add_argument(
        "--gpus", type=int, metavar="N", help="Cluster only: GPUs per pod. Default: unchanged; 0 at first."
    )
    parser.add_argument(
        "--sample-percent",
        type=float,
        metavar="N",
        help="Cluster only: percent of requests to sample to s3://BUCKET/samples. Default: unchanged; 0 at first.",
    )
    parser.add_argument(
        "--require-tokens",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="Cluster only: pods start only with the Secret serve-tokens. Default: unchanged; no at first.",
    )


def run(
    model: str,
    version: str,
    alias: str,
    force: bool,
    reason: str,
    canary: float,
    shadow: bool,
    steps: str,
    minutes: float,
    tests: list[str],
    resources: str,
    gpus: int | None,
    sample_percent: float | None,
    require_tokens: bool | None,
    engine: str | None,
    servers: list[str],
    as_json: bool,
) -> int:
    from cli.output.machine import print_json, text_output
    from cli.serving.promote import Promotion, is_live, promote, trial_settings
    from cli.serving.targets import pod_options
    from cli.settings import read_settings

    settings = read_settings()
    promotion = Promotion(model, version, alias, force, reason, trial_settings(canary, shadow, steps, minutes, tests))
    pods = pod_options(resources or settings.resources, gpus, sample_percent, require_tokens)
    with text_output(as_json):
        fields = promote(promotion, pods, engine, servers, settings)
    if as_json:
        print_json(fields)
    return SUCCESS if is_live(fields) else REJECTED
