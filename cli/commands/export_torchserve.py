"""``toolchain export-torchserve``: a registered model as an archive for TorchServe."""

import argparse
from pathlib import Path

from cli.commands.options import MODEL, add_engine, add_json
from cli.exit_status import SUCCESS

SUMMARY = "Export a registered model as a TorchServe archive."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help=f"A {MODEL}.")
    parser.add_argument("--alias", default="", help="Alias to export. Default: champion, else candidate.")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="New folder.")
    parser.add_argument("--name", default="", help="Name in TorchServe. Default: the registered name.")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="Worker processes. Default: %(default)s.")
    add_engine(parser, registry=True)
    add_json(parser)


def run(model: str, alias: str, output: Path, name: str, workers: int, engine: str | None, as_json: bool) -> int:
    from cli.cluster.tracking import registry_of
    from cli.output.machine import print_json, text_output
    from cli.serving.torchserve import export
    from cli.settings import read_settings

    with text_output(as_json), registry_of(engine, read_settings()) as settings:
        fields = export(model, alias, output, name, workers, settings)
    if as_json:
        print_json(fields)
    return SUCCESS
