"""How long a person waits for the command line: its help, and an unchanged pipeline submitted again.

Anchors: help within 100 ms of what ``python -c pass`` takes; an unchanged rerun within 2 s, every step cached.
Run it after a pipeline has run once: ``make submit PIPELINE=prepare``.
"""

import argparse
import subprocess
import sys
import time
from statistics import median

ROUNDS = 9  # of each command, in turn, so that a busy moment meets both
HELP_MILLISECONDS, RERUN_SECONDS = 100, 2.0  # the anchors


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    given.add_argument("pipeline", nargs="?", default="prepare", help="one that has run before")
    pipeline = given.parse_args().pipeline
    module = [sys.executable, "-m", "cli"]
    timed: dict[str, list[float]] = {"pass": [], "help": []}
    for _ in range(ROUNDS):
        timed["pass"].append(seconds([sys.executable, "-c", "pass"])[0])
        timed["help"].append(seconds([*module, "--help"])[0])
    beyond = 1_000 * (median(timed["help"]) - median(timed["pass"]))
    print(f"--help: {beyond:.0f} ms beyond python -c pass (anchor: at most {HELP_MILLISECONDS} ms)")
    seconds([*module, "submit", pipeline])  # the first may have to compile, or to run
    reruns = [seconds([*module, "submit", pipeline]) for _ in range(ROUNDS)]
    cached = all("started" not in told for _, told in reruns)
    rerun = median(took for took, _ in reruns)
    told = "every step cached" if cached else "NOT every step cached"
    print(f"unchanged rerun of {pipeline}: {rerun:.2f} s, {told} (anchor: at most {RERUN_SECONDS:.0f} s)")


def seconds(command: list[str]) -> tuple[float, str]:
    """Return how long ``command`` took, and what it printed."""
    began = time.perf_counter()
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    return time.perf_counter() - began, ended.stdout


if __name__ == "__main__":
    main()
