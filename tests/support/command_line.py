"""The command line, run as a separate process."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.processes import listen_to_ctrl_c

ROOT = Path(__file__).resolve().parents[2]


def command(place: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "cli", "submit", "prepare", "-p", f"source={place / 'rows.csv'}", *words]


def environment(place: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("KFP_ENDPOINT", "MLFLOW_TRACKING_URI")}
    return {**kept, "TOOLCHAIN_RUNS": str(place / "runs")}


def submit(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(place, *words), env=environment(place), cwd=ROOT, capture_output=True, text=True, check=False
    )


def start(place: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(place, *words),
        env=environment(place),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=listen_to_ctrl_c,
    )
