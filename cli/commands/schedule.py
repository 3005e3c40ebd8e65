"""``toolchain schedule``: runs at fixed times, as manifests/schedules/ defines them."""

import argparse
from pathlib import Path

from cli.commands.options import add_engine, add_json

SUMMARY = "Manage runs at fixed times: diff, apply, list, pause, resume, run-now, run-due."
ACTIONS = {
    "diff": "Print how the cluster differs from the files. Exit with status 4 if it does.",
    "apply": "Print the difference and update the cluster.",
    "list": "List schedules with their next time and last run.",
    "pause": "Pause a schedule.",
    "resume": "Resume a paused schedule.",
    "run-now": "Start a run of a schedule now.",
    "run-due": "Start the runs that are due on this machine. Meant for a line of cron.",
}
OF_ONE = ("pause", "resume", "run-now")  # actions on one schedule


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, summary in ACTIONS.items():
        action = actions.add_parser(name, help=summary, description=summary)
        action.add_argument("--folder", type=Path, metavar="FOLDER", help="Default: manifests/schedules.")
        if name in OF_ONE:
            action.add_argument("name", metavar="NAME", help="Name of a schedule.")
        if name in (*OF_ONE, "list"):
            add_engine(action)
        if name in ("diff", "apply", "list"):
            add_json(action)


def run(
    action: str,
    folder: Path | None,
    name: str = "",
    engine: str | None = None,
    as_json: bool = False,
) -> int:
    from cli.schedules.commands import manage
    from cli.settings import read_settings

    return manage(action, folder, name, engine, as_json, read_settings())
