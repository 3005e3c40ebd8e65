"""Checks of the model's name that a command takes, before and in the registry."""

from typing import TYPE_CHECKING

from cli.settings import Settings, open_registry
from toolchain.errors import ConfigError

if TYPE_CHECKING:
    from toolchain.services.mlflow import Tracker

SEPARATORS = set("'@:/")  # of a name, an alias and a version


def check_name(model: str) -> None:
    """Raise ConfigError unless ``model`` is a bare name."""
    if not model or set(model) & SEPARATORS or model.startswith("."):
        raise ConfigError(f"model is {model!r}; expected the name of a registered model, and its version by --version")


def open_model_registry(model: str, settings: Settings) -> "Tracker":
    """Return the registry, after a check of the name ``model``."""
    check_name(model)
    return open_registry(settings, model)


def aliases_of(tracker: "Tracker", model: str) -> dict[str, str]:
    """Return the aliases of ``model``; ConfigError when it is not registered."""
    if not tracker.versions(model):
        from toolchain.lifecycle.registry import unknown

        raise ConfigError(unknown(tracker, model))
    return tracker.aliases(model)
