"""``toolchain stop``: the end of a run on a cluster."""

import argparse

from cli.commands.options import add_json
from cli.exit_status import SUCCESS

SUMMARY = "Stop a run on a cluster."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_id", metavar="RUN", help="ID of a run.")
    add_json(parser)


def run(run_id: str, as_json: bool) -> int:
    from cli.cluster.kfp_client import Server
    from cli.output.machine import print_json
    from cli.run.submit import find_cluster_run
    from cli.settings import read_settings

    settings = read_settings()
    found = find_cluster_run(run_id, settings)
    Server(settings).stop(found.kfp_run_id)
    if as_json:
        print_json({"run": found.id, "kfp_run_id": found.kfp_run_id})
    else:
        print(f"stopping {found.id}; the results of finished steps are kept")
    return SUCCESS
