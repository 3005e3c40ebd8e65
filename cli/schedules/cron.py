"""When a schedule is due: five fields of cron in a time zone, and the same in UTC for a server without zones."""

import itertools
import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from toolchain.errors import ConfigError

DAY_MINUTES = 24 * 60
NEVER = "no day has that date"
FIELDS = {  # the values of each field of cron
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day of the month": "1 to 31",
    "month": "1 to 12, or JAN to DEC",
    "day of the week": "0 to 7 (0 and 7 are Sunday), or SUN to SAT",
}


def check_cron(cron: str) -> None:
    """Raise ConfigError unless ``cron`` has five fields that every scheduler reads the same way.

    Raises:
        ConfigError: with every field that is wrong, and the range of its values.
    """
    fields = cron.split()
    if len(fields) != 5:
        raise ConfigError(
            f"cron is {cron!r}, {len(fields)} fields; it takes minute, hour, day of the month, month and day of the "
            "week, as in '30 2 * * 1-5'"
        )
    if re.search("[LW#?]", re.sub("[A-Z]{3}", "", cron.upper())):  # names of months and days hold an L and a W
        raise ConfigError(f"cron is {cron!r}; it takes numbers, names, lists, ranges and steps, not L, W, # or ?")
    if wrong := [_range_error(index, value) for index, value in enumerate(fields) if not _is_valid(index, value)]:
        raise ConfigError(f"cron is {cron!r}: {', '.join(wrong)}")
    try:
        parts = CronSim(cron, datetime(2000, 1, 1, tzinfo=UTC))
        next(parts)
    except (CronSimError, StopIteration) as error:
        raise ConfigError(f"cron is {cron!r}: {str(error) or NEVER}") from error
    if _restricted(parts.days, 31) and _restricted({day % 7 for day in _days(parts)}, 7):
        raise ConfigError(
            f"cron is {cron!r}, with days of the month and of the week, which schedulers read in two ways: give one"
        )


def _is_valid(index: int, value: str) -> bool:
    """Return whether ``value`` is valid as field ``index`` of cron."""
    alone = " ".join(value if other == index else "*" for other in range(len(FIELDS)))
    try:
        CronSim(alone, datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError:
        return False
    return True


def _range_error(index: int, value: str) -> str:
    name, values = list(FIELDS.items())[index]
    return f"the {name} is {value!r}, expected {values}"


def zone_of(name: str) -> ZoneInfo:
    """Return the time zone ``name``, of the IANA data base: "Europe/Berlin"; ConfigError when there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(f"zone is {name!r}, which is none; it takes an IANA name such as Europe/Berlin") from error


def next_time(cron: str, zone: str, after: datetime) -> datetime:
    """Return the first time, in UTC, that ``cron`` names after ``after``.

    Where the clock skips an hour, a time inside it comes when the hour is over; where it repeats one, a time inside it
    comes once, as in Debian's cron.
    """
    return next(CronSim(cron, after.astimezone(zone_of(zone)))).astimezone(UTC)


def utc_cron(cron: str, zone: str, now: datetime) -> str:
    """Return six fields of cron (seconds first) that name in UTC what ``cron`` names in ``zone`` at its next time.

    Kubeflow Pipelines keeps no time zone with a schedule, and its own cron (robfig/cron 1.2) takes none. The clock's
    next change makes another expression.

    Raises:
        ConfigError: UTC's date is another one then, and the days cannot be moved.
    """
    parts = CronSim(cron, datetime(2000, 1, 1, tzinfo=UTC))
    due = next_time(cron, zone, now).astimezone(zone_of(zone))
    offset = int((due.utcoffset() or timedelta()).total_seconds() // 60)
    moved = [divmod(hour * 60 + minute - offset, DAY_MINUTES) for hour in parts.hours for minute in parts.minutes]
    shifts = {days for days, _ in moved}
    hours, minutes = {m // 60 for _, m in moved}, {m % 60 for _, m in moved}
    weekdays = {day % 7 for day in _days(parts)}
    dated = _restricted(parts.days, 31) or _restricted(parts.months, 12)
    by_days = dated or _restricted(weekdays, 7)
    whole = {h * 60 + m for h, m in itertools.product(hours, minutes)} == {m for _, m in moved}
    if not whole or (by_days and len(shifts) > 1) or (dated and shifts != {0}):
        raise ConfigError(
            f"cron {cron!r} in zone {zone} cannot be expressed in UTC, which Kubeflow Pipelines needs: choose "
            "hours that are on the same day there, or zone UTC"
        )
    if _restricted(weekdays, 7):
        weekdays = {(day + min(shifts)) % 7 for day in weekdays}
    fields = [(minutes, 0, 60), (hours, 0, 24), (parts.days, 1, 31), (parts.months, 1, 12), (weekdays, 0, 7)]
    return " ".join(["0", *(_field(values, least, count) for values, least, count in fields)])


def _days(parts: CronSim) -> set[int]:
    return {day for day in parts.weekdays if isinstance(day, int)}


def _restricted(values: set[int], count: int) -> bool:
    return len(values) < count


def _field(values: set[int], least: int, count: int) -> str:
    """Return ``values`` as a field of cron, of the ``count`` values from ``least``: the shortest way to write them."""
    if not _restricted(values, count):
        return "*"
    ordered = sorted(values)
    written = [",".join(map(str, ordered)), ",".join(_ranges(ordered))]
    steps = {later - earlier for earlier, later in itertools.pairwise(ordered)}
    if len(steps) == 1:
        step = steps.pop()
        whole = ordered[0] == least and ordered[-1] + step >= least + count
        written.append(f"*/{step}" if whole else f"{ordered[0]}-{ordered[-1]}/{step}")
    return min(written, key=len)


def _ranges(ordered: list[int]) -> list[str]:
    """Return ``ordered`` with values that follow one another as ranges."""
    groups: list[list[int]] = []
    for value in ordered:
        if groups and value == groups[-1][-1] + 1:
            groups[-1].append(value)
        else:
            groups.append([value])
    return [f"{group[0]}-{group[-1]}" if len(group) > 1 else str(group[0]) for group in groups]
