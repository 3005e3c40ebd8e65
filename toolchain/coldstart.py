"""Cold start: what a variant's first answer costs in a fresh process, as in a pod that has just been started."""

import json
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from toolchain.artifacts.model import Model, open_model
from toolchain.artifacts.provenance import MAXRSS_BYTES
from toolchain.errors import ArtifactError
from toolchain.inference import Tokenizer, open_session, pad

STATUS = Path("/proc/self/status")  # Linux
LARGEST_REQUEST = 8, 128  # rows, tokens: the largest of the latency's scenarios, so that its memory is counted
OWN_ERROR = "toolchain.errors.ArtifactError: "  # how Python's traceback begins the line that says why
CHILD = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from toolchain.coldstart import answer; answer()"


@dataclass(frozen=True)
class ColdStart:
    milliseconds: float  # to load back end, weights and tokenizer and to answer one text; the disk's cache is warm
    peak_memory_bytes: int  # resident, of the whole process, after the largest request too


def cold_start(model: Model, text: str, threads: int) -> ColdStart:
    """Return what the first answer of ``model``, to ``text``, costs in a fresh process.

    Raises:
        ArtifactError: the process fails; its last line says why.
    """
    task = json.dumps({"folder": str(model.path.resolve()), "text": text, "threads": threads})
    command = [sys.executable, "-c", CHILD, json.dumps(sys.path)]
    done = subprocess.run(command, input=task, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise ArtifactError(f"{model.path} does not answer in a fresh process: {last.removeprefix(OWN_ERROR)}")
    return ColdStart(**json.loads(done.stdout.strip().splitlines()[-1]))


def answer() -> None:
    """Answer the task on standard input and print what it cost; this is what the fresh process does."""
    task = json.load(sys.stdin)
    model = open_model(Path(task["folder"]))  # its digest check is no part of the time
    began = time.perf_counter()
    session, tokenizer = open_session(model, task["threads"]), Tokenizer(model)
    session.run(tokenizer.feeds([task["text"]]))
    milliseconds = 1000 * (time.perf_counter() - began)
    rows, tokens = LARGEST_REQUEST
    session.run(pad(tokenizer.ids([task["text"]] * rows), tokenizer.pad_id, tokens))
    print(json.dumps(asdict(ColdStart(milliseconds, peak_memory()))))


def peak_memory() -> int:
    """Return the most memory, in bytes, that this process has held resident.

    Linux's ``getrusage`` would count what the parent held when it started this process (its high-water mark outlives
    ``exec``), so the kernel's own mark of this program is read where there is one.
    """
    if STATUS.is_file():
        marks = [line.split() for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
        if marks:
            return int(marks[0][1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_BYTES
