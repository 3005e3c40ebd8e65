"""Measure the cold start of a variant: its first prediction in a fresh process, as in a new pod."""

import json
import pickle
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toolchain.artifacts.model import Model, open_model
from toolchain.artifacts.provenance import MAXRSS_BYTES
from toolchain.errors import ArtifactError
from toolchain.inference.runtime import open_session
from toolchain.inference.tasks import task_of

STATUS = Path("/proc/self/status")  # Linux
OWN_ERROR = "toolchain.errors.ArtifactError: "  # how the last line of Python's traceback begins
CHILD = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from toolchain.evaluate.latency.cold_start import predict_once
predict_once()
"""


@dataclass(frozen=True)
class ColdStart:
    milliseconds: float  # to load back end, weights and tokenizer and to predict one row; the disk's cache is warm
    peak_memory_bytes: int  # resident, of the whole process, after the largest request too


def cold_start(model: Model, value: Any, threads: int) -> ColdStart:
    """Return the cost of the first prediction of ``model`` in a fresh process, for ``value`` of the column it reads.

    Raises:
        ArtifactError: the process fails; the message has its last line.
    """
    task = pickle.dumps({"folder": model.path.resolve(), "value": value, "threads": threads})
    command = [sys.executable, "-c", CHILD, json.dumps(sys.path)]
    done = subprocess.run(command, input=task, capture_output=True, check=False)
    if done.returncode:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise ArtifactError(f"{model.path} does not run in a fresh process: {last.removeprefix(OWN_ERROR)}")
    return ColdStart(**json.loads(done.stdout.decode().strip().splitlines()[-1]))


def predict_once() -> None:
    """Run the task on standard input and print its cost; the program of the fresh process."""
    task = pickle.load(sys.stdin.buffer)
    model = open_model(task["folder"])  # its digest check is no part of the time
    began = time.perf_counter()
    session, kind = open_session(model, task["threads"]), task_of(model)
    prepared = kind.input.prepare([task["value"]])
    session.run(kind.input.stack(prepared))
    milliseconds = 1000 * (time.perf_counter() - began)
    for scenario in kind.scenarios.values():  # the largest request's memory counts too
        session.run(kind.input.stack(prepared * scenario.rows, scenario.tokens))
    print(json.dumps(asdict(ColdStart(milliseconds, peak_memory()))))


def peak_memory() -> int:
    """Return the peak resident memory of this process in bytes.

    Linux's ``getrusage`` would include the parent's memory at the start of this process (its high-water mark outlives
    ``exec``), so the kernel's mark of this program is read where there is one.
    """
    if STATUS.is_file():
        marks = [line.split() for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
        if marks:
            return int(marks[0][1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_BYTES
