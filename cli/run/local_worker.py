"""The process in which KFP's local runner runs a pipeline: it checks every setting first, then tells what happens.

It is a process of its own so that the one a person watches stays free, and can end it with all its children.
"""

import importlib
import json
import logging
import os
import re
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

from cli.compiled.parameters import name_parameters
from toolchain.artifacts.folder import disk_fault
from toolchain.errors import ConfigError

EVENT = "\x1e"  # begins a line that is an event (ASCII record separator); all other lines are a step's own
COLOUR = re.compile(r"\x1b\[\d+m")
STARTED = re.compile(r"Executing task '(.+)'")
ENDED = re.compile(r"Task '(.+)' finished with status (SUCCESS|FAILURE)")
CACHED = re.compile(r"Task (\S+) cache hit")


def main(job_file: Path) -> int:
    """Run the job described in ``job_file``: {"spec", "arguments", "configs", "root", "cache"}."""
    job = json.loads(job_file.read_text(encoding="utf-8"))
    job_file.unlink()  # its arguments may hold the secrets of URLs, which no file of a run keeps
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        for step, values, parameters in job["configs"]:
            check(step, values, parameters)
    except ConfigError as error:
        _tell("refused", str(error))
        return 2
    try:
        return _run(job)
    except OSError as error:
        if (told := disk_fault(error)) is None:
            raise
        _tell("broke", told)
        return 1


def check(step: str, values: dict[str, Any], parameters: dict[str, str]) -> None:
    """Raise ConfigError, which names the pipeline's ``parameters``, when ``values`` of ``step`` are out of range."""
    config = importlib.import_module(f"toolchain.{step}").Config
    known = config.__dataclass_fields__
    try:
        config(**{name: value for name, value in values.items() if name in known})
    except ConfigError as error:
        raise ConfigError(name_parameters(str(error), parameters)) from error


def _run(job: dict[str, Any]) -> int:
    from kfp import local
    from kfp.components import load_component_from_text

    warnings.filterwarnings("ignore", module=r"kfp\.local")  # resources and names of tasks mean nothing on one machine
    logging.getLogger().setLevel(logging.INFO)  # KFP tells of cache hits at this level
    logging.getLogger().addFilter(_tell_of_tasks)
    local.init(
        local.SubprocessRunner(use_venv=False),
        pipeline_root=job["root"],
        enable_caching=True,
        cache_root=job["cache"],
        raise_on_error=True,
    )
    try:
        load_component_from_text(job["spec"])(**job["arguments"])
    except RuntimeError as error:
        if "Inner task failed" not in str(error):
            raise
        return 1
    return 0


def _tell_of_tasks(record: logging.LogRecord) -> bool:
    """Turn what KFP logs of its tasks into events; nothing of it is printed itself."""
    message = COLOUR.sub("", record.getMessage())
    for event, pattern in (("cached", CACHED), ("started", STARTED), ("ended", ENDED)):
        if match := pattern.search(message):
            _tell(event, *match.groups())
    return False


def _tell(event: str, *details: str) -> None:
    sys.stdout.write(EVENT + json.dumps([event, *details]) + "\n")
    sys.stdout.flush()


def _end_with_parent() -> None:
    """End this process and its children when the one that started it is gone: its end of our standard input closes."""
    while os.read(sys.stdin.fileno(), 1):
        continue
    os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
