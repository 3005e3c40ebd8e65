"""Install or upgrade the chart, and print the services and their addresses: what ``make deploy`` runs.

Needs helm (``make helm`` builds it), kubectl, and the cluster of KUBECONFIG.
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
CHECKOUT_IMAGES = ("base", "mlflow")  # images of this checkout that the chart runs
CONFLICT = "Apply failed with"  # in helm's message when another field manager owns a field (server-side apply)
POLL_INTERVAL_S = 3.0
POD_SECURITY = "pod-security.kubernetes.io/enforce=restricted"


def main(argv: list[str] | None = None) -> int:
    """Deploy by the command line's options; return the exit status."""
    parser = argparse.ArgumentParser(description="Install or upgrade the toolchain's services on a cluster.")
    parser.add_argument("--namespace", default="toolchain")
    parser.add_argument(
        "--values", type=Path, action="append", default=[], metavar="FILE", help="values file; repeatable"
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="overrides the values files")
    parser.add_argument(
        "--force-conflicts",
        action="store_true",
        help="overwrite fields that were changed by hand, for example with kubectl",
    )
    parser.add_argument("--timeout-minutes", type=int, default=15, metavar="N", help="default: 15")
    options = parser.parse_args(argv)
    try:
        deploy(options.namespace, options.values, options.set, options.timeout_minutes, force=options.force_conflicts)
    except ToolchainError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def deploy(
    namespace: str, values: list[Path], settings: list[str], timeout_minutes: int, *, force: bool = False
) -> None:
    """Install or upgrade the release in ``namespace`` and wait until everything is ready.

    With ``force``, fields that others have changed are overwritten; without, helm fails on them.

    Raises:
        ConfigError: helm, kubectl or a values file is missing.
        ServiceError: the cluster or helm fails, or a service is not ready in time.
    """
    for missing in (path for path in values if not path.is_file()):
        raise ConfigError(f"{missing} does not exist; VALUES is a YAML file of the chart's values")
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
    checkout = [f"--set=images.{name}={images.image(name)}" for name in CHECKOUT_IMAGES]
    files = [f"--values={path}" for path in values]
    return [*checkout, *files, *(f"--set={setting}" for setting in settings), f"--timeout={timeout_minutes}m"]


def _upgrade(namespace: str, options: list[str], began: float) -> None:
    """Run helm and print the pods that it waits for."""
    command = [_program("helm"), "upgrade", "--install", RELEASE, str(CHART), "--namespace", namespace]
    command += ["--wait", "--wait-for-jobs", "--hide-notes", *options]
    printed = ""  # the output goes to a file: many warnings would fill a pipe, and helm would block
    with TemporaryFile("w+") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as helm:
        while helm.poll() is None:
            time.sleep(POLL_INTERVAL_S)
            waiting = ", ".join(_waiting(namespace))
            if waiting and waiting != printed:
                log_info(f"{time.monotonic() - began:4.0f} s  waiting for {waiting}")
                printed = waiting
        output.seek(0)
        message = output.read().strip()
    if helm.returncode:
        pending = ", ".join(_waiting(namespace))
        hints = [f"\nnot ready: {pending}"] if pending else []
        if CONFLICT in message:
            hints.append("\nthese fields were changed by hand: make deploy FORCE=1 overwrites them")
        raise ServiceError("".join([f"helm failed: {message}", *hints]))


def _waiting(namespace: str) -> list[str]:
    """Return the component of each pod that is neither ready nor completed, with the reason if there is an error."""
    output = _kubectl("get", "pods", "--namespace", namespace, "--selector", _selector(), "--output=json")
    found = set()
    for pod in json.loads(output)["items"]:
        status = pod["status"]
        conditions = status.get("conditions", [])
        ready = any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
        if not ready and status["phase"] not in {"Succeeded", "Failed"} and "deletionTimestamp" not in pod["metadata"]:
            found.add(pod["metadata"]["labels"]["app.kubernetes.io/component"] + _reason(status))
    return sorted(found)


def _reason(status: dict[str, Any]) -> str:
    containers = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    states = [container["state"] for container in containers]
    for reason in (state["waiting"].get("reason", "") for state in states if "waiting" in state):
        if reason not in {"", "PodInitializing", "ContainerCreating"}:
            return f" ({reason})"
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f" ({condition.get('message', 'not scheduled')})"
    return ""


def _selector() -> str:
    return f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/part-of=toolchain"


def _kubectl(*arguments: str, allowed: str = "") -> str:
    return _run(_program("kubectl"), *arguments, allowed=allowed)


def _run(*command: str, allowed: str = "") -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and not (allowed and allowed in done.stderr):
        raise ServiceError(f"{Path(command[0]).name} {command[1]}: {done.stderr.strip()}")
    return done.stdout.strip()


def _program(name: str) -> str:
    path = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)  # helm 3 may be on PATH
    if not path:
        hint = "`make helm` builds it" if name == "helm" else "install it (kubernetes.io/docs/tasks/tools)"
        raise ConfigError(f"{name} is not installed: {hint}, and put it on PATH")
    return path


if __name__ == "__main__":
    sys.exit(main())
