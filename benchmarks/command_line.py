"""Measure the response time of the command line: its help, and an unchanged pipeline submitted again.

Targets: help at most 100 ms slower than ``python -c pass``; an unchanged rerun within 2 s, with every step cached.
Run a pipeline once before this benchmark: ``make submit PIPELINE=prepare``.
"""

import argparse
import subprocess
import sys
import time
from statistics import median

ROUNDS = 9  # of each command, by turns, so that noise affects both
MAX_HELP_MS, MAX_RERUN_S = 100, 2.0  # the targets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pipeline", nargs="?", default="prepare", help="a pipeline that has run before")
    pipeline = parser.parse_args().pipeline
    module = [sys.executable, "-m", "cli"]
    timed: dict[str, list[float]] = {"pass": [], "help": []}
    for _ in range(ROUNDS):
        timed["pass"].append(seconds([sys.executable, "-c", "pass"])[0])
        timed["help"].append(seconds([*module, "--help"])[0])
    beyond = 1_000 * (median(timed["help"]) - median(timed["pass"]))
    print(f"--help: {beyond:.0f} ms beyond python -c pass (target: at most {MAX_HELP_MS} ms)")
    seconds([*module, "submit", pipeline])  # the first submission may compile or run steps
    reruns = [seconds([*module, "submit", pipeline]) for _ in range(ROUNDS)]
    cached = all("started" not in output for _, output in reruns)
    rerun = median(took for took, _ in reruns)
    state = "every step cached" if cached else "NOT every step cached"
    print(f"unchanged rerun of {pipeline}: {rerun:.2f} s, {state} (target: at most {MAX_RERUN_S:.0f} s)")


def seconds(command: list[str]) -> tuple[float, str]:
    """Return the duration of ``command`` and its output."""
    began = time.perf_counter()
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    return time.perf_counter() - began, ended.stdout


if __name__ == "__main__":
    main()
