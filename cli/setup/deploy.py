"""Install the chart, or upgrade it, and say what came up and how to reach it: what ``make deploy`` runs.

Needs helm (``make helm`` builds it) and kubectl, and a cluster that KUBECONFIG names.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from components import images
from toolchain.errors import ConfigError, ServiceError, ToolchainError
from toolchain.progress import log_info

CHART = images.ROOT / "charts" / "toolchain"
RELEASE = "toolchain"
OURS = ("base", "mlflow")  # the images of this checkout that services run in
CONFLICT = "Apply failed with"  # what helm says when another field manager owns a field: its server-side apply
POLL_SECONDS = 3.0
POD_SECURITY = "pod-security.kubernetes.io/enforce=restricted"


def main(words: list[str] | None = None) -> int:
    """Deploy by the command line's words; return the exit status."""
    parser = argparse.ArgumentParser(description="Install or upgrade the toolchain's services on a cluster.")
    parser.add_argument("--namespace", default="toolchain")
    parser.add_argument("--values", type=Path, action="append", default=[], metavar="FILE", help="one or more")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="over the values of files")
    parser.add_argument(
        "--force-conflicts", action="store_true", help="take back what was changed by hand, with kubectl for example"
    )
    parser.add_argument("--timeout-minutes", type=int, default=15, metavar="N", help="default: 15")
    given = parser.parse_args(words)
    try:
        deploy(given.namespace, given.values, given.set, given.timeout_minutes, force=given.force_conflicts)
    except ToolchainError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def deploy(
    namespace: str, values: list[Path], settings: list[str], timeout_minutes: int, *, force: bool = False
) -> None:
    """Install or upgrade the release in ``namespace`` and wait until everything is ready.

    With ``force`` it takes back the fields that others set meanwhile; without, helm refuses to overwrite them.

    Raises:
        ConfigError: helm, kubectl or a file of values is missing.
        ServiceError: the cluster or helm refuses, or something does not become ready in time.
    """
    for missing in (path for path in values if not path.is_file()):
        raise ConfigError(f"{missing} does not exist; VALUES names a YAML file of the chart's values")
    began = time.monotonic()
    _kubectl("create", "namespace", namespace, allowed="AlreadyExists")
    _kubectl("label", "namespace", namespace, POD_SECURITY, "--overwrite")
    log_info(f"installing {CHART.relative_to(images.ROOT)} in namespace {namespace}")
    options = _options(values, settings, timeout_minutes)
    _upgrade(namespace, [*options, *(["--force-conflicts"] if force else [])], began)
    log_info(f"ready after {time.monotonic() - began:.0f} s\n")
    log_info(_kubectl("get", "deployments,statefulsets,cronjobs", "--namespace", namespace, "--selector", _selector()))
    log_info(_run(_program("helm"), "get", "notes", RELEASE, "--namespace", namespace))


def _options(values: list[Path], settings: list[str], timeout_minutes: int) -> list[str]:
    ours = [f"--set=images.{name}={images.image(name)}" for name in OURS]
    files = [f"--values={path}" for path in values]
    return [*ours, *files, *(f"--set={setting}" for setting in settings), f"--timeout={timeout_minutes}m"]


def _upgrade(namespace: str, options: list[str], began: float) -> None:
    """Run helm to its end, telling meanwhile which pods it waits for."""
    command = [_program("helm"), "upgrade", "--install", RELEASE, str(CHART), "--namespace", namespace]
    command += ["--wait", "--wait-for-jobs", "--hide-notes", *options]
    told = ""  # below, a file: a pipe would be full before helm ends, if it has much to complain of
    with TemporaryFile("w+") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as helm:
        while helm.poll() is None:
            time.sleep(POLL_SECONDS)
            waiting = ", ".join(_waiting(namespace))
            if waiting and waiting != told:
                log_info(f"{time.monotonic() - began:4.0f} s  waiting for {waiting}")
                told = waiting
        output.seek(0)
        said = output.read().strip()
    if helm.returncode:
        left = ", ".join(_waiting(namespace))
        hints = [f"\nnot ready: {left}"] if left else []
        if CONFLICT in said:
            hints.append("\nsomebody changed these fields by hand: make deploy FORCE=1 takes them back")
        raise ServiceError("".join([f"helm could not finish: {said}", *hints]))


def _waiting(namespace: str) -> list[str]:
    """Return the component of each pod that is neither ready nor done, and what keeps it when it is not only time."""
    answer = _kubectl("get", "pods", "--namespace", namespace, "--selector", _selector(), "--output=json")
    found = set()
    for pod in json.loads(answer)["items"]:
        status = pod["status"]
        ready = any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions", []))
        if not ready and status["phase"] not in {"Succeeded", "Failed"} and "deletionTimestamp" not in pod["metadata"]:
            found.add(pod["metadata"]["labels"]["app.kubernetes.io/component"] + _reason(status))
    return sorted(found)


def _reason(status: dict[str, Any]) -> str:
    states = [one["state"] for kind in ("initContainerStatuses", "containerStatuses") for one in status.get(kind, [])]
    for reason in (state["waiting"].get("reason", "") for state in states if "waiting" in state):
        if reason not in {"", "PodInitializing", "ContainerCreating"}:
            return f" ({reason})"
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f" ({condition.get('message', 'not scheduled')})"
    return ""


def _selector() -> str:
    return f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/part-of=toolchain"


def _kubectl(*words: str, allowed: str = "") -> str:
    return _run(_program("kubectl"), *words, allowed=allowed)


def _run(*command: str, allowed: str = "") -> str:
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode and not (allowed and allowed in answer.stderr):
        raise ServiceError(f"{Path(command[0]).name} {command[1]}: {answer.stderr.strip()}")
    return answer.stdout.strip()


def _program(name: str) -> str:
    path = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)  # the PATH may have helm 3
    if not path:
        hint = "`make helm` builds it" if name == "helm" else "install it (kubernetes.io/docs/tasks/tools)"
        raise ConfigError(f"{name} is not installed: {hint}, and put it on the PATH")
    return path


if __name__ == "__main__":
    sys.exit(main())
