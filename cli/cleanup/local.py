"""What local runs leave on this machine: runs with their artifacts, cached results, checkpoints."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path

from cli.cleanup.retention import DESCRIPTIONS, LONG_AGO, Item, digests_of, last_ones
from cli.compiled.plan import artifacts_in
from cli.records import runs
from cli.records.runs import Run
from cli.settings import Settings, step_environment

TRASH = ".trash"  # holds what is being removed
# Folders that serve all runs: "mlartifacts" is MLflow's, "monitoring" Prometheus' and Grafana's; "served" holds models
# that were served here, "samples" what they were asked.
SERVING = {"cache", "compiled", "mlartifacts", "monitoring", "samples", "scratch", "served"}


class Leftovers:
    """What lies in the runs folder of ``settings``; ``needed`` are the digests of registered models' lineages."""

    def __init__(self, settings: Settings, needed: Mapping[str, str]) -> None:
        self.settings, self.needed = settings, needed
        self.folder = settings.runs
        self.checkpoints = Path(step_environment(settings)["TOOLCHAIN_SCRATCH"]) / "checkpoints"

    def items(self) -> list[Item]:
        """Return all of it."""
        return [*self._runs(), *self._checkpoints(), *self._others()]

    def remove(self, item: Item) -> None:
        """Remove ``item``: it is moved away before it is deleted, so who is cut off here leaves nothing half."""
        place = self.checkpoints if "checkpoint" in item.kind else self.folder
        trash = place / TRASH
        if not item.name.startswith(TRASH):
            self._forget_results_in(place / item.name)
            trash.mkdir(exist_ok=True)
            (place / item.name).rename(trash / item.name)
        shutil.rmtree(trash / item.name.removeprefix(f"{TRASH}/"))
        if not any(trash.iterdir()):
            trash.rmdir()

    def _runs(self) -> list[Item]:
        known = runs.all_runs(self.folder) if self.folder.is_dir() else []
        last = last_ones((run.id, run.pipeline, run.state == runs.SUCCEEDED) for run in known)
        holders = self._holders(known)
        return [
            Item(
                run.id,
                "run",
                _size(run.folder),
                datetime.fromisoformat(run.started),
                "under way" if run.state == runs.RUNNING else last.get(run.id) or holders.get(run.id, ""),
                frozenset(self._used(run)),
            )
            for run in known
        ]

    def _holders(self, known: list[Run]) -> dict[str, str]:
        """Return why a run is kept for a registered model's sake; of several that made the same, the newest is."""
        held: dict[str, str] = {}
        missing = dict(self.needed)
        for run in known:
            for digest in {
                digest for path in _descriptions(run.folder) for digest in digests_of(path.read_bytes())[:1]
            }:
                if digest in missing:
                    held[run.id] = f"{missing.pop(digest)} was made from it"
        return held

    def _used(self, run: Run) -> Iterator[str]:
        """Yield the runs whose results ``run`` took from the cache."""
        for step in run.steps:
            for path in map(Path, step.outputs.values()):
                if path.is_relative_to(self.folder) and (owner := path.relative_to(self.folder).parts[0]) != run.id:
                    yield owner

    def _checkpoints(self) -> list[Item]:
        return [Item(path.name, "checkpoint", _size(path), _written(path)) for path in _folders(self.checkpoints)]

    def _others(self) -> list[Item]:
        """Return what a cleaning that was cut off left, and what nothing says the use of."""
        places = {"rest of a run": self.folder, "rest of a checkpoint": self.checkpoints}
        rests = [(kind, path) for kind, place in places.items() for path in _folders(place / TRASH)]
        unknown = [
            path for path in _folders(self.folder) if path.name not in SERVING and not runs.read_run(path / runs.RECORD)
        ]
        why = f"no {runs.RECORD} says what it is; remove it yourself if you know"
        return [
            *(Item(f"{TRASH}/{path.name}", kind, _size(path), LONG_AGO) for kind, path in rests),
            *(Item(path.name, "unknown", _size(path), _written(path), why) for path in unknown),
        ]

    def _forget_results_in(self, folder: Path) -> None:
        """Remove the cache's entries for what lies in ``folder``."""
        for entry in self.settings.cache.glob("*.json"):
            artifacts = artifacts_in(entry) or {}
            if any(Path(uri).is_relative_to(folder) for uri, _ in artifacts.values()):
                entry.unlink()


@contextmanager
def leftovers(settings: Settings, needed: Mapping[str, str], dry_run: bool) -> Iterator[Leftovers]:
    """Yield what lies on this machine, while no run can begin unless it is a ``dry_run``.

    Raises:
        Busy: a run is under way.
    """
    with nullcontext() if dry_run else runs.only_run(settings.runs):
        yield Leftovers(settings, needed)


def _folders(place: Path) -> list[Path]:
    found = place.iterdir() if place.is_dir() else []
    return sorted(path for path in found if path.is_dir() and not path.name.startswith("."))


def _descriptions(folder: Path) -> list[Path]:
    return [path for path in (folder / "artifacts").rglob("*.json") if path.name in DESCRIPTIONS]


def _size(folder: Path) -> int:
    files = (path.lstat() for path in folder.rglob("*") if not path.is_dir())
    return sum({file.st_ino: file.st_size for file in files}.values())  # artifacts share files by hard links


def _written(folder: Path) -> datetime:
    newest = max((path.lstat().st_mtime for path in [folder, *folder.rglob("*")]), default=0.0)
    return datetime.fromtimestamp(newest, UTC)
