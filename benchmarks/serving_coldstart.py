"""Measure a cold start: from the command to the first 200 of /readyz, in a new process. It includes the parity check.

Anchor: at most 3 seconds, the median of STARTS starts with a warm disk cache.
Usage: python benchmarks/serving_coldstart.py [MODEL]    (a model's folder; default: makes INT8 MiniLM)
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from _servers import free_port, make_model, running_server, server_command

from toolchain.hardware.cpu import describe, usable_cores

STARTS, SECONDS = 7, 3.0


def main(arguments: Sequence[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="serving-") as scratch:
        folder = Path(arguments[0]) if arguments else make_model(Path(scratch))
        found = [start(folder.absolute()) for _ in range(STARTS + 1)][1:]  # the first one warms the disk's cache
    p50 = statistics.median(found)
    print(f"\n{describe().name}, {usable_cores()} cores; {STARTS} starts, {min(found):.2f} to {max(found):.2f} s")
    print(f"cold start: {p50:.2f} s, anchor {SECONDS:g}: {'reached' if p50 <= SECONDS else 'MISSED'}")
    return int(p50 > SECONDS)


def start(folder: Path) -> float:
    """Return the seconds until the server of ``folder`` is ready."""
    port, began = free_port(), time.perf_counter()
    with running_server(server_command(str(folder), "--port", str(port)), port):
        return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
