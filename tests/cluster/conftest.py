"""A real cluster, that of KUBECONFIG: kubectl, its services on this machine, and namespaces that end with the tests.

The images that the chart needs must be there under the names of this checkout: ``make images`` builds them.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster

FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    usable = os.environ.get("KUBECONFIG") and shutil.which("kubectl")
    for item in items:
        if item.path.is_relative_to(FOLDER):
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.slow)
            if not usable:
                item.add_marker(pytest.mark.skip(reason="KUBECONFIG is not set, or kubectl is not installed"))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Callable[[str], Cluster]]:
    """Return what opens a namespace; those that were opened are deleted after the tests."""
    opened: list[Cluster] = []

    def open_namespace(name: str) -> Cluster:
        opened.append(Cluster(name))
        return opened[-1]

    yield open_namespace
    for one in opened:
        one.kubectl("delete", "namespace", one.namespace, "--ignore-not-found", "--wait=false")
