"""The notes that helm prints after an installation name what is on, and nothing else."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.chart import CHART, IMAGES, helm, rendered

OFF = {  # what is off by each setting: the words that the notes must not hold
    "kfp.ui.enabled=false": ("ml-pipeline-ui", "8080"),
    "kfp.enabled=false": ("Kubeflow Pipelines", "ml-pipeline", "make submit"),
    "mlflow.enabled=false": ("MLflow", "toolchain-mlflow"),
    "grafana.type=none": ("Grafana", "toolchain-grafana"),
    "grafana.type=sidecar": ("toolchain-grafana",),
    "prometheus.type=none,grafana.type=none": ("Prometheus", "toolchain-prometheus"),
    "backup.enabled=false": ("backups",),
}


def notes(*words: str) -> str:
    done = helm("install", "toolchain", str(CHART), "--namespace", "charttest", "--dry-run=client", *IMAGES, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:")[2]


@pytest.mark.parametrize(("setting", "words"), OFF.items(), ids=OFF)
def test_notes_omit_disabled_services(setting: str, words: tuple[str, ...]) -> None:
    found = notes(f"--set={setting}")
    assert [word for word in words if word in found] == []


@pytest.mark.parametrize("options", sorted((CHART / "ci").glob("*-values.yaml")), ids=lambda path: path.stem)
def test_services_and_secrets_in_the_notes_exist(options: Path) -> None:
    given = yaml.safe_load(options.read_text()) or {}
    own = {value["existingSecret"] for value in given.values() if isinstance(value, dict) and "existingSecret" in value}
    names = {named(resource) for resource in rendered("--values", str(options))} | {f"secret {name}" for name in own}
    found = re.findall(r"(service/|secret )(\S+)", notes("--values", str(options)))
    assert found
    assert {f"{kind.strip('/ ')} {name}" for kind, name in found} <= names


def named(resource: dict[str, Any]) -> str:
    return f"{resource['kind'].lower()} {resource['metadata']['name']}"
