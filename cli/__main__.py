"""The command line: ``toolchain``, or ``python -m cli``."""

import argparse
import io
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from cli import exit_status
from cli.commands import (
    approve,
    clean,
    completion,
    convert,
    doctor,
    export_torchserve,
    follow,
    images,
    ledger,
    lineage,
    measure,
    openapi,
    promote,
    reject,
    report,
    rollback,
    runs,
    schedule,
    serve,
    show,
    stop,
    submit,
)
from cli.commands import compile as compile_
from cli.commands import list as list_
from toolchain.errors import ConfigError, ToolchainError

PROGRAM = "toolchain"
DESCRIPTION = "Train, optimize, evaluate and serve deep-learning models with Kubeflow pipelines."
HELP_COLUMN = 22  # where the summaries of commands begin
RESUMABLE = ("submit", "measure")  # whose finished steps come from the cache


class Command(Protocol):
    """A module of cli/commands: ``run`` takes the arguments that ``add_arguments`` declares, by their names."""

    SUMMARY: str
    run: Callable[..., int]

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...


GROUPS: Mapping[str, Mapping[str, Command]] = {
    "Run": {
        "list": list_,
        "submit": submit,
        "measure": measure,
        "follow": follow,
        "stop": stop,
        "compile": compile_,
    },
    "Inspect": {
        "runs": runs,
        "show": show,
        "report": report,
        "lineage": lineage,
        "ledger": ledger,
        "doctor": doctor,
    },
    "Serve": {
        "serve": serve,
        "promote": promote,
        "rollback": rollback,
        "approve": approve,
        "reject": reject,
        "openapi": openapi,
        "export-torchserve": export_torchserve,
    },
    "Data": {"convert": convert, "clean": clean},
    "Cluster": {"schedule": schedule, "images": images},
    "Shell": {"completion": completion},
}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}


class TopParser(argparse.ArgumentParser):
    """Shows the commands by group, which argparse cannot."""

    def format_help(self) -> str:
        return f"{self.format_usage()}\n{self.description}\n\n{_overview()}\n"


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    _prepare_output()
    arguments = vars(parser().parse_args(argv))
    name = arguments.pop("command")
    return _run(name, COMMANDS[name].run, arguments)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = TopParser(prog=PROGRAM, description=DESCRIPTION)
    subparsers = top.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=argparse.ArgumentParser
    )
    for name, command in COMMANDS.items():
        command.add_arguments(subparsers.add_parser(name, help=command.SUMMARY, description=command.SUMMARY))
    subparsers.choices["completion"].set_defaults(top=top)
    return top


def _prepare_output() -> None:
    """Let any text be printed: in an encoding without its characters ("?" for each), and without an output."""
    if sys.stdout is None:  # closed by the shell's >&-
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  open until the process ends
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _overview() -> str:
    """Return the commands by group, a line each."""
    lines = []
    for group, commands in GROUPS.items():
        lines += [f"{group}:", *(f"  {name:<{HELP_COLUMN - 2}}{one.SUMMARY}" for name, one in commands.items()), ""]
    return "\n".join([*lines, f"Run '{PROGRAM} COMMAND --help' for the options of a command."])


def _run(name: str, handler: Callable[..., int], arguments: dict[str, Any]) -> int:
    try:
        status = handler(**arguments)
        sys.stdout.flush()
        return status
    except ToolchainError as error:
        from toolchain.progress import printable  # late: it imports rich, which --help does not need

        print(f"error: {printable(str(error))}", file=sys.stderr)
        return exit_status.USAGE_ERROR if isinstance(error, ConfigError) else exit_status.FAILURE
    except ModuleNotFoundError as error:
        from cli.extras import describe_missing_module

        print(f"error: {name}: {describe_missing_module(error.name or '')}", file=sys.stderr)
        return exit_status.USAGE_ERROR
    except KeyboardInterrupt:
        kept = "; finished steps are cached: run the same command to resume" if name in RESUMABLE else ""
        print(f"\ninterrupted{kept}", file=sys.stderr)
        return exit_status.INTERRUPTED
    except BrokenPipeError:  # the reader, for example `head`, closed its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the flush at exit cannot fail
        return exit_status.BROKEN_PIPE
    except OSError as error:
        from toolchain.artifacts.folder import disk_fault

        if (message := disk_fault(error)) is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        return exit_status.FAILURE


if __name__ == "__main__":
    sys.exit(main())
