"""``toolchain stop``: the end of a run on a cluster."""

import argparse

from cli.exit_status import SUCCESS

SUMMARY = "Stop a run on a cluster."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_id", metavar="RUN", help="ID of a run.")


def run(run_id: str) -> int:
    from cli.cluster.kfp_client import Server
    from cli.run.submit import find_cluster_run
    from cli.settings import read_settings

    settings = read_settings()
    found = find_cluster_run(run_id, settings)
    Server(settings).stop(found.kfp_run_id)
    print(f"stopping {found.id}; the results of finished steps are kept")
    return SUCCESS
