"""Explain why a step's pod does not start, or why it ended, and what to do."""

import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from toolchain.services.kubernetes import Node, Pod

IMAGE_REASONS = ("ErrImageNeverPull", "ErrImagePull", "ImageInspectError", "ImagePullBackOff", "InvalidImageName")
START_REASONS = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
IMAGE_TIMEOUT_S = 20.0  # enough for Kubernetes' second attempt; a wrong name stays wrong
NODE_TIMEOUT_S = 300.0  # for a cluster autoscaler to add a node
QUOTA_TIMEOUT_S = 300.0  # for other pods in the namespace to end
GIB = 1024**3
IMAGE = re.compile(r'image "([^"]+)"')
CONSEQUENCE = re.compile(  # messages of Argo about a failure in another node
    r"retryStrategy|No more retries|omitted:|child |Max duration|PodInitializing$"
)
FATAL = re.compile(r"^F\d{4} .*?\] (?:KFP driver: )?(.*)$", re.MULTILINE)  # the fatal error in the log of KFP's driver
DENIED = re.compile(r'([\w."/-]+(?: "[^"]*")?) is forbidden: (.*)$', re.MULTILINE)  # an error of the API server
RBAC = re.compile(r'^User "([^"]+)" cannot (\w+) resource "([^"]+)" in API group "([^"]*)"')
LAUNCHER = re.compile(r"^F\d{4} .*?\] failed to execute component: (.*)$", re.MULTILINE)
ENDED = re.compile(r"^(?:exit status (?P<status>\d+)|signal: (?P<signal>.+?)(?: \(core dumped\))?)$")  # as Go prints it
SIGNALS = {(signal.strsignal(entry) or "").lower(): entry.value for entry in signal.Signals}
MAX_CHARACTERS = 400  # of an error of KFP's driver, which repeats its inputs


@dataclass(frozen=True)
class Problem:
    type: str
    message: str
    hint: str  # what to do
    timeout_s: float | None  # after which the run is stopped; None: the problem may be solved at any time


def find_problem(pod: Pod, nodes: Sequence[Node]) -> Problem | None:
    """Return why ``pod`` waits, or None if it is only starting; ``nodes`` are those of the cluster."""
    if pod.waiting_reason in IMAGE_REASONS:
        named = IMAGE.search(pod.message)
        message = f"image {named[1] if named else pod.image} is not available ({pod.waiting_reason})"
        hint = "build it and load it into the cluster (make images, PUSH=1 for a registry), or correct REGISTRY"
        return Problem("image", message, hint, IMAGE_TIMEOUT_S)
    if pod.waiting_reason in START_REASONS:
        hint = "make deploy creates the ConfigMap and Secret of the steps; without the chart, create them by hand"
        return Problem("start", f"the container cannot be created: {pod.message}", hint, IMAGE_TIMEOUT_S)
    return _scheduling_problem(pod, nodes) if pod.waiting_reason == "Unschedulable" else None


def find_denial(text: str) -> Problem | None:
    """Return the request that Kubernetes denied according to ``text``, or None.

    ``text`` is a message of Argo about a pod that could not be created, or the end of the log of KFP's driver.
    """
    denied = DENIED.search(text)
    if denied is None:
        return None
    error, reason = denied[0], denied[2]
    if "exceeded quota" in reason:
        hint = "wait for other runs to end, request a larger quota, or submit with --resources small"
        return Problem("quota", error, hint, QUOTA_TIMEOUT_S)
    match = RBAC.match(reason)
    if match is None:
        return Problem("forbidden", error, "ask the cluster's administrator to allow it", IMAGE_TIMEOUT_S)
    user, verb, resource, group = match.groups()
    message = f"{user} is not allowed to {verb} {f'{resource}.{group}'.rstrip('.')}"
    hint = "set steps.permissions of the chart, or bind a Role to the user (docs/operate/security.md)"
    return Problem("permission", message, hint, IMAGE_TIMEOUT_S)


def first_cause(messages: Mapping[str, str]) -> tuple[str, str]:
    """Return the node that failed first and the reason in one line, by Argo's ``messages``; ("", "") if none failed.

    The first attempt has the cause: a retry may fail on what the first attempt left.
    """
    causes = sorted((node, text) for node, text in messages.items() if not CONSEQUENCE.match(text))
    if not causes:
        return "", ""
    node, text = causes[0]
    denial, fatal = find_denial(text), FATAL.search(text)
    if denial:
        return node, f"{_end_of(denial.message)}; {denial.hint}"
    return node, _end_of(fatal[1] if fatal else text.partition("\n")[0])


def artifact_failure(log: str) -> str:
    """Return why KFP's launcher could not download or upload artifacts, by its ``log``; "" if the step failed."""
    errors = LAUNCHER.findall(log)
    if not errors or exit_status(log) is not None:
        return ""
    return f"artifacts could not be downloaded or uploaded: {_end_of(errors[-1])}; see docs/operate/faults.md"


def exit_status(log: str) -> int | None:
    """Return the exit status of a step by the ``log`` of KFP's launcher, or None if the log has none."""
    ended = ENDED.search((LAUNCHER.findall(log) or [""])[-1])
    if ended is None:
        return None
    return int(ended["status"]) if ended["status"] else -SIGNALS.get(ended["signal"], 0) or None


def termination_message(pod: Pod, memory_hint: str = "submit with --resources large") -> str:
    """Return why Kubernetes ended ``pod``, or "" if its process ended."""
    if pod.termination_reason == "OOMKilled":
        return f"out of memory (limit {pod.memory_bytes / GIB:.1f} GiB): {memory_hint}"
    if pod.termination_reason == "DeadlineExceeded":
        return "exceeded its timeout (RESOURCES in pipelines/_pods.py)"
    if pod.termination_reason == "Evicted":
        return f"evicted from its node, and so was each retry: {pod.message}"
    return ""


def _scheduling_problem(pod: Pod, nodes: Sequence[Node]) -> Problem:
    for resource, count in pod.gpus.items():
        if all(node.gpus.get(resource, 0) < count for node in nodes):
            message = f"no node of the cluster has {count} {resource}"
            hint = "add a GPU node (docs/train/gpu-nodes.md), or submit with num_gpus=0"
            return Problem("gpu", message, hint, NODE_TIMEOUT_S)
    if all(node.cpu < pod.cpu or node.memory_bytes < pod.memory_bytes for node in nodes):
        message = f"the pod requests {pod.cpu:g} cores and {pod.memory_bytes / GIB:.1f} GiB, which no node has"
        return Problem("size", message, "submit with --resources small, or add a larger node", NODE_TIMEOUT_S)
    message = pod.message.partition(". ")[0].rstrip(".")
    return Problem("scheduling", message, "see docs/operate/kubectl.md", None)


def _end_of(line: str) -> str:
    return line if len(line) <= MAX_CHARACTERS else f"... {line[-MAX_CHARACTERS:]}"
