"""Promote a registered version, at once or after a canary or shadow trial, and roll it back."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from cli.serving.kubernetes.model_server import PodOptions
from cli.serving.models import aliases_of, check_name, open_model_registry
from cli.serving.targets import Target, promotion_target
from cli.settings import Settings, environment
from toolchain.errors import ConfigError, ServiceError, ToolchainError

if TYPE_CHECKING:
    from toolchain.services.mlflow import Tracker

REJECT, SHADOW = "reject", "shadow"  # actions of the promote step
TESTS = {"alpha": 1, "beta": 1, "failures": 2, "slow": 2, "disagreement": 2}  # numbers that each parameter takes


@dataclass(frozen=True)
class Promotion:
    """A version to promote, and how."""

    model: str
    version: str = ""  # "": the one of the alias
    alias: str = ""  # "": candidate
    force: bool = False  # even if the gate rejected it or a newer version is live
    reason: str = ""
    trial: dict[str, Any] = field(default_factory=dict)  # parameters of the step: canary, shadow, steps, minutes, tests

    @property
    def has_trial(self) -> bool:
        return bool(self.trial.get("canary") or self.trial.get("shadow"))


def trial_settings(canary: float, shadow: bool, steps: str, minutes: float, tests: Sequence[str]) -> dict[str, Any]:
    """Return the step's parameters of a trial.

    Args:
        canary: Percent of the traffic at first; 0 for no canary.
        shadow: Whether the version only gets a copy of the requests.
        steps: Percents after the first, separated by commas.
        minutes: Time limit of each percent.
        tests: "KEY=VALUE" of each parameter of the tests.
    """
    try:
        percents = [float(step) for step in steps.split(",") if step]
    except ValueError as error:
        raise ConfigError(f"--steps is {steps!r}; expected percents separated by commas, such as 25,50,100") from error
    found: dict[str, Any] = {"canary": canary, "shadow": shadow, "steps": percents, "minutes": minutes}
    for pair in tests:
        name, _, value = pair.partition("=")
        if name not in TESTS:
            raise ConfigError(f"-p {pair}: no test has a parameter {name!r}; expected one of {', '.join(TESTS)}")
        try:
            numbers = [float(part) for part in value.split(",")]
        except ValueError as error:
            raise ConfigError(f"-p {pair}: expected numbers, as in alpha=0.01 or slow=0.05,0.15") from error
        found[name] = numbers if TESTS[name] == 2 else numbers[0]
    return found


def promote(
    promotion: Promotion,
    pods: PodOptions,
    engine: str | None,
    servers: Sequence[str],
    settings: Settings,
) -> dict[str, Any]:
    """Promote the version and return what the step measured and decided; the step prints its decision.

    A canary ends before this function returns; a shadow runs on in the background.

    Raises:
        ConfigError: there is no such model, version or alias; or force without a reason.
        ConflictError: another promotion or rollback happened at the same time.
        ServiceError: MLflow does not respond, or denies access.
    """
    from toolchain.artifacts.measurement import open_measurement
    from toolchain.lifecycle import ledger

    check_name(promotion.model)
    with promotion_target(promotion.model, engine, servers, pods, settings) as target, TemporaryDirectory() as folder:
        tracker = open_model_registry(promotion.model, target.settings)
        if promotion.has_trial:
            _prepare(tracker, promotion, target)
        measured = Path(folder) / "promotion"
        _run_step(measured, promotion, target)
        data = open_measurement(measured, "promotion").data
        if data["action"] != REJECT:
            target.follow(ledger.read(tracker, promotion.model))
        return data


def is_live(data: dict[str, Any]) -> bool:
    """Return whether the step's ``data`` say that the version is live, or runs as a shadow."""
    return bool(data["promoted"]) or data["action"] == SHADOW


def rollback(model: str, reason: str, engine: str | None, servers: Sequence[str], settings: Settings) -> dict[str, Any]:
    """Serve the previous version of ``model`` again, or end its trial; return the fields of ``--json``.

    Raises:
        ConfigError: no version was served before, or there is no such model.
        ConflictError: another promotion or rollback happened at the same time.
        ServiceError: MLflow does not respond, or denies access.
    """
    from toolchain.lifecycle import ledger, model_repository

    check_name(model)
    with promotion_target(model, engine, servers, None, settings) as target:
        tracker = open_model_registry(model, target.settings)
        aliases_of(tracker, model)
        done = ledger.rollback(tracker, model, reason, settings.owner)
        found = ledger.read(tracker, model)
        live = found.serving.version if found.serving else done.version
        trial = {ledger.CANARY_ENDED: "canary", ledger.SHADOW_ENDED: "shadow"}.get(done.action, "")
        if trial:
            print(f"ended the {trial} of version {done.version}; version {live} of {model} stays live", flush=True)
        else:
            print(f"rolled back: version {live} of {model} is live again", flush=True)
        try:
            model_repository.publish(tracker, model, target.repository)
            target.follow(found)
        except ToolchainError as error:
            raise ServiceError(
                f"the ledger is updated, but model servers may not be ({error}); to update them: "
                f"toolchain promote {model} --version {live}"
            ) from error
        return {"model": model, "action": done.action, "version": done.version, "live_version": live}


def _prepare(tracker: "Tracker", promotion: Promotion, target: Target) -> None:
    """Let the servers load the version of a new trial, unless they serve it or have a canary already."""
    from toolchain.lifecycle import ledger, routing
    from toolchain.lifecycle.registry import CANDIDATE, TAG_DIGEST, TAG_VARIANT

    model = promotion.model
    number = promotion.version or aliases_of(tracker, model).get(promotion.alias or CANDIDATE, "")
    known = ledger.read(tracker, model)
    for version in tracker.versions(model):
        digest = version.tags.get(TAG_DIGEST, "")
        if version.number == number and known.serving and known.serving.digest != digest and not known.canary:
            tried = routing.Target(version=number, digest=digest, variant=version.tags.get(TAG_VARIANT, ""))
            target.prepare(tracker, known, tried, promotion.trial["shadow"])


def _run_step(measured: Path, promotion: Promotion, target: Target) -> None:
    """Run the promote component in this process, and leave its measurement at ``measured``."""
    from kfp import dsl

    from components.release.promote import promote as component

    alias = f"@{promotion.alias}" if promotion.alias else ""
    wanted = f"{promotion.model}:{promotion.version}" if promotion.version else f"{promotion.model}{alias}"
    with environment({"MLFLOW_TRACKING_URI": target.settings.tracking_uri}):
        component.python_func(
            promotion=dsl.Artifact(uri=str(measured)),
            metrics=dsl.Metrics(uri=str(measured.with_name("metrics"))),
            model=wanted,
            force=promotion.force,
            reason=promotion.reason,
            user=target.settings.owner,
            model_repository=target.repository,
            servers=list(target.servers),
            namespace=target.namespace,
            **promotion.trial,
        )
