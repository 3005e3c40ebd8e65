"""Read schedules from YAML files, and check all of them before any is applied."""

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
MAX_CONCURRENCY = 10  # runs of one schedule; the limit of Kubeflow Pipelines
TYPE_NAMES = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    dict: "one parameter per line, such as epochs: 2",
}


@dataclass(frozen=True)
class Schedule:
    """A document of a file."""

    name: str  # unique; letters, digits, "-", "_" and "."
    pipeline: str  # as `toolchain list` names it
    cron: str  # minute, hour, day of the month, month, day of the week
    zone: str  # time zone of cron, an IANA name
    parameters: dict[str, Any] = field(default_factory=dict)  # the others have the pipeline's defaults
    concurrency: int = 1  # runs at once; further runs wait on a cluster, and are skipped on one machine
    catch_up: bool = False  # whether missed runs are started later: not supported
    enabled: bool = True
    owner: str = ""  # owner of the runs, a label of their pods
    resources: str = ""  # resource size of steps on a cluster: small, medium or large; "" for medium

    def __post_init__(self) -> None:
        for entry in fields(self):
            expected, value = TYPES[entry.name], getattr(self, entry.name)
            if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
                raise ConfigError(f"{entry.name} is {value!r}; expected {TYPE_NAMES[expected]}")
        if not self.name or label(self.name) != self.name:
            raise ConfigError(f"name is {self.name!r}; expected at most 63 letters, digits, '-', '_' and '.'")
        if not 1 <= self.concurrency <= MAX_CONCURRENCY:
            raise ConfigError(f"concurrency is {self.concurrency}; expected 1 to {MAX_CONCURRENCY}")
        if self.catch_up:
            raise ConfigError("catch_up is true; expected false, because missed runs would repeat the same work")
        check_cron(self.cron)
        zone_of(self.zone)
        size(self.resources)


TYPES: dict[str, type] = {
    **dict.fromkeys(("name", "pipeline", "cron", "zone", "owner", "resources"), str),
    **dict.fromkeys(("catch_up", "enabled"), bool),
    "parameters": dict,
    "concurrency": int,
}
REQUIRED = ("name", "pipeline", "cron", "zone")


def read_schedules(folder: Path, cache: Path) -> list[Schedule]:
    """Return every schedule in the files of ``folder``, by name.

    ``cache`` is the folder of compiled pipelines, against which parameters are checked.

    Raises:
        ConfigError: with all errors of all files.
    """
    if not folder.is_dir():
        raise ConfigError(
            f"folder {folder} does not exist: write a schedule there (manifests/README.md), or set --folder"
        )
    found: dict[str, Schedule] = {}
    errors: list[str] = []
    for path in sorted(folder.glob("*.y*ml")):
        for content in _documents(path, errors):
            try:
                schedule = _schedule(content)
                values_of(schedule, load(catalog.find(schedule.pipeline), cache))
                if schedule.name in found:
                    raise ConfigError(f"two schedules are named {schedule.name!r}: rename one")
                found[schedule.name] = schedule
            except ConfigError as error:
                errors.append(f"{path}: {error}")
    if errors:
        raise ConfigError("\n       ".join(errors))
    return [found[name] for name in sorted(found)]


def values_of(schedule: Schedule, spec: Specification) -> dict[str, Any]:
    """Return the value of every parameter of a run; ConfigError if one is unknown, missing or of another type."""
    return with_prices(parameters.complete(schedule.parameters, spec.parameters), read_prices())


def _documents(path: Path, errors: list[str]) -> list[Any]:
    try:
        return [content for content in yaml.safe_load_all(path.read_text(encoding="utf-8")) if content is not None]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        errors.append(f"{path} is not a readable YAML file: {' '.join(str(error).split())}")
        return []


def _schedule(content: Any) -> Schedule:
    if not isinstance(content, dict):
        raise ConfigError(f"the schedule is {content!r}; expected keys and values, such as name: nightly")
    unknown = [str(key) for key in content if key not in TYPES]
    if unknown:
        nearest = suggestion(unknown[0], list(TYPES))
        raise ConfigError(f"there is no key {unknown[0]!r}{nearest} (available: {', '.join(TYPES)})")
    missing = [key for key in REQUIRED if key not in content]
    if missing:
        raise ConfigError(f"{content.get('name', 'a schedule')} has no {' and no '.join(missing)}")
    return Schedule(**content)
