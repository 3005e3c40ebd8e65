"""The Helm chart, rendered as a cluster gets it."""

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "toolchain"
IMAGES = ("--set", "images.base=ghcr.io/toolchain/base:1,images.mlflow=ghcr.io/toolchain/mlflow:1")
HELM = shutil.which("helm", path=str(Path(sys.executable).parent)) or shutil.which("helm")


def helm(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([HELM or "helm", *words], capture_output=True, text=True, timeout=120, check=False)


@cache
def rendered(*words: str) -> tuple[dict[str, Any], ...]:
    answer = helm("template", "toolchain", str(CHART), "--namespace", "charttest", *IMAGES, *words)
    assert answer.returncode == 0, answer.stderr
    return tuple(document for document in yaml.safe_load_all(answer.stdout) if document)
