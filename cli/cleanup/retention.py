"""What is kept: the law by which cleaning decides, for what lies on this machine and for what lies in S3."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from toolchain.errors import ConfigError

PERIOD = re.compile(r"(\d+)([dh])")
HOURS = {"d": 24, "h": 1}
MOST_HOURS = 100 * 366 * 24  # a century: more is a slip of the finger
LONG_AGO = datetime.min.replace(tzinfo=UTC)  # of what is to go whenever it was made
ARTIFACTS = "v2/artifacts/"  # in a bucket: where Kubeflow Pipelines keeps what runs made
DESCRIPTIONS = ("dataset.json", "model.json", "variants.json", "measurement.json")  # what an artifact says of itself


@dataclass(frozen=True)
class Item:
    """Something that a run left."""

    name: str
    kind: str  # "run", "source", "checkpoint", ...
    size_bytes: int
    made: datetime  # when it was last written, or its run started, UTC
    held: str = ""  # why it is kept however old it is; "" for no reason of its own
    needs: frozenset[str] = frozenset()  # names of the items that it cannot do without


def period(text: str) -> timedelta:
    """Return the period that ``text`` names: "30d" are days, "12h" hours.

    Raises:
        ConfigError: it names none.
    """
    match = PERIOD.fullmatch(text)
    hours = int(match[1]) * HOURS[match[2]] if match and len(match[1]) < 10 else MOST_HOURS + 1
    if hours > MOST_HOURS:
        raise ConfigError(f"--older-than must be days or hours, as in 30d or 12h, got {text!r}")
    return timedelta(hours=hours)


def decide(items: Iterable[Item], oldest: datetime, age: str) -> dict[str, str]:
    """Return the reason of each item that is kept, by its name: it is held, or made after ``oldest``, or needed by one
    that is kept. ``age`` says in the reason how old is old.
    """
    known = {item.name: item for item in items}
    reasons = {item.name: item.held for item in known.values() if item.held}
    for item in known.values():
        if item.made > oldest:
            reasons.setdefault(item.name, f"younger than {age}")
    waiting = list(reasons)
    while waiting:
        needing = waiting.pop()
        for name in known[needing].needs & known.keys() - reasons.keys():
            reasons[name] = f"{needing} needs it"
            waiting.append(name)
    return reasons


def last_ones(newest_first: Iterable[tuple[str, str, bool]]) -> dict[str, str]:
    """Return the reasons by name of the last run, and of the last that succeeded, of each pipeline.

    Args:
        newest_first: The name, the pipeline and the success of each run.
    """
    reasons: dict[str, str] = {}
    seen: set[tuple[str, bool]] = set()
    for name, pipeline, succeeded in newest_first:
        if not {(pipeline, True), (pipeline, False)} & seen:
            reasons[name] = f"the last run of {pipeline}"
        elif succeeded and (pipeline, True) not in seen:
            reasons[name] = f"the last of {pipeline} that succeeded"
        seen.add((pipeline, succeeded))
    return reasons


def digests_of(description: bytes) -> list[str]:
    """Return the digest of the artifact that ``description``, its JSON, describes, then those of all it was made from;
    none when it describes no artifact of ours.
    """
    try:
        lineage = json.loads(description)["lineage"]
        return [entry["digest"] for entry in reversed(lineage)]
    except (ValueError, TypeError, KeyError):
        return []
