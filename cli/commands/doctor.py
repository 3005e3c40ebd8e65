"""``toolchain doctor``: what this machine offers."""

import argparse

from cli.commands.options import add_json
from cli.exit_status import SUCCESS

SUMMARY = "Check what this machine offers, and how to add what is missing."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json(parser)


def run(as_json: bool) -> int:
    from cli.output.machine import print_json
    from cli.settings import read_settings
    from cli.setup.doctor import examine

    if as_json:
        print_json([{"name": one.name, "ok": one.there, "detail": one.detail} for one in examine(read_settings())])
        return SUCCESS
    for finding in examine(read_settings()):
        print(finding)
    return SUCCESS
