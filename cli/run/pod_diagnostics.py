"""Why a step's pod does not run, or how it ended, in a sentence that says what to do."""

import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from toolchain.services.kubernetes import Node, Pod

IMAGE_WORDS = ("ErrImageNeverPull", "ErrImagePull", "ImageInspectError", "ImagePullBackOff", "InvalidImageName")
START_WORDS = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
SECONDS_FOR_AN_IMAGE = 20.0  # a registry that hiccups is asked again by then; a name that is wrong stays wrong
SECONDS_FOR_A_NODE = 300.0  # what a cluster that grows needs to add a node
SECONDS_FOR_A_QUOTA = 300.0  # for other pods of the namespace to end
GIB = 1024**3
IMAGE = re.compile(r'image "([^"]+)"')
CONSEQUENCE = re.compile(
    r"retryStrategy|No more retries|omitted:|child |Max duration|PodInitializing$"
)  # of a failure elsewhere
FATAL = re.compile(
    r"^F\d{4} .*?\] (?:KFP driver: )?(.*)$", re.MULTILINE
)  # the last words of KFP's driver, amid its log
DENIED = re.compile(
    r'([\w."/-]+(?: "[^"]*")?) is forbidden: (.*)$', re.MULTILINE
)  # a sentence of Kubernetes' API server
RIGHT = re.compile(r'^User "([^"]+)" cannot (\w+) resource "([^"]+)" in API group "([^"]*)"')  # what RBAC did not grant
LAUNCHER = re.compile(r"^F\d{4} .*?\] failed to execute component: (.*)$", re.MULTILINE)
ENDED = re.compile(r"^(?:exit status (?P<status>\d+)|signal: (?P<signal>.+?)(?: \(core dumped\))?)$")  # Go's words
SIGNALS = {(signal.strsignal(entry) or "").lower(): entry.value for entry in signal.Signals}
LONGEST = 400  # characters of what the driver says, which repeats all that it was told


@dataclass(frozen=True)
class Trouble:
    kind: str
    told: str  # what is wrong
    advice: str  # what to do
    patience: float | None  # seconds after which the run is given up; None: it may mend itself any time


def trouble_of(pod: Pod, nodes: Sequence[Node]) -> Trouble | None:
    """Return why ``pod`` waits, None where it is only being started; ``nodes`` are the cluster's."""
    if pod.waits in IMAGE_WORDS:
        named = IMAGE.search(pod.told)
        told = f"image {named[1] if named else pod.image} cannot be had ({pod.waits})"
        advice = "build it and give it to the cluster (make images, PUSH=1 for a registry), or name the right REGISTRY"
        return Trouble("image", told, advice, SECONDS_FOR_AN_IMAGE)
    if pod.waits in START_WORDS:
        advice = "the chart makes what steps are told (make deploy); without it, make the Secret and ConfigMap yourself"
        return Trouble("start", f"its container cannot be made: {pod.told}", advice, SECONDS_FOR_AN_IMAGE)
    return _unplaced(pod, nodes) if pod.waits == "Unschedulable" else None


def forbidden(said: str) -> Trouble | None:
    """Return the trouble in what Argo ``said`` of a pod, that Kubernetes forbids it something; None for anything else.

    ``said`` may be one sentence of Argo's, of a pod that could not be made, or the end of the log of KFP's driver.
    """
    denied = DENIED.search(said)
    if denied is None:
        return None
    sentence, reason = denied[0], denied[2]
    if "exceeded quota" in reason:
        advice = "wait for other runs, ask for a larger quota, or submit with --resources small"
        return Trouble("quota", sentence, advice, SECONDS_FOR_A_QUOTA)
    right = RIGHT.match(reason)
    if right is None:
        return Trouble("forbidden", sentence, "ask the cluster's administrator to allow it", SECONDS_FOR_AN_IMAGE)
    told = f"{right[1]} is not allowed to {right[2]} {f'{right[3]}.{right[4]}'.rstrip('.')}"
    advice = "steps.permissions of the chart grants it, or bind a Role of your own to it (docs/operate/security.md)"
    return Trouble("rights", told, advice, SECONDS_FOR_AN_IMAGE)


def cause_of(said: Mapping[str, str]) -> tuple[str, str]:
    """Return the node that failed first, and why in one line, of what Argo ``said`` of each; "" twice if of none.

    The first attempt tells the cause: a second one may stumble over what the first has left.
    """
    causes = sorted((node, words) for node, words in said.items() if not CONSEQUENCE.match(words))
    if not causes:
        return "", ""
    node, words = causes[0]
    denied, fatal = forbidden(words), FATAL.search(words)
    if denied:
        return node, f"{_end_of(denied.told)}; {denied.advice}"
    return node, _end_of(fatal[1] if fatal else words.partition("\n")[0])


def around(log: str) -> str:
    """Return why KFP's launcher could not fetch or keep a step's artifacts, by its ``log``; "" if the step failed."""
    said = LAUNCHER.findall(log)
    if not said or exit_status(log) is not None:
        return ""
    return f"its artifacts could not be fetched or kept: {_end_of(said[-1])}; see docs/operate/faults.md"


def exit_status(log: str) -> int | None:
    """Return the exit status of the step by the ``log`` of KFP's launcher, which runs it; None if it does not say."""
    said = ENDED.search((LAUNCHER.findall(log) or [""])[-1])
    if said is None:
        return None
    return int(said["status"]) if said["status"] else -SIGNALS.get(said["signal"], 0) or None


def _end_of(line: str) -> str:
    return line if len(line) <= LONGEST else f"... {line[-LONGEST:]}"


def ending_of(pod: Pod, memory_advice: str = "give it more with --resources large") -> str:
    """Return how ``pod`` was ended from outside, "" where it ended itself."""
    if pod.ended == "OOMKilled":
        return f"it took more than its {pod.memory_bytes / GIB:.1f} GiB of memory: {memory_advice}"
    if pod.ended == "DeadlineExceeded":
        return "it took longer than its time (RESOURCES in pipelines/_pods.py)"
    if pod.ended == "Evicted":
        return f"its node had to put it out, more often than it is tried again: {pod.told}"
    return ""


def _unplaced(pod: Pod, nodes: Sequence[Node]) -> Trouble:
    for resource, count in pod.gpus.items():
        if all(node.gpus.get(resource, 0) < count for node in nodes):
            told = f"no node of the cluster has {count} {resource}"
            return Trouble(
                "gpu", told, "add one (docs/train/gpu-nodes.md), or submit with num_gpus=0", SECONDS_FOR_A_NODE
            )
    if all(node.cpu < pod.cpu or node.memory_bytes < pod.memory_bytes for node in nodes):
        told = f"it asks for {pod.cpu:g} cores and {pod.memory_bytes / GIB:.1f} GiB, and no node has as much"
        return Trouble("size", told, "submit with --resources small, or add a larger node", SECONDS_FOR_A_NODE)
    return Trouble("place", pod.told.partition(". ")[0].rstrip("."), "see docs/operate/kubectl.md", None)
