"""What each command does."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from cli.compiled import catalog
from cli.records import runs
from cli.run import submit
from cli.run.submit import BAD_USAGE, INTERRUPTED, NOT_PROMOTED, STEP_FAILED, SUCCESS
from cli.settings import Settings, read_settings
from toolchain.artifacts.folder import disk_fault, write_file
from toolchain.errors import ConfigError, ToolchainError

BROKEN_PIPE = 141  # as a shell tells that a program was ended by SIGPIPE: 128 + 13
RESUMED = ("submit", "measure")  # whose finished steps come from the cache


def run(given: argparse.Namespace) -> int:
    """Do what the command line asks, and return the exit status."""
    commands: dict[str, Callable[[argparse.Namespace, Settings], int]] = {
        "list": list_pipelines,
        "compile": compile_,
        "submit": submit.submit,
        "follow": submit.follow,
        "stop": submit.stop,
        "runs": list_runs,
        "show": submit.show,
        "report": report,
        "lineage": lineage,
        "measure": submit.measure,
        "serve": serve,
        "openapi": openapi,
        "promote": promote,
        "rollback": rollback,
        "approve": approve,
        "reject": approve,
        "ledger": ledger,
        "export-torchserve": export_torchserve,
        "convert": convert,
        "schedule": schedule,
        "clean": clean,
        "images": images,
        "doctor": doctor,
    }
    try:
        status = commands[given.command](given, read_settings())
        sys.stdout.flush()
        return status
    except ToolchainError as error:
        from toolchain.progress import printable  # late: it imports rich, which --help does not need

        print(f"error: {printable(str(error))}", file=sys.stderr)
        return BAD_USAGE if isinstance(error, ConfigError) else STEP_FAILED
    except KeyboardInterrupt:
        kept = "; what was finished is kept: the same command goes on from there" if given.command in RESUMED else ""
        print(f"\ninterrupted{kept}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # whoever read this, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to write at exit goes there
        return BROKEN_PIPE
    except OSError as error:
        if (told := disk_fault(error)) is None:
            raise
        print(f"error: {told}", file=sys.stderr)
        return STEP_FAILED


def list_pipelines(given: argparse.Namespace, settings: Settings) -> int:
    known = catalog.entries()
    width = max(len(entry.name) for entry in known)
    for entry in known:
        print(f"{entry.name:<{width}}  {entry.summary}")
    return SUCCESS


def compile_(given: argparse.Namespace, settings: Settings) -> int:
    from cli.compiled.spec import compile_pipeline

    output: Path | None = given.output
    if given.name == "all" and output is None:
        raise ConfigError("compile all writes a file for each pipeline: give their folder with -o DIRECTORY")
    for entry in catalog.entries() if given.name == "all" else [catalog.find(given.name)]:
        text = compile_pipeline(entry)
        if output is None:
            print(text, end="")
        else:
            _write(output / f"{entry.name}.yaml" if given.name == "all" else output, text)
    return SUCCESS


def list_runs(given: argparse.Namespace, settings: Settings) -> int:
    from cli.output.summary import console, table_of_runs

    console().print(table_of_runs(runs.all_runs(settings.runs)))
    return SUCCESS


def report(given: argparse.Namespace, settings: Settings) -> int:
    from cli.output.summary import report_file

    found = runs.find_run(settings.runs, given.run)
    page = report_file(found)
    if page is None:
        raise ToolchainError(
            f"{found.id} has no report: it {found.state} before one was made, or its pipeline makes none"
        )
    print(page)
    print(page.with_suffix(".json"))
    return SUCCESS


def lineage(given: argparse.Namespace, settings: Settings) -> int:
    from cli.run.lineage import tell_lineage

    tell_lineage(given.what, settings, given.engine)
    return SUCCESS


def serve(given: argparse.Namespace, settings: Settings) -> int:
    from cli.serving.serve import serve as serve_model

    serve_model(given, settings)
    return SUCCESS


def openapi(given: argparse.Namespace, settings: Settings) -> int:
    from cli.cluster.tracking import registry_of
    from cli.serving.openapi import tell_openapi

    with registry_of(given.engine, settings) as found:
        return SUCCESS if tell_openapi(given, found) else NOT_PROMOTED


def promote(given: argparse.Namespace, settings: Settings) -> int:
    from cli.serving.promote import promote as promote_model

    return SUCCESS if promote_model(given, settings) else NOT_PROMOTED


def rollback(given: argparse.Namespace, settings: Settings) -> int:
    from cli.serving.promote import rollback as roll_back

    roll_back(given, settings)
    return SUCCESS


def approve(given: argparse.Namespace, settings: Settings) -> int:
    from cli.serving.approve import speak

    speak(given, settings)
    return SUCCESS


def ledger(given: argparse.Namespace, settings: Settings) -> int:
    from cli.cluster.tracking import registry_of
    from cli.serving.promote import tell_ledger

    with registry_of(given.engine, settings) as found:
        tell_ledger(given, found)
    return SUCCESS


def export_torchserve(given: argparse.Namespace, settings: Settings) -> int:
    from cli.cluster.tracking import registry_of
    from cli.serving.torchserve import export

    with registry_of(given.engine, settings) as found:
        export(given, found)
    return SUCCESS


def convert(given: argparse.Namespace, settings: Settings) -> int:
    from cli.convert import convert as convert_annotations

    convert_annotations(given)
    return SUCCESS


def schedule(given: argparse.Namespace, settings: Settings) -> int:
    from cli.schedules.commands import schedule as do

    return do(given, settings)


def clean(given: argparse.Namespace, settings: Settings) -> int:
    from cli.cleanup.command import clean as clean_up

    clean_up(given, settings)
    return SUCCESS


def images(given: argparse.Namespace, settings: Settings) -> int:
    from cli.setup import images as building

    by = building.builder(given.builder, given.python_image, given.torch_index, given.platforms)
    done = list(building.build(building.selected(given.names), by, given.push))
    width = max(len(full) for full, _ in done)
    for full, what in done:
        print(f"{full:<{width}}  {building.size(full, by):>9}  {what}")
    return SUCCESS


def doctor(given: argparse.Namespace, settings: Settings) -> int:
    from cli.setup.doctor import examine

    for finding in examine(settings):
        print(finding)
    return SUCCESS


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, text.encode())
