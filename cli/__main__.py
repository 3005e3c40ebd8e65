"""The command line: ``python -m cli``."""

import argparse
import sys
from pathlib import Path

PROGRAM = "python -m cli"


def main(words: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    given = parser().parse_args(words)
    from cli import commands  # what a command needs is imported only once it is known that there is one

    return commands.run(given)


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    top = argparse.ArgumentParser(prog=PROGRAM, description="Run, look at and measure the toolchain's pipelines.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("list", help="the pipelines there are")
    _add_compile(commands.add_parser("compile", help="write the YAML that a cluster runs"))
    _add_submit(commands.add_parser("submit", help="run a pipeline, here or on a cluster"))
    commands.add_parser("runs", help="past runs, newest first")
    for name, text in (("show", "the steps of a run"), ("report", "the paths of a run's report")):
        command = commands.add_parser(name, help=text)
        command.add_argument("run", nargs="?", metavar="RUN", help="a run's id; default: the last")
    command = commands.add_parser("follow", help="watch a run on a cluster to its end")
    command.add_argument("run", nargs="?", metavar="RUN", help="a run's id; default: the last")
    _add_promotion(command)
    command = commands.add_parser("stop", help="end a run on a cluster")
    command.add_argument("run", metavar="RUN", help="a run's id")
    command = commands.add_parser("lineage", help="a model's way back to the rows it was made from")
    command.add_argument(
        "what",
        nargs="?",
        metavar="RUN|MODEL|URL",
        help="a run's id, a registered model, or where one is served; default: the last run",
    )
    _add_engine(command)
    command = commands.add_parser(
        "measure", help="measure and gate a registered model's variants again, on this machine"
    )
    command.add_argument("model", metavar="MODEL", help="a registered model's name")
    _add_engine(command)
    _add_run_options(command)
    _add_serve(commands.add_parser("serve", help="answer over HTTP with a registered model, on this machine"))
    command = commands.add_parser("openapi", help="a version's API, or what it breaks for callers of another")
    command.add_argument("model", metavar="MODEL", help="a registered model's name")
    command.add_argument("--version", default="", metavar="N", help="default: what serves, else the candidate")
    broken = "tell what callers of that version would lose; exits with 3 when there is anything"
    command.add_argument("--against", default="", metavar="M", help=broken)
    _add_engine(command)
    _add_promote(commands.add_parser("promote", help="let a registered version serve, if it may"))
    command = commands.add_parser("rollback", help="let what served before serve again")
    command.add_argument("model", metavar="MODEL", help="a registered model's name")
    command.add_argument("--reason", default="", metavar="TEXT", help="recorded in the ledger")
    _add_place(command)
    for name, text in (("approve", "let what a run registered be promoted"), ("reject", "let it never be promoted")):
        command = commands.add_parser(name, help=f"a person's word, where the run asked for approval: {text}")
        command.add_argument("run", metavar="RUN", help="the run's id")
        command.add_argument("--reason", default="", metavar="TEXT", help="recorded in the ledger")
        _add_engine(command)
    command = commands.add_parser("ledger", help="every promotion, canary, shadow, approval and rollback of a model")
    command.add_argument("model", metavar="MODEL", help="a registered model's name")
    command.add_argument("--json", action="store_true", help="all that is recorded, for programs")
    _add_engine(command)
    _add_export(commands.add_parser("export-torchserve", help="write a registered model as TorchServe's archive"))
    _add_convert(commands.add_parser("convert", help="convert image annotations to another format"))
    _add_schedule(commands.add_parser("schedule", help="runs that start by the clock: manifests/schedules/"))
    _add_clean(commands.add_parser("clean", help="remove results of old runs that nothing needs any more"))
    _add_images(commands.add_parser("images", help="build the images that steps and services run in"))
    commands.add_parser("doctor", help="what this machine offers, and what to do about what is missing")
    return top


def _add_compile(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", metavar="NAME", help="a pipeline's name, or all")
    command.add_argument(
        "-o", dest="output", type=Path, metavar="FILE", help="default: standard output; a folder for all"
    )


def _add_submit(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", metavar="NAME", help="a pipeline's name")
    _add_engine(command)
    command.add_argument(
        "--resources",
        default="",
        choices=["", "small", "medium", "large"],
        help="on a cluster: how much steps ask for; default: TOOLCHAIN_RESOURCES, else medium",
    )
    command.add_argument("--detach", action="store_true", help="on a cluster: return once the run is started")
    command.add_argument("--params", type=Path, metavar="FILE.yaml", help="parameters, one a line; -p goes before them")
    _add_run_options(command)


def _add_schedule(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    texts = {
        "diff": "what the cluster has otherwise than the files; exits with 4 when there is anything",
        "apply": "show the difference, and make the cluster what the files say",
        "list": "schedules, when each is next due, and how its last run went",
        "pause": "start no more runs of a schedule",
        "resume": "start runs of a schedule again",
        "run-now": "start a run of a schedule now",
        "serve": "on this machine: start what is due until Ctrl-C",
    }
    for name, text in texts.items():
        action = actions.add_parser(name, help=text)
        action.add_argument("--folder", type=Path, metavar="FOLDER", help="default: manifests/schedules")
        if name in ("pause", "resume", "run-now"):
            action.add_argument("name", metavar="NAME", help="a schedule's name")
        if name in ("list", "pause", "resume", "run-now"):
            _add_engine(action)
        if name == "serve":
            action.add_argument("--once", action="store_true", help="look for a minute, and wait for what it started")


def _add_clean(command: argparse.ArgumentParser) -> None:
    command.add_argument("--older-than", required=True, metavar="AGE", help="30d for days, 12h for hours")
    command.add_argument("--dry-run", action="store_true", help="tell what would go, and change nothing")
    _add_engine(command)


def _add_serve(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL", help="a registered model, as name, name@alias or name:version")
    command.add_argument("--alias", default="", help="default: champion, or candidate while there is no champion")
    command.add_argument("--port", type=int, default=8080, help="where it listens; 0 for any port that is free")
    grpc = "where gRPC listens too; 0 for any port that is free; default: nowhere"
    command.add_argument("--grpc-port", type=int, metavar="N", help=grpc)
    command.add_argument("--host", default="127.0.0.1", help="the address it listens at; 0.0.0.0 for all")
    command.add_argument("--workers", type=int, default=0, metavar="N", help="answers at a time; default: one a core")
    command.add_argument("--require-tokens", action="store_true", help="do not start without TOOLCHAIN_SERVE_TOKENS")
    place = "a folder or s3://BUCKET/PREFIX for samples of what is asked, as numbers and answers; default: none"
    command.add_argument("--samples", default="", metavar="PLACE", help=place)
    command.add_argument("--sample-percent", type=float, default=10.0, metavar="N", help="of requests (10)")
    command.add_argument("--sample-rows", action="store_true", help="put texts and pictures themselves aside too")
    _add_engine(command)


def _add_promote(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL", help="a registered model's name")
    which = command.add_mutually_exclusive_group()
    which.add_argument("--version", default="", metavar="N", help="a version's number")
    which.add_argument("--alias", default="", help="what points at the version; default: candidate")
    command.add_argument(
        "--force", action="store_true", help="although the gate refused it or it is older; needs a reason"
    )
    command.add_argument("--reason", default="", metavar="TEXT", help="recorded in the ledger")
    how = command.add_mutually_exclusive_group()
    how.add_argument(
        "--canary",
        nargs="?",
        type=float,
        const=10.0,
        default=0.0,
        metavar="PERCENT",
        help="try it beside what serves, with so many of the requests at first (10); goes on with one on trial",
    )
    shadow = "only compare it with what serves: it is asked the same in the background, and nobody sees its answers"
    how.add_argument("--shadow", action="store_true", help=shadow)
    command.add_argument("--steps", default="25,50,100", metavar="PERCENTS", help="after that; default: %(default)s")
    command.add_argument(
        "--minutes", type=float, default=30.0, help="that a trial may take at each percent; default: %(default)g"
    )
    command.add_argument(
        "-p",
        dest="tests",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of the trial's tests: alpha, beta, failures, slow, disagreement (=FINE,TOO-MUCH)",
    )
    command.add_argument(
        "--resources",
        default="",
        choices=["", "small", "medium", "large"],
        help="on a cluster: of each pod; default: TOOLCHAIN_RESOURCES, else as it is, medium for a new one",
    )
    command.add_argument(
        "--gpus", type=int, metavar="N", help="on a cluster: of each pod; default: as it is, none for a new one"
    )
    command.add_argument(
        "--sample-percent",
        type=float,
        metavar="N",
        help="on a cluster: of requests whose figures go to s3://BUCKET/samples; default: as it is, 0 for a new one",
    )
    command.add_argument(
        "--require-tokens",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="on a cluster: pods do not start without the Secret serve-tokens; default: as it is, not for a new one",
    )
    _add_place(command)


def _add_place(command: argparse.ArgumentParser) -> None:
    _add_engine(command)
    command.add_argument(
        "--server",
        action="append",
        default=[],
        metavar="URL",
        help="on this machine: where it is served, to be asked; may be repeated; default: http://127.0.0.1:8080",
    )


def _add_export(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL", help="a registered model, as name, name@alias or name:version")
    command.add_argument("--alias", default="", help="default: champion, or candidate while there is no champion")
    command.add_argument("-o", dest="output", type=Path, required=True, metavar="FOLDER", help="a new folder")
    command.add_argument("--name", default="", help="of the model in TorchServe; default: as it is registered")
    command.add_argument("--workers", type=int, default=1, metavar="N", help="processes that answer; default: 1")
    _add_engine(command)


def _add_convert(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "source", metavar="SOURCE", help="a folder, an archive, or one file of COCO, CVAT, VIA or Create ML"
    )
    command.add_argument("target", type=Path, metavar="TARGET", help="a new folder")
    command.add_argument(
        "--to", required=True, choices=["coco", "yolo", "voc", "cvat", "createml"], help="the format to write"
    )
    command.add_argument(
        "--from",
        dest="from_",
        default="",
        metavar="FORMAT",
        help="coco, yolo, voc, cvat, labelme, via, createml or datumaro:NAME; default: detected from the files",
    )
    command.add_argument(
        "--images", default="", metavar="FOLDER", help="location of the images, if they are not with the annotations"
    )
    command.add_argument(
        "--task",
        default="",
        choices=["", "detect", "segment", "obb", "pose"],
        help="task of YOLO's lines; default: detected",
    )
    command.add_argument(
        "--origin",
        default="",
        choices=["", "zero_based", "one_based", "shifted"],
        help="coordinate convention of Pascal VOC boxes; default: detected from the files",
    )
    command.add_argument("--fix", action="store_true", help="fix boxes that look wrong instead of keeping them")
    command.add_argument(
        "--invalid-shape",
        default="fix",
        choices=["fix", "drop", "fail"],
        help="if a polygon, mask or box cannot be read: keep the valid parts, drop the object, or fail; default: fix",
    )


def _add_images(command: argparse.ArgumentParser) -> None:
    command.add_argument("names", nargs="*", metavar="NAME", help="images of components/images.py; default: all")
    command.add_argument("--push", action="store_true", help="push them to the registry of TOOLCHAIN_REGISTRY")
    command.add_argument(
        "--builder", default="", metavar="COMMAND", help="build command; default: docker build or podman build"
    )
    command.add_argument(
        "--python-image",
        default="docker.io/library/python:3.11-slim-bookworm",
        metavar="NAME[@sha256:...]",
        help="base image; default: %(default)s",
    )
    command.add_argument(
        "--torch-index", default="", metavar="URL", help="package index of PyTorch in the training image"
    )
    command.add_argument(
        "--platforms", default="", metavar="PLATFORM,...", help="of the image serve: linux/amd64,linux/arm64"
    )


def _add_run_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-p", dest="parameters", action="append", default=[], metavar="KEY=VALUE", help="a parameter's value"
    )
    command.add_argument("--no-cache", action="store_true", help="run every step again")
    _add_promotion(command)


def _add_engine(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--engine", choices=["local", "cluster"], help="default: cluster when KFP_ENDPOINT is set, else local"
    )


def _add_promotion(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--require-promotion", action="store_true", help="exit with 3 when no variant beats fp32 safely"
    )


if __name__ == "__main__":
    sys.exit(main())
