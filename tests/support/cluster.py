"""A namespace of the cluster under test, by kubectl."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import yaml

from tests.support.chart import CHART


class Cluster:
    """kubectl in one namespace."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def kubectl(self, *words: str, given: str = "", errors: bool = False) -> str:
        """Return what ``kubectl words`` prints (as errors too, where warnings stand), having succeeded."""
        answer = subprocess.run(
            ["kubectl", "--namespace", self.namespace, *words],
            input=given or None,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert answer.returncode == 0, f"kubectl {' '.join(words)}: {answer.stderr}{answer.stdout}"
        return (answer.stdout + answer.stderr if errors else answer.stdout).strip()

    def secret(self, name: str, key: str) -> str:
        template = f"{{{{index .data {key!r} | base64decode}}}}".replace("'", '"')
        return self.kubectl("get", "secret", name, f"--output=go-template={template}")

    @contextmanager
    def reached(self, target: str, port: int) -> Iterator[str]:
        """Yield 127.0.0.1:PORT, behind which ``target`` (service/NAME) answers meanwhile."""
        command = ["kubectl", "--namespace", self.namespace, "port-forward", target, f":{port}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forward:
            assert forward.stdout
            found = re.search(r"127\.0\.0\.1:\d+", forward.stdout.readline())
            try:
                assert found, f"{target} cannot be reached"
                yield found.group()
            finally:
                forward.terminate()


def on_the_node(name: str) -> bool:
    """Return whether a node has the image that the chart takes for ``name``: not every cluster can pull one."""
    image = yaml.safe_load((CHART / "values.yaml").read_text())["images"][name]
    nodes = json.loads(Cluster("default").kubectl("get", "nodes", "--output=json"))["items"]
    return any(image in (held.get("names") or []) for node in nodes for held in node["status"].get("images", []))
