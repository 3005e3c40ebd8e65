"""Remove results of old runs that nothing depends on, and print why the others are kept."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, Protocol

from rich.table import Table

from cli.cleanup.retention import ARTIFACTS, LONG_AGO, Item, parse_age, reasons_to_keep
from cli.cluster.tracking import registry_of
from cli.output.machine import print_json
from cli.output.summary import print_table
from cli.settings import Settings, open_registry
from toolchain.progress import track


class Store(Protocol):
    """The results on this machine, or in a cluster's S3."""

    def items(self) -> list[Item]: ...

    def remove(self, item: Item) -> None: ...


def clean(older_than: str, dry_run: bool, engine: str | None, settings: Settings, as_json: bool = False) -> None:
    """Remove the items that are older than ``older_than`` and that no kept item needs, and print all items.

    Raises:
        ConfigError: the age is not valid; nothing is removed.
        RunInProgressError: a run is in progress on this machine.
        ServiceError: MLflow, Kubeflow Pipelines or S3 does not respond, so dependencies are not known.
    """
    oldest = datetime.now(UTC) - parse_age(older_than)
    with _store(engine or settings.engine, settings, dry_run) as store:
        items = store.items()
        reasons = reasons_to_keep(items, oldest, older_than)
        removable = [item for item in items if item.name not in reasons]
        if not dry_run:
            for item in track(removable, "remove", len(removable), "items"):
                store.remove(item)
    if as_json:
        print_json([_fields(item, reasons) for item in items])
    else:
        _print_table(items, reasons, dry_run)


def _fields(item: Item, reasons: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": item.name,
        "type": item.type,
        "size_bytes": item.size_bytes,
        "changed": "" if item.changed == LONG_AGO else item.changed.isoformat(),
        "removed": item.name not in reasons,
        "reason": reasons.get(item.name, ""),
    }


def _store(engine: str, settings: Settings, dry_run: bool) -> AbstractContextManager[Store]:
    from cli.cleanup.cluster import cluster_artifacts
    from cli.cleanup.local import local_artifacts

    with registry_of(engine, settings) as found:
        needed = needed_by_models(found)
    return local_artifacts(settings, needed, dry_run) if engine == "local" else cluster_artifacts(settings, needed)


def needed_by_models(settings: Settings) -> Mapping[str, str]:
    """Return the digests in the lineages of registered models, each with the name and version of one such model."""
    from toolchain.lifecycle.registry import digests_in_use

    if not settings.has_registry:
        return {}
    return digests_in_use(open_registry(settings))


def _print_table(items: list[Item], reasons: Mapping[str, str], dry_run: bool) -> None:
    removed = "would be removed" if dry_run else "removed"
    table = Table("name", "type", "MB", "age", "", "reason", box=None, pad_edge=False)
    for item in sorted(items, key=lambda item: (item.type, item.changed), reverse=True):
        reason = reasons.get(item.name, "").removeprefix(ARTIFACTS)
        state = "kept" if item.name in reasons else removed
        table.add_row(
            item.name.removeprefix(ARTIFACTS),
            item.type,
            f"{item.size_bytes / 1e6:.1f}",
            _age(item),
            state,
            reason or "old, and not needed",
        )
    sizes = [item.size_bytes for item in items if item.name not in reasons]
    print_table(table)
    print(f"{len(sizes)} of {len(items)} {removed} ({sum(sizes) / 1e6:.1f} MB)")


def _age(item: Item) -> str:
    if item.changed == LONG_AGO:
        return ""
    hours = (datetime.now(UTC) - item.changed).total_seconds() / 3600
    return f"{hours:.0f} h" if hours < 48 else f"{hours / 24:.0f} d"
