"""What runs on a cluster leave in its bucket: artifacts, source files, checkpoints."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cli.cleanup.retention import ARTIFACTS, DESCRIPTIONS, LONG_AGO, Item, digests_of, last_ones
from cli.cluster.bucket import reached
from cli.cluster.kfp_client import ENDED, Server
from cli.settings import Settings
from toolchain.services import storage
from toolchain.services.storage import Stored

SOURCES, CHECKPOINTS = "sources/", "checkpoints/"
LOGS = f"{ARTIFACTS}logs/"  # where Argo keeps what its pods printed; nothing needs that
KINDS = {"v2": "run", "sources": "source", "checkpoints": "checkpoint"}
SOURCE = re.compile(r"sources/[0-9a-f]{64}")  # as a submission brings a file along
MARK = ".removing"  # the file in a run's folder that says that the rest is to go; it goes last
SUCCEEDED = "SUCCEEDED"  # KFP's word


class Bucket:
    """What lies in the bucket ``uri``, s3://NAME/; ``needed`` are the digests of registered models' lineages."""

    def __init__(self, uri: str, server: Server, needed: Mapping[str, str]) -> None:
        self.uri, self.server, self.needed = uri, server, needed
        self.files: dict[str, list[Stored]] = {}  # by item
        self.known: dict[str, Any] = {}  # runs as KFP describes them, newest first, by id

    def items(self) -> list[Item]:
        """Return all of it, and every run that Kubeflow Pipelines knows."""
        by_folder = {ARTIFACTS: 2, SOURCES: 1, CHECKPOINTS: 1}  # so many words after it name an item
        for start, words in by_folder.items():
            for file in storage.listing(self.uri + start):
                parts = file.uri.removeprefix(self.uri + start).split("/")
                if len(parts) > words:
                    self.files.setdefault(start + "/".join(parts[:words]), []).append(file)
        self.known = {run.run_id: run for run in self.server.runs()}
        rest = [*self._under(CHECKPOINTS), *self._under(LOGS)]
        return [*self._runs(), *self._sources(), *map(self._item, rest)]

    def remove(self, item: Item) -> None:
        """Remove ``item``; Kubeflow Pipelines forgets a run first, for its cache would hand out what is gone.

        Whoever is cut off here leaves the mark by which the next cleaning finds the rest.
        """
        files = [file.uri for file in self.files.get(item.name, [])]
        if item.kind in ("checkpoint", "log", "source"):
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
        made = {name: self._made_in(name) for name in folders.values()}
        newest_first = [name for name in names.values() if name in made]
        holders = {digest: name for name in reversed(newest_first) for digest in made[name].own}
        held = self._held(names, holders)
        items = [
            self._item(name, held.get(name, ""), self._needs(self.known[id], name, made, holders), self.known[id])
            for id, name in names.items()
        ]
        return [*items, *(self._orphan(name) for id, name in folders.items() if id not in self.known)]

    def _held(self, names: Mapping[str, str], holders: Mapping[str, str]) -> dict[str, str]:
        """Return why each run is kept for a reason of its own, by name."""
        states = [(names[id], names[id].split("/")[2], run.state == SUCCEEDED) for id, run in self.known.items()]
        held = {
            holders[digest]: f"{model} was made from it" for digest, model in self.needed.items() if digest in holders
        }
        scheduled = {
            run.recurring_run_id: names[id] for id, run in reversed(self.known.items()) if run.recurring_run_id
        }
        held |= dict.fromkeys(scheduled.values(), "the last run of its schedule")
        held |= last_ones(states)
        return held | {names[id]: "under way" for id, run in self.known.items() if run.state not in ENDED}

    def _needs(self, run: Any, name: str, made: Mapping[str, "Made"], holders: Mapping[str, str]) -> frozenset[str]:
        """Return the items without which ``run``, called ``name``, would not be whole.

        What it made tells by digest what it was made from. Of a step that it took from the cache and made nothing from,
        nobody tells whose result it took: of all runs that made such, each may be the one.
        """
        own = made.get(name, Made())
        needs = {holders[digest] for digest in own.ancestors if digest in holders}
        details = (run.run_details and run.run_details.task_details) or []
        for task in {detail.display_name for detail in details} - own.tasks:
            makers = {other for other, its in made.items() if task in its.tasks and _same_pipeline(other, name)}
            needs |= set() if makers & needs else makers
        return frozenset((needs | sources_in(run)) - {name})

    def _made_in(self, name: str) -> "Made":
        """Return what the run called ``name`` made itself."""
        files = [file.uri for file in self.files[name]]
        described = [uri for uri in files if uri.rpartition("/")[2] in DESCRIPTIONS]
        lineages = [digests_of(storage.content(uri)) for uri in described]
        tasks = {uri.removeprefix(f"{self.uri}{name}/").split("/")[0] for uri in files}
        return Made(
            frozenset(digest for digests in lineages for digest in digests[:1]),
            frozenset(digest for digests in lineages for digest in digests[1:]),
            frozenset(tasks - {MARK}),
        )

    def _orphan(self, name: str) -> Item:
        if any(file.uri.endswith(f"/{MARK}") for file in self.files[name]):
            return Item(name, "rest of a removed run", self._size(name), LONG_AGO)
        return self._item(name, "Kubeflow Pipelines knows no such run; remove it yourself if you know")

    def _sources(self) -> list[Item]:
        held = {
            name: f"schedule {one.display_name} names it" for one in self.server.schedules() for name in sources_in(one)
        }
        for name in self._under(SOURCES):
            if model := self.needed.get(name.removeprefix(SOURCES)):
                held.setdefault(name, f"{model} was made from it")
        return [self._item(name, held.get(name, "")) for name in self._under(SOURCES)]

    def _item(self, name: str, held: str = "", needs: frozenset[str] = frozenset(), run: Any = None) -> Item:
        written = [file.changed for file in self.files.get(name, [])]
        made = max([*written, *([run.created_at] if run else [])])
        kind = "log" if name.startswith(LOGS) else KINDS[name.split("/")[0]]
        return Item(name, kind, self._size(name), made, held, needs)

    def _size(self, name: str) -> int:
        return sum(file.size_bytes for file in self.files.get(name, []))

    def _under(self, start: str) -> list[str]:
        return [name for name in self.files if name.startswith(start)]


@dataclass(frozen=True)
class Made:
    """What a run made itself, and what of that was taken from elsewhere."""

    own: frozenset[str] = frozenset()  # digests of its artifacts
    ancestors: frozenset[str] = frozenset()  # digests of what they were made from
    tasks: frozenset[str] = frozenset()  # KFP's names of the tasks that wrote something


@contextmanager
def stored(settings: Settings, needed: Mapping[str, str]) -> Iterator[Bucket]:
    """Yield what lies in the bucket of the cluster that ``settings`` name.

    Raises:
        ServiceError: Kubeflow Pipelines or S3 is not there, or refuses.
    """
    server = Server(settings)
    server.check()
    with reached(settings, server.namespace) as bucket:
        yield Bucket(f"s3://{bucket}/", server, needed)


def sources_in(run: Any) -> set[str]:
    """Return the source files that a run's or a schedule's parameters name, as items are called."""
    parameters = (run.runtime_config and run.runtime_config.parameters) or {}
    return set(SOURCE.findall(json.dumps(parameters, default=str)))


def pipeline_of(run: Any) -> str:
    """Return the name of the pipeline of ``run``, "unknown" when KFP does not say."""
    content = run.pipeline_spec or {}
    content = content.get("pipeline_spec", content)
    return str(content.get("pipelineInfo", {}).get("name", "unknown"))


def _same_pipeline(one: str, other: str) -> bool:
    return one.rpartition("/")[0] == other.rpartition("/")[0]
