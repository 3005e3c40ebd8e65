"""``toolchain completion``: a script that completes commands and options in a shell."""

import argparse

from cli.exit_status import SUCCESS

SUMMARY = "Print a completion script for bash, zsh or fish."
SHELLS = ("bash", "zsh", "fish")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="Shell that loads the script.")


def run(shell: str, top: argparse.ArgumentParser) -> int:
    """Print the script; ``top`` is the parser of all commands."""
    import shtab

    print(shtab.complete(top, shell))
    return SUCCESS
