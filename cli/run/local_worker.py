"""Run a pipeline by KFP's local runner, after a check of every setting, and print events for the parent process.

This module runs as a separate process, so that the parent can show progress and end it with all its children.
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
from typing import Any

from cli.compiled.parameters import name_parameters
from toolchain.artifacts.folder import disk_fault
from toolchain.errors import ConfigError

EVENT = "\x1e"  # prefix of an event (ASCII record separator); other lines are output of a step
COLOUR = re.compile(r"\x1b\[\d+m")
STARTED = re.compile(r"Executing task '(.+)'")
ENDED = re.compile(r"Task '(.+)' finished with status (SUCCESS|FAILURE)")
CACHED = re.compile(r"Task (\S+) cache hit")


def main() -> int:
    """Run the job in the first line of standard input: {"spec", "arguments", "configs", "root", "cache"}."""
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        for step, values, parameters in job["configs"]:
            check_config(step, values, parameters)
    except ConfigError as error:
        _emit("config_error", str(error))
        return 2
    try:
        return _run(job)
    except OSError as error:
        if (message := disk_fault(error)) is None:
            raise
        _emit("disk_fault", message)
        return 1


def check_config(step: str, values: dict[str, Any], parameters: dict[str, str]) -> None:
    """Raise ConfigError, with the names of the pipeline's ``parameters``, if ``values`` of ``step`` are not valid."""
    config = importlib.import_module(f"toolchain.{step}").Config
    known = config.__dataclass_fields__
    try:
        config(**{name: value for name, value in values.items() if name in known})
    except ConfigError as error:
        raise ConfigError(name_parameters(str(error), parameters)) from error


def _run(job: dict[str, Any]) -> int:
    from kfp import local
    from kfp.components import load_component_from_text

    warnings.filterwarnings("ignore", module=r"kfp\.local")  # it ignores resources and display names
    logging.getLogger().setLevel(logging.INFO)  # KFP logs cache hits at this level
    logging.getLogger().addFilter(_emit_task_events)
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


def _emit_task_events(record: logging.LogRecord) -> bool:
    """Print events for KFP's log records about tasks, and suppress the records."""
    message = COLOUR.sub("", record.getMessage())
    for event, pattern in (("cached", CACHED), ("started", STARTED), ("ended", ENDED)):
        if match := pattern.search(message):
            _emit(event, *match.groups())
    return False


def _emit(event: str, *details: str) -> None:
    sys.stdout.write(EVENT + json.dumps([event, *details]) + "\n")
    sys.stdout.flush()


def _end_with_parent() -> None:
    """Kill this process and its children when the parent has ended, which closes standard input."""
    while os.read(sys.stdin.fileno(), 1):
        continue
    os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
