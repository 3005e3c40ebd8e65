"""Versions of the model "reviews" in a model repository, with their routing config."""

import shutil
from pathlib import Path

from toolchain.artifacts.model import open_model
from toolchain.lifecycle.routing import FILE, RoutingConfig, Target, as_bytes

WEIGHTS = {"1": 1.0, "2": 2.0, "3": 3.0, "4": -1.0}  # of the versions of "reviews"; the last says the contrary


def target_of(versions: dict[str, Path], number: str) -> Target:
    return Target(version=number, digest=open_model(versions[number]).digest, variant="fp32")


def routing_of(
    versions: dict[str, Path], stable: str, canary: str = "", percent: float = 0, shadow: str = ""
) -> RoutingConfig:
    on_trial = {role: target_of(versions, one) for role, one in (("canary", canary), ("shadow", shadow)) if one}
    return RoutingConfig(model="reviews", stable=target_of(versions, stable), percent=percent, **on_trial)  # type: ignore[arg-type]


def publish_versions(repository: Path, routing: RoutingConfig, versions: dict[str, Path]) -> None:
    """Publish ``routing``: models first, the document last."""
    repository.mkdir(exist_ok=True)
    for target in routing.targets.values():
        if not (repository / target.digest).exists():
            shutil.copytree(versions[target.version], repository / target.digest)
    (repository / ".new").write_bytes(as_bytes(routing))
    (repository / ".new").replace(repository / FILE)
