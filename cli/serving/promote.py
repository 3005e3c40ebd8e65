"""Promote a registered model, try it as a canary, roll it back, and tell what was done: it stands in the ledger."""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from cli.output.summary import console
from cli.serving.targets import Place, place
from cli.settings import Settings, open_registry
from toolchain.artifacts.digest import short_digest
from toolchain.errors import ArtifactError, ConfigError, ServiceError, ToolchainError
from toolchain.progress import printable

if TYPE_CHECKING:
    from rich.table import Table

    from toolchain.lifecycle.ledger import Ledger
    from toolchain.services.mlflow import Tracker

REJECT, SHADOW = "reject", "shadow"  # actions of the promote step
TESTS = {"alpha": 1, "beta": 1, "failures": 2, "slow": 2, "disagreement": 2}  # numbers of each setting of the tests


def promote(given: argparse.Namespace, settings: Settings) -> bool:
    """Promote what ``given`` names (the step tells what it decides) and return whether it serves from now on.

    With ``given.canary`` it is first tried beside what serves; that waits until the trial is decided. With
    ``given.shadow`` it is only compared with what serves, which goes on: True then says that it is compared.

    Raises:
        ConfigError: there is no such model, version or alias; or force without a reason.
        ConflictError: somebody else promoted or rolled back at the same time.
        ServiceError: MLflow does not answer, or refuses.
    """
    from toolchain.artifacts.measurement import open_measurement
    from toolchain.lifecycle import ledger

    _check_name(given.model)
    trial = _trial(given)
    with place(given, settings) as there, TemporaryDirectory() as folder:
        tracker = _open(given.model, there.settings)
        if given.canary or given.shadow:
            _prepare(tracker, given, there)
        alias = f"@{given.alias}" if given.alias else ""
        wanted = f"{given.model}:{given.version}" if given.version else f"{given.model}{alias}"
        measured = Path(folder) / "promotion"
        _run_step(measured, wanted, given, there, trial)
        data = open_measurement(measured, "promotion").data
        if data["action"] != REJECT:
            there.follow(ledger.read(tracker, given.model))
        return bool(data["promoted"]) or data["action"] == SHADOW


def rollback(given: argparse.Namespace, settings: Settings) -> None:
    """Let what served before serve again; no server is started for it, since it did serve.

    Raises:
        ConfigError: nothing served before, or there is no such model.
        ConflictError: somebody else promoted or rolled back at the same time.
        ServiceError: MLflow does not answer, or refuses.
    """
    from toolchain.lifecycle import ledger, model_repository

    _check_name(given.model)
    with place(given, settings) as there:
        tracker = _open(given.model, there.settings)
        _known(tracker, given.model)
        done = ledger.rollback(tracker, given.model, given.reason, settings.owner)
        found = ledger.read(tracker, given.model)
        stable = found.serving.version if found.serving else done.version
        ended = {ledger.CANARY_ENDED: "canary", ledger.SHADOW_ENDED: "shadow"}.get(done.action, "")
        what = f"the {ended}, version {done.version}, is ended; " if ended else ""
        print(f"{what}version {stable} of {given.model} serves {'on' if ended else 'again'}", flush=True)
        try:
            model_repository.publish(tracker, given.model, there.model_repository)
            there.follow(found)
        except ToolchainError as error:
            raise ServiceError(
                f"that is so by the ledger, but servers may not know it ({error}); tell them again by "
                f"python -m cli promote {given.model} --version {stable}"
            ) from error


def tell_ledger(given: argparse.Namespace, settings: Settings) -> None:
    """Print every promotion and rollback of ``given.model``, oldest first.

    Raises:
        ConfigError: there is no such model.
        ServiceError: MLflow does not answer, or refuses.
    """
    from toolchain.lifecycle import ledger
    from toolchain.lifecycle.registry import CHAMPION

    tracker = _open(given.model, settings)
    aliases = _known(tracker, given.model)
    found, fault = ledger.inspect(tracker, given.model)
    if given.json:
        print(json.dumps([line.plain for line in found.lines], indent=1))
    elif found.lines:
        console().print(_table(found))
    if fault:
        raise ArtifactError(fault)
    if given.json:
        return
    if not found.lines:
        print(f"nothing of {given.model} was promoted yet")
        return
    pointed = aliases.get(CHAMPION, "none")
    if found.serving and found.serving.version != pointed:
        print(
            f"the alias {CHAMPION} points at version {pointed}, the ledger says {found.serving.version}: "
            f"python -m cli promote {given.model} --version {found.serving.version} sets it right"
        )


def _check_name(model: str) -> None:
    if not model or set(model) & set("'@:/") or model.startswith("."):
        raise ConfigError(f"model is {model!r}: give a registered model's name; see --help for how to name a version")


def _open(model: str, settings: Settings) -> "Tracker":
    """Return the registry, after a check that ``model`` is a name and that there can be such a model."""
    _check_name(model)
    return open_registry(settings, model)


def _known(tracker: "Tracker", model: str) -> dict[str, str]:
    """Return the aliases of ``model``, which must be there."""
    if not tracker.versions(model):
        from toolchain.lifecycle.registry import unknown

        raise ConfigError(unknown(tracker, model))
    return tracker.aliases(model)


def _trial(given: argparse.Namespace) -> dict[str, Any]:
    """Return the step's settings of a canary: percents, minutes, and what -p says of the tests."""
    try:
        steps = [float(step) for step in given.steps.split(",") if step]
    except ValueError as error:
        raise ConfigError(f"--steps is {given.steps!r}: give percents with commas between, 25,50,100 say") from error
    found: dict[str, Any] = {"canary": given.canary, "shadow": given.shadow, "steps": steps}
    found["minutes"] = given.minutes
    for pair in given.tests:
        name, _, value = pair.partition("=")
        if name not in TESTS:
            raise ConfigError(f"-p {pair}: {name!r} is no setting of the tests; those are {', '.join(TESTS)}")
        try:
            numbers = [float(part) for part in value.split(",")]
        except ValueError as error:
            raise ConfigError(f"-p {pair}: give numbers, as in alpha=0.01 or slow=0.05,0.15") from error
        found[name] = numbers if TESTS[name] == 2 else numbers[0]
    return found


def _prepare(tracker: "Tracker", given: argparse.Namespace, there: Place) -> None:
    """Let the servers be able to run what is to be tried, where there is such a version and it is none of theirs."""
    from toolchain.lifecycle import ledger
    from toolchain.lifecycle.registry import CANDIDATE, TAG_DIGEST, TAG_VARIANT
    from toolchain.lifecycle.routing import Target

    number = given.version or _known(tracker, given.model).get(given.alias or CANDIDATE, "")
    known = ledger.read(tracker, given.model)
    for version in tracker.versions(given.model):
        digest = version.tags.get(TAG_DIGEST, "")
        if version.number == number and known.serving and known.serving.digest != digest and not known.canary:
            variant = version.tags.get(TAG_VARIANT, "")
            target = Target(version=number, digest=digest, variant=variant)
            there.prepare(tracker, known, target, given.shadow)


def _run_step(measured: Path, wanted: str, given: argparse.Namespace, there: Place, trial: dict[str, Any]) -> None:
    """Do what the component does in a pod, in this process, and leave its measurement at ``measured``."""
    from kfp import dsl

    from components.release.promote import promote as component

    component.python_func(
        promotion=dsl.Artifact(uri=str(measured)),
        metrics=dsl.Metrics(uri=str(measured.with_name("metrics"))),
        model=wanted,
        force=given.force,
        reason=given.reason,
        who=there.settings.owner,
        model_repository=there.model_repository,
        servers=list(there.servers),
        namespace=there.namespace,
        **trial,
    )


def _table(found: "Ledger") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    from toolchain.lifecycle.ledger_entries import DAMAGED

    table = Table(box=None, pad_edge=False)
    for name in ("", "when (UTC)", "who", "what", "version", "variant", "digest", "verdict", "reason"):
        folds = name in ("variant", "verdict", "reason")
        table.add_column(name, no_wrap=not folds, overflow="fold", min_width=12 if folds else None)
    for line in found.lines:
        entry = line.entry
        at = datetime.fromtimestamp(entry.when / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") if entry.when else ""
        overrode = [f"by force, although {entry.overrode}"] if entry.overrode else []
        void = [] if line.counts or entry.action == DAMAGED else ["void: another was first"]
        said = "; ".join(filter(None, [*void, entry.reason, *overrode]))
        share = f" {entry.percent:g} %" if entry.percent else ""
        what = (str(line.number), at, entry.who, f"{entry.action}{share}", entry.version, entry.variant)
        verdict = entry.verdict.partition(" (")[0]  # without its figures
        row = (*what, short_digest(entry.digest), verdict, said)
        table.add_row(
            *(escape(printable(cell)) for cell in row)
        )  # a person's words may hold what looks like Rich's marks
    return table
