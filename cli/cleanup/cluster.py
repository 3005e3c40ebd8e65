"""List and remove the results of runs in a cluster's bucket: artifacts, source files, checkpoints."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cli.cleanup.retention import ARTIFACTS, LONG_AGO, Item, digests_of, latest_runs
from cli.cluster.bucket import cluster_bucket
from cli.cluster.kfp_client import ENDED, Server
from cli.records.artifacts import DESCRIPTIONS
from cli.settings import Settings
from toolchain.services import storage
from toolchain.services.storage import Stored

SOURCES, CHECKPOINTS = "sources/", "checkpoints/"
LOGS = f"{ARTIFACTS}logs/"  # of pods, stored by Argo; nothing depends on them
TYPES = {"v2": "run", "sources": "source", "checkpoints": "checkpoint"}
SOURCE = re.compile(r"sources/[0-9a-f]{64}")  # prefix of a file that a submission uploaded
MARK = ".removing"  # file that marks a run as being removed; it is removed last
SUCCEEDED = "SUCCEEDED"  # state in KFP


class ClusterArtifacts:
    """The items in the bucket ``uri``, s3://NAME/; ``needed`` are the digests in registered models' lineages."""

    def __init__(self, uri: str, server: Server, needed: Mapping[str, str]) -> None:
        self.uri, self.server, self.needed = uri, server, needed
        self.files: dict[str, list[Stored]] = {}  # by item
        self.known: dict[str, Any] = {}  # runs as objects of KFP's client, newest first, by ID

    def items(self) -> list[Item]:
        """Return all items, including every run in Kubeflow Pipelines."""
        depths = {ARTIFACTS: 2, SOURCES: 1, CHECKPOINTS: 1}  # number of folders below the prefix that name an item
        for prefix, depth in depths.items():
            for file in storage.listing(self.uri + prefix):
                parts = file.uri.removeprefix(self.uri + prefix).split("/")
                if len(parts) > depth:
                    self.files.setdefault(prefix + "/".join(parts[:depth]), []).append(file)
        self.known = {run.run_id: run for run in self.server.runs()}
        rest = [*self._under(CHECKPOINTS), *self._under(LOGS)]
        return [*self._runs(), *self._sources(), *map(self._item, rest)]

    def remove(self, item: Item) -> None:
        """Remove ``item``. A run is deleted in Kubeflow Pipelines first, whose cache would otherwise refer to it.

        After an interruption, the next cleaning finds the rest by its mark.
        """
        files = [file.uri for file in self.files.get(item.name, [])]
        if item.type in ("checkpoint", "log", "source"):
            storage.delete(files)
            return
        mark, run = f"{self.uri}{item.name}/{MARK}", item.name.rpartition("/")[2]
        storage.write(b"", mark)
        if run in self.known:
            self.server.delete(run)
        storage.delete([*(uri for uri in files if uri != mark), mark])

    def _runs(self) -> list[Item]:
        folders = {name.rpartition("/")[2]: name for name in self._under(ARTIFACTS) if not name.startswith(LOGS)}
        names = {id: folders.get(id) or f"{ARTIFACTS}{pipeline_of(run)}/{id}" for id, run in self.known.items()}
        artifacts = {name: self._artifacts(name) for name in folders.values()}
        newest_first = [name for name in names.values() if name in artifacts]
        makers = {digest: name for name in reversed(newest_first) for digest in artifacts[name].own}
        reasons = self._keep_reasons(names, makers)
        items = []
        for id, name in names.items():
            needed = self._dependencies(self.known[id], name, artifacts, makers)
            items.append(self._item(name, reasons.get(name, ""), needed, self.known[id]))
        return [*items, *(self._orphan(name) for id, name in folders.items() if id not in self.known)]

    def _keep_reasons(self, names: Mapping[str, str], makers: Mapping[str, str]) -> dict[str, str]:
        """Return the reasons to keep runs at any age, by name; later ones take precedence."""
        states = [(names[id], names[id].split("/")[2], run.state == SUCCEEDED) for id, run in self.known.items()]
        reasons = {
            makers[digest]: f"{model} was made from it" for digest, model in self.needed.items() if digest in makers
        }
        scheduled = {
            run.recurring_run_id: names[id] for id, run in reversed(self.known.items()) if run.recurring_run_id
        }
        reasons |= dict.fromkeys(scheduled.values(), "the last run of its schedule")
        reasons |= latest_runs(states)
        return reasons | {names[id]: "in progress" for id, run in self.known.items() if run.state not in ENDED}

    def _dependencies(
        self, run: Any, name: str, artifacts: Mapping[str, "RunArtifacts"], makers: Mapping[str, str]
    ) -> frozenset[str]:
        """Return the items that ``run``, named ``name``, depends on.

        The lineage of its artifacts names their ancestors. For a cached step whose output no later step used, the run
        that made the output is not known, so every run of the pipeline that executed the step counts.
        """
        own = artifacts.get(name, RunArtifacts())
        needed = {makers[digest] for digest in own.ancestors if digest in makers}
        details = (run.run_details and run.run_details.task_details) or []
        for task in {detail.display_name for detail in details} - own.tasks:
            candidates = {
                other for other, its in artifacts.items() if task in its.tasks and _same_pipeline(other, name)
            }
            needed |= set() if candidates & needed else candidates
        return frozenset((needed | sources_in(run)) - {name})

    def _artifacts(self, name: str) -> "RunArtifacts":
        """Return the artifacts that the run ``name`` made itself."""
        files = [file.uri for file in self.files[name]]
        described = [uri for uri in files if uri.rpartition("/")[2] in DESCRIPTIONS]
        lineages = [digests_of(storage.content(uri)) for uri in described]
        tasks = {uri.removeprefix(f"{self.uri}{name}/").split("/")[0] for uri in files}
        return RunArtifacts(
            frozenset(digest for digests in lineages for digest in digests[:1]),
            frozenset(digest for digests in lineages for digest in digests[1:]),
            frozenset(tasks - {MARK}),
        )

    def _orphan(self, name: str) -> Item:
        if any(file.uri.endswith(f"/{MARK}") for file in self.files[name]):
            return Item(name, "rest of a removed run", self._size(name), LONG_AGO)
        return self._item(name, "unknown to Kubeflow Pipelines; remove it by hand if it is not needed")

    def _sources(self) -> list[Item]:
        reasons = {
            name: f"schedule {one.display_name} uses it" for one in self.server.schedules() for name in sources_in(one)
        }
        for name in self._under(SOURCES):
            if model := self.needed.get(name.removeprefix(SOURCES)):
                reasons.setdefault(name, f"{model} was made from it")
        return [self._item(name, reasons.get(name, "")) for name in self._under(SOURCES)]

    def _item(self, name: str, reason: str = "", needed: frozenset[str] = frozenset(), run: Any = None) -> Item:
        written = [file.changed for file in self.files.get(name, [])]
        changed = max([*written, *([run.created_at] if run else [])])
        item_type = "log" if name.startswith(LOGS) else TYPES[name.split("/")[0]]
        return Item(name, item_type, self._size(name), changed, reason, needed)

    def _size(self, name: str) -> int:
        return sum(file.size_bytes for file in self.files.get(name, []))

    def _under(self, prefix: str) -> list[str]:
        return [name for name in self.files if name.startswith(prefix)]


@dataclass(frozen=True)
class RunArtifacts:
    """The artifacts that a run made itself, without cached ones."""

    own: frozenset[str] = frozenset()  # their digests
    ancestors: frozenset[str] = frozenset()  # digests of their ancestors
    tasks: frozenset[str] = frozenset()  # names in KFP of the tasks that wrote them


@contextmanager
def cluster_artifacts(settings: Settings, needed: Mapping[str, str]) -> Iterator[ClusterArtifacts]:
    """Yield the items in the bucket of the cluster of ``settings``.

    Raises:
        ServiceError: Kubeflow Pipelines or S3 does not respond, or denies access.
    """
    server = Server(settings)
    server.check()
    with cluster_bucket(settings, server.namespace) as bucket:
        yield ClusterArtifacts(f"s3://{bucket}/", server, needed)


def sources_in(run: Any) -> set[str]:
    """Return the names of the source files in the parameters of a run or a schedule."""
    parameters = (run.runtime_config and run.runtime_config.parameters) or {}
    return set(SOURCE.findall(json.dumps(parameters, default=str)))


def pipeline_of(run: Any) -> str:
    """Return the name of the pipeline of ``run``, "unknown" if KFP has no name."""
    content = run.pipeline_spec or {}
    content = content.get("pipeline_spec", content)
    return str(content.get("pipelineInfo", {}).get("name", "unknown"))


def _same_pipeline(one: str, other: str) -> bool:
    return one.rpartition("/")[0] == other.rpartition("/")[0]
