"""The server's program as a process of its own, as a pod runs it, and what it says when it does not run."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass
class Running:
    process: "subprocess.Popen[str]"
    line: str  # that it printed first
    port: int

    def ask(self, *texts: str, connection: HTTPConnection | None = None) -> tuple[int, dict[str, Any]]:
        to = connection or HTTPConnection("127.0.0.1", self.port, timeout=20)
        to.request("POST", "/predict", json.dumps({"texts": texts}), {"Content-Type": "application/json"})
        answer = to.getresponse()
        return answer.status, json.loads(answer.read())

    def end(self, by: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(by)
        out, error = self.process.communicate(timeout=30)
        return self.process.returncode, out + error


def command(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "toolchain.serve", str(folder), "--name", "reviews", *words]


def begin(command_: list[str], **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command_,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ready(process: "subprocess.Popen[str]") -> Running:
    """Return ``process``, which must say that it is ready."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("ready: "), process.communicate(timeout=20)
    return Running(process, line, int(line.split("/docs")[0].rsplit(":", 1)[1]))


def refused(folder: Path, *words: str, **environment: str) -> tuple[int, str]:
    """Return the exit status and the one line of a server that does not start."""
    done = subprocess.run(
        command(folder, *words), cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
    )
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    return done.returncode, done.stderr
