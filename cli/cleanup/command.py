"""Cleaning: old results that nobody needs any more go; what is kept is told with its reason."""

import argparse
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Protocol

from rich.table import Table

from cli.cleanup.retention import ARTIFACTS, LONG_AGO, Item, decide, period
from cli.cluster.tracking import registry_of
from cli.output.summary import console
from cli.settings import Settings, name_registry
from toolchain.progress import track


class Place(Protocol):
    """Where results lie: on this machine, or in a cluster's S3."""

    def items(self) -> list[Item]: ...

    def remove(self, item: Item) -> None: ...


def clean(given: argparse.Namespace, settings: Settings) -> None:
    """Remove what is older than asked for and needed by nothing that is kept, and print what was done with each.

    Raises:
        ConfigError: the period makes no sense; nothing was touched.
        Busy: a run is under way on this machine.
        ServiceError: MLflow, Kubeflow Pipelines or S3 does not answer: without them nobody knows what is needed.
    """
    oldest = datetime.now(UTC) - period(given.older_than)
    engine = given.engine or settings.engine
    with _place(engine, settings, given.dry_run) as place:
        items = place.items()
        reasons = decide(items, oldest, given.older_than)
        going = [item for item in items if item.name not in reasons]
        if not given.dry_run:
            for item in track(going, "remove", len(going), "items"):
                place.remove(item)
    _tell(items, reasons, given.dry_run)


def _place(engine: str, settings: Settings, dry_run: bool) -> AbstractContextManager[Place]:
    from cli.cleanup.cluster import stored
    from cli.cleanup.local import leftovers

    with registry_of(engine, settings) as found:
        needed = needed_by_models(found)
    return leftovers(settings, needed, dry_run) if engine == "local" else stored(settings, needed)


def needed_by_models(settings: Settings) -> Mapping[str, str]:
    """Return the digests that the lineages of registered models name, each with one such model's name and version."""
    from toolchain.lifecycle.registry import digests_in_use

    if not settings.has_registry:
        return {}
    name_registry(settings)
    return digests_in_use()


def _tell(items: list[Item], reasons: Mapping[str, str], dry_run: bool) -> None:
    removed = "would be removed" if dry_run else "removed"
    table = Table("what", "kind", "MB", "age", "", "reason", box=None, pad_edge=False)
    for item in sorted(items, key=lambda item: (item.kind, item.made), reverse=True):
        reason = reasons.get(item.name, "").removeprefix(ARTIFACTS)
        state = "kept" if item.name in reasons else removed
        table.add_row(
            item.name.removeprefix(ARTIFACTS),
            item.kind,
            f"{item.size_bytes / 1e6:.1f}",
            _age(item),
            state,
            reason or "old, and nothing needs it",
        )
    going = [item.size_bytes for item in items if item.name not in reasons]
    console().print(table)
    print(f"{len(going)} of {len(items)} {removed}: {sum(going) / 1e6:.1f} MB {'to be ' * dry_run}freed")


def _age(item: Item) -> str:
    if item.made == LONG_AGO:
        return ""
    hours = (datetime.now(UTC) - item.made).total_seconds() / 3600
    return f"{hours:.0f} h" if hours < 48 else f"{hours / 24:.0f} d"
