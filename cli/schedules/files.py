"""Read schedules from YAML files, and check all of them before any is applied."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from cli.compiled import catalog, parameters
from cli.compiled.catalog import suggestion
from cli.compiled.spec import Specification, load
from cli.compiled.transform import label
from cli.records.cost import read_prices, with_prices
from cli.run.cluster import size
from cli.schedules.cron import check_cron, zone_of
from cli.settings import MANIFESTS
from cli.yaml_files import read_documents
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
        errors = _value_errors({entry.name: getattr(self, entry.name) for entry in fields(self)})
        if errors:
            raise ConfigError("\n".join(errors))


def _check_name(name: str) -> None:
    if not name or label(name) != name:
        raise ConfigError(f"name is {name!r}; expected at most 63 letters, digits, '-', '_' and '.'")


def _check_concurrency(concurrency: int) -> None:
    if not 1 <= concurrency <= MAX_CONCURRENCY:
        raise ConfigError(f"concurrency is {concurrency}; expected 1 to {MAX_CONCURRENCY}")


def _check_catch_up(catch_up: bool) -> None:
    if catch_up:
        raise ConfigError("catch_up is true; expected false, because missed runs would repeat the same work")


CHECKS: dict[str, Callable[[Any], object]] = {  # of a value of the right type; they raise ConfigError
    "name": _check_name,
    "concurrency": _check_concurrency,
    "catch_up": _check_catch_up,
    "cron": check_cron,
    "zone": zone_of,
    "resources": size,
    "pipeline": catalog.find,
}
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
                schedule = _schedule(content, cache)
                if schedule.name in found:
                    raise ConfigError(f"two schedules are named {schedule.name!r}: rename one")
                found[schedule.name] = schedule
            except ConfigError as error:
                errors += [f"{path}: {line}" for line in str(error).splitlines()]
    if errors:
        raise ConfigError("\n       ".join(errors))
    return [found[name] for name in sorted(found)]


def values_of(schedule: Schedule, spec: Specification) -> dict[str, Any]:
    """Return the value of every parameter of a run; ConfigError if one is unknown, missing or of another type."""
    return _values(schedule.parameters, spec)


def _values(given: dict[str, Any], spec: Specification) -> dict[str, Any]:
    return with_prices(parameters.complete(given, spec.parameters), read_prices())


def _documents(path: Path, errors: list[str]) -> list[Any]:
    try:
        return [content for content in read_documents(path) if content is not None]
    except ConfigError as error:
        errors.append(str(error))
        return []


def _schedule(content: Any, cache: Path) -> Schedule:
    """Return the schedule in the document ``content``; ConfigError with one line for each error."""
    if not isinstance(content, dict):
        raise ConfigError(f"the schedule is {content!r}; expected keys and values, such as name: nightly")
    values = {key: value for key, value in content.items() if key in TYPES}
    errors = [*_key_errors(content), *_value_errors(values), *_parameter_errors(values, cache)]
    if errors:
        raise ConfigError("\n".join(errors))
    return Schedule(**values)


def _key_errors(content: dict[Any, Any]) -> list[str]:
    unknown = [str(key) for key in content if key not in TYPES]
    known = ", ".join(TYPES)
    errors = [f"there is no key {key!r}{suggestion(key, list(TYPES))} (available: {known})" for key in unknown]
    if missing := [key for key in REQUIRED if key not in content]:
        errors.append(f"{content.get('name', 'a schedule')} has no {' and no '.join(missing)}")
    return errors


def _value_errors(values: Mapping[str, Any]) -> list[str]:
    errors: list[str] = []
    for name, value in values.items():
        expected = TYPES[name]
        if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
            errors.append(f"{name} is {value!r}; expected {TYPE_NAMES[expected]}")
        elif name in CHECKS:
            errors += _errors(partial(CHECKS[name], value))
    return errors


def _parameter_errors(values: Mapping[str, Any], cache: Path) -> list[str]:
    """Return the errors of the parameters, none if the pipeline is not valid: its own error is reported."""
    pipeline, given = values.get("pipeline"), values.get("parameters", {})
    if not isinstance(given, dict) or pipeline not in [entry.name for entry in catalog.entries()]:
        return []
    return _errors(lambda: _values(given, load(catalog.find(str(pipeline)), cache)))


def _errors(check: Callable[[], object]) -> list[str]:
    """Return the lines of the ConfigError that ``check`` raises, none if it passes."""
    try:
        check()
    except ConfigError as error:
        return str(error).splitlines()
    return []
