"""Promote a registered model and roll it back, and tell what was done: all of it stands in the ledger in MLflow."""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pipelines.engine.settings import Settings, name_registry
from pipelines.engine.tell import console
from toolchain.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from toolchain.services.ledger import Ledger
    from toolchain.services.mlflow import Tracker

SHOWN_DIGITS = 12  # of a digest
REFUSE = "refuse"  # what the step may have decided


def promote(given: argparse.Namespace, settings: Settings) -> bool:
    """Promote what ``given`` names (the step tells what it decides) and return whether it serves from now on.

    Raises:
        ConfigError: there is no such model, version or alias; or force without a reason.
        ConflictError: somebody else promoted or rolled back at the same time.
        ServiceError: MLflow does not answer, or refuses.
    """
    from toolchain.artifacts.measurement import open_measurement

    _open(given.model, settings)
    alias = f"@{given.alias}" if given.alias else ""
    wanted = f"{given.model}:{given.version}" if given.version else f"{given.model}{alias}"
    with TemporaryDirectory() as folder:
        place = Path(folder) / "promotion"
        _run_step(place, wanted, given, settings)
        return bool(open_measurement(place, "promotion").data["action"] != REFUSE)


def rollback(given: argparse.Namespace, settings: Settings) -> None:
    """Let what served before serve again; no server is started for it, since it did serve.

    Raises:
        ConfigError: nothing served before, or there is no such model.
        ConflictError: somebody else promoted or rolled back at the same time.
        ServiceError: MLflow does not answer, or refuses.
    """
    from toolchain.services import ledger

    tracker = _open(given.model, settings)
    _known(tracker, given.model)
    done = ledger.rollback(tracker, given.model, given.reason, settings.owner)
    print(f"version {done.version} of {given.model} ({done.variant}) serves again")


def tell_ledger(given: argparse.Namespace, settings: Settings) -> None:
    """Print every promotion and rollback of ``given.model``, oldest first.

    Raises:
        ConfigError: there is no such model.
        ServiceError: MLflow does not answer, or refuses.
    """
    from toolchain.services import ledger

    tracker = _open(given.model, settings)
    aliases = _known(tracker, given.model)
    found = ledger.read(tracker, given.model)
    if given.json:
        print(json.dumps([line.plain for line in found.lines], indent=1))
        return
    if not found.lines:
        print(f"nothing of {given.model} was promoted yet")
        return
    console().print(_table(found))
    pointed = aliases.get(ledger.CHAMPION, "none")
    if found.serving and found.serving.version != pointed:
        print(
            f"the alias {ledger.CHAMPION} points at version {pointed}, the ledger says {found.serving.version}: "
            f"python -m pipelines promote {given.model} --version {found.serving.version} sets it right"
        )


def _open(model: str, settings: Settings) -> "Tracker":
    """Return the registry, after a check that ``model`` is a name and that there can be such a model."""
    from toolchain.services.mlflow import Tracker

    if not model or set(model) & set("'@:"):
        raise ConfigError(f"model is {model!r}: give a registered model's name; see --help for how to name a version")
    if settings.tracking_uri.startswith("sqlite") and not settings.mlflow_database.is_file():
        raise ConfigError(f"no model {model!r} is registered yet; register one by a pipeline first")
    name_registry(settings)
    return Tracker()


def _known(tracker: "Tracker", model: str) -> dict[str, str]:
    """Return the aliases of ``model``, which must be there."""
    if not tracker.versions(model):
        raise ConfigError(f"no model {model!r} is registered in {tracker.shown}; register one by a pipeline first")
    return tracker.aliases(model)


def _run_step(place: Path, wanted: str, given: argparse.Namespace, settings: Settings) -> None:
    """Do what the component does in a pod, in this process, and leave its measurement at ``place``."""
    from kfp import dsl

    from components.release.promote import promote as component

    component.python_func(
        promotion=dsl.Artifact(uri=str(place)),
        metrics=dsl.Metrics(uri=str(place.with_name("metrics"))),
        model=wanted,
        force=given.force,
        reason=given.reason,
        who=settings.owner,
    )


def _table(found: "Ledger") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("", "when (UTC)", "who", "what", "version", "variant", "digest", "verdict", "reason"):
        folds = name in ("variant", "verdict", "reason")
        table.add_column(name, no_wrap=not folds, overflow="fold", min_width=12 if folds else None)
    for line in found.lines:
        entry = line.entry
        at = datetime.fromtimestamp(entry.when / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        overrode = [f"by force, although {entry.overrode}"] if entry.overrode else []
        void = [] if line.counts else ["void: another was first"]
        said = "; ".join(filter(None, [*void, entry.reason, *overrode]))
        what = (str(line.number), at, entry.who, entry.action, entry.version, entry.variant)
        verdict = entry.verdict.partition(" (")[0]  # without its figures
        row = (*what, entry.digest[:SHOWN_DIGITS], verdict, said)
        table.add_row(*map(escape, row))  # a person's words may hold what looks like Rich's marks
    return table
