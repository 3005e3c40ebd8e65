"""List and remove the results of local runs: runs with their artifacts, cached results, checkpoints."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path

from cli.cleanup.retention import LONG_AGO, Item, digests_of, latest_runs
from cli.compiled.plan import cached_artifacts
from cli.records import runs
from cli.records.artifacts import DESCRIPTIONS
from cli.records.runs import Run
from cli.settings import Settings, step_environment

TRASH = ".trash"  # folder of items that are being removed
# Folders that all runs share: "mlartifacts" of MLflow, "monitoring" of Prometheus; "served" are the models that were
# served on this machine, "samples" their sampled requests.
SHARED = {"cache", "compiled", "mlartifacts", "monitoring", "samples", "scratch", "served"}


class LocalArtifacts:
    """The items in the runs folder of ``settings``; ``needed`` are the digests in registered models' lineages."""

    def __init__(self, settings: Settings, needed: Mapping[str, str]) -> None:
        self.settings, self.needed = settings, needed
        self.folder = settings.runs
        self.checkpoints = Path(step_environment(settings)["TOOLCHAIN_SCRATCH"]) / "checkpoints"

    def items(self) -> list[Item]:
        """Return all items."""
        return [*self._runs(), *self._checkpoints(), *self._others()]

    def remove(self, item: Item) -> None:
        """Remove ``item``: it is moved to the trash first, so that an interruption leaves no incomplete item."""
        folder = self.checkpoints if "checkpoint" in item.type else self.folder
        trash = folder / TRASH
        if not item.name.startswith(TRASH):
            self._remove_cache_entries(folder / item.name)
            trash.mkdir(exist_ok=True)
            (folder / item.name).rename(trash / item.name)
        shutil.rmtree(trash / item.name.removeprefix(f"{TRASH}/"))
        if not any(trash.iterdir()):
            trash.rmdir()

    def _runs(self) -> list[Item]:
        known = runs.all_runs(self.folder) if self.folder.is_dir() else []
        last = latest_runs((run.id, run.pipeline, run.state == runs.SUCCEEDED) for run in known)
        sources = self._sources_of_models(known)
        return [
            Item(
                run.id,
                "run",
                _size(run.folder),
                datetime.fromisoformat(run.started),
                "in progress" if run.state == runs.RUNNING else last.get(run.id) or sources.get(run.id, ""),
                frozenset(self._used(run)),
            )
            for run in known
        ]

    def _sources_of_models(self, known: list[Run]) -> dict[str, str]:
        """Return the reason to keep each run with an ancestor of a registered model; the newest of several is kept."""
        reasons: dict[str, str] = {}
        missing = dict(self.needed)
        for run in known:
            paths = _descriptions(run.folder)
            for digest in {digest for path in paths for digest in digests_of(path.read_bytes())[:1]} & missing.keys():
                reasons[run.id] = f"{missing.pop(digest)} was made from it"
        return reasons

    def _used(self, run: Run) -> Iterator[str]:
        """Yield the runs whose cached results ``run`` used."""
        for step in run.steps:
            for path in map(Path, step.outputs.values()):
                if path.is_relative_to(self.folder) and (owner := path.relative_to(self.folder).parts[0]) != run.id:
                    yield owner

    def _checkpoints(self) -> list[Item]:
        return [Item(path.name, "checkpoint", _size(path), _written(path)) for path in _folders(self.checkpoints)]

    def _others(self) -> list[Item]:
        """Return the rest of an interrupted removal, and unknown folders."""
        folders = {"rest of a run": self.folder, "rest of a checkpoint": self.checkpoints}
        rests = [(item_type, path) for item_type, folder in folders.items() for path in _folders(folder / TRASH)]
        unknown = [
            path for path in _folders(self.folder) if path.name not in SHARED and not runs.read_run(path / runs.RECORD)
        ]
        reason = f"unknown: it has no {runs.RECORD}; remove it by hand if it is not needed"
        return [
            *(Item(f"{TRASH}/{path.name}", item_type, _size(path), LONG_AGO) for item_type, path in rests),
            *(Item(path.name, "unknown", _size(path), _written(path), reason) for path in unknown),
        ]

    def _remove_cache_entries(self, folder: Path) -> None:
        """Remove the cache entries of the artifacts in ``folder``."""
        for entry in self.settings.cache.glob("*.json"):
            artifacts = cached_artifacts(entry) or {}
            if any(Path(uri).is_relative_to(folder) for uri, _ in artifacts.values()):
                entry.unlink()


@contextmanager
def local_artifacts(settings: Settings, needed: Mapping[str, str], dry_run: bool) -> Iterator[LocalArtifacts]:
    """Yield the items on this machine; no run can start during the block, unless it is a ``dry_run``.

    Raises:
        RunInProgressError: a run is in progress.
    """
    with nullcontext() if dry_run else runs.run_lock(settings.runs):
        yield LocalArtifacts(settings, needed)


def _folders(parent: Path) -> list[Path]:
    found = parent.iterdir() if parent.is_dir() else []
    return sorted(path for path in found if path.is_dir() and not path.name.startswith("."))


def _descriptions(folder: Path) -> list[Path]:
    return [path for path in (folder / "artifacts").rglob("*.json") if path.name in DESCRIPTIONS]


def _size(folder: Path) -> int:
    files = (path.lstat() for path in folder.rglob("*") if not path.is_dir())
    return sum({file.st_ino: file.st_size for file in files}.values())  # artifacts share files by hard links


def _written(folder: Path) -> datetime:
    newest = max((path.lstat().st_mtime for path in [folder, *folder.rglob("*")]), default=0.0)
    return datetime.fromtimestamp(newest, UTC)
