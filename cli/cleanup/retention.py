"""Decide what ``toolchain clean`` keeps, of the results on this machine and of those in S3."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from toolchain.errors import ConfigError

PERIOD = re.compile(r"(\d+)([dh])")
HOURS = {"d": 24, "h": 1}
MAX_AGE_HOURS = 100 * 366 * 24  # a century: more is a typing error
LONG_AGO = datetime.min.replace(tzinfo=UTC)  # time of items that are removed at any age
ARTIFACTS = "v2/artifacts/"  # prefix of the artifacts of Kubeflow Pipelines in a bucket


@dataclass(frozen=True)
class Item:
    """A result of a run that is kept or removed as a whole."""

    name: str
    type: str  # "run", "source", "checkpoint", ...
    size_bytes: int
    changed: datetime  # when it was last written, or its run started, UTC
    keep_reason: str = ""  # why it is kept at any age; "" if only its age or another item decides
    dependencies: frozenset[str] = frozenset()  # names of the items that it needs


def parse_age(text: str) -> timedelta:
    """Return the age ``text``, which is in days ("30d") or hours ("12h").

    Raises:
        ConfigError: it is neither.
    """
    match = PERIOD.fullmatch(text)
    hours = int(match[1]) * HOURS[match[2]] if match and len(match[1]) < 10 else MAX_AGE_HOURS + 1
    if hours > MAX_AGE_HOURS:
        raise ConfigError(f"--older-than is {text!r}; expected days or hours, such as 30d or 12h")
    return timedelta(hours=hours)


def reasons_to_keep(items: Iterable[Item], oldest: datetime, age: str) -> dict[str, str]:
    """Return the reason of each item that is kept, by name.

    An item is kept for its own ``keep_reason``, if it changed after ``oldest``, or if a kept item depends on it.
    The reasons show ``oldest`` as ``age``.
    """
    known = {item.name: item for item in items}
    reasons = {item.name: item.keep_reason for item in known.values() if item.keep_reason}
    for item in known.values():
        if item.changed > oldest:
            reasons.setdefault(item.name, f"younger than {age}")
    pending = list(reasons)
    while pending:
        dependent = pending.pop()
        for name in known[dependent].dependencies & known.keys() - reasons.keys():
            reasons[name] = f"{dependent} needs it"
            pending.append(name)
    return reasons


def latest_runs(newest_first: Iterable[tuple[str, str, bool]]) -> dict[str, str]:
    """Return the reasons to keep the last run, and the last successful run, of each pipeline, by name.

    Args:
        newest_first: The name and the pipeline of each run, and whether it succeeded.
    """
    reasons: dict[str, str] = {}
    seen: set[tuple[str, bool]] = set()
    for name, pipeline, succeeded in newest_first:
        if not {(pipeline, True), (pipeline, False)} & seen:
            reasons[name] = f"the last run of {pipeline}"
        elif succeeded and (pipeline, True) not in seen:
            reasons[name] = f"the last successful run of {pipeline}"
        seen.add((pipeline, succeeded))
    return reasons


def digests_of(description: bytes) -> list[str]:
    """Return the digest of the artifact with this JSON ``description``, then those of its ancestors.

    The list is empty if ``description`` is not one of the toolchain's.
    """
    try:
        lineage = json.loads(description)["lineage"]
        return [entry["digest"] for entry in reversed(lineage)]
    except (ValueError, TypeError, KeyError):
        return []
