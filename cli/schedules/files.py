"""Schedules as files: what runs when, with which parameters; all of them checked before anything is touched."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from cli.compiled import catalog, parameters
from cli.compiled.catalog import suggestion
from cli.compiled.spec import Specification, load
from cli.compiled.transform import label
from cli.records.cost import read_prices, with_prices
from cli.run.cluster import size
from cli.schedules.cron import check_cron, zone_of
from cli.settings import MANIFESTS
from toolchain.errors import ConfigError

FOLDER = MANIFESTS / "schedules"
MOST_AT_ONCE = 10  # runs of one schedule; Kubeflow Pipelines takes no more
WORDS = {str: "text", bool: "true or false", int: "a whole number", dict: "one parameter a line, as in 'epochs: 2'"}


@dataclass(frozen=True)
class Schedule:
    """One document of a file."""

    name: str  # unique; letters, digits, "-", "_" and "."
    pipeline: str  # as `toolchain list` names it
    cron: str  # minute, hour, day of the month, month, day of the week
    zone: str  # the clock that cron is read on: an IANA name
    parameters: dict[str, Any] = field(default_factory=dict)  # those not given have the pipeline's defaults
    concurrency: int = 1  # runs at once; more wait on a cluster, and are left out on one machine
    catch_up: bool = False  # times missed while the scheduler was away stay missed
    enabled: bool = True
    owner: str = ""  # whose runs these are: a label of their pods
    resources: str = ""  # the size of steps on a cluster: small, medium or large; "" for medium

    def __post_init__(self) -> None:
        for entry in fields(self):
            kind, value = KINDS[entry.name], getattr(self, entry.name)
            if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
                raise ConfigError(f"{entry.name} takes {WORDS[kind]}, got {value!r}")
        if not self.name or label(self.name) != self.name:
            raise ConfigError(f"name takes letters, digits, '-', '_' and '.', at most 63 of them, got {self.name!r}")
        if not 1 <= self.concurrency <= MOST_AT_ONCE:
            raise ConfigError(f"concurrency takes 1 to {MOST_AT_ONCE}, got {self.concurrency}")
        if self.catch_up:
            raise ConfigError("catch_up takes false only: a retraining on old times would do the same work again")
        check_cron(self.cron)
        zone_of(self.zone)
        size(self.resources)


KINDS: dict[str, type] = {
    **dict.fromkeys(("name", "pipeline", "cron", "zone", "owner", "resources"), str),
    **dict.fromkeys(("catch_up", "enabled"), bool),
    "parameters": dict,
    "concurrency": int,
}
REQUIRED = ("name", "pipeline", "cron", "zone")


def read_schedules(folder: Path, kept: Path) -> list[Schedule]:
    """Return every schedule in the files of ``folder``, by name.

    ``kept`` is the folder where compiled pipelines stay: parameters are checked against them.

    Raises:
        ConfigError: with all faults of all files.
    """
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}: write a schedule there (manifests/README.md), or name another")
    found: dict[str, Schedule] = {}
    faults: list[str] = []
    for path in sorted(folder.glob("*.y*ml")):
        for content in _documents(path, faults):
            try:
                schedule = _schedule(content)
                values_of(schedule, load(catalog.find(schedule.pipeline), kept))
                if schedule.name in found:
                    raise ConfigError(f"there are two schedules named {schedule.name!r}")
                found[schedule.name] = schedule
            except ConfigError as error:
                faults.append(f"{path}: {error}")
    if faults:
        raise ConfigError("\n       ".join(faults))
    return [found[name] for name in sorted(found)]


def values_of(schedule: Schedule, spec: Specification) -> dict[str, Any]:
    """Return the value of every parameter of a run; ConfigError when one is unknown, missing or of another kind."""
    return with_prices(parameters.complete(schedule.parameters, spec.parameters), read_prices())


def _documents(path: Path, faults: list[str]) -> list[Any]:
    try:
        return [content for content in yaml.safe_load_all(path.read_text(encoding="utf-8")) if content is not None]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        faults.append(f"{path}: it is not a readable YAML file: {' '.join(str(error).split())}")
        return []


def _schedule(content: Any) -> Schedule:
    if not isinstance(content, dict):
        raise ConfigError(f"a schedule is keys and values, as in 'name: nightly', got {content!r}")
    unknown = [str(key) for key in content if key not in KINDS]
    if unknown:
        nearest = suggestion(unknown[0], list(KINDS))
        raise ConfigError(f"there is no key {unknown[0]!r}{nearest} (there are {', '.join(KINDS)})")
    missing = [key for key in REQUIRED if key not in content]
    if missing:
        raise ConfigError(f"{content.get('name', 'a schedule')} has no {' and no '.join(missing)}")
    return Schedule(**content)
