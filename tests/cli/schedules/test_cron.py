"""When schedules are due, compared with a search minute by minute of the zone's own clock."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.schedules.cron import _field, check_cron, next_time, utc_cron, zone_of
from toolchain.errors import ConfigError

pytestmark = pytest.mark.machine
BERLIN = "Europe/Berlin"


def searched(hour: int, minute: int, weekdays: set[int], zone: str, after: datetime) -> datetime:
    moment = after.replace(second=0, microsecond=0)
    while True:
        moment += timedelta(minutes=1)
        local = moment.astimezone(ZoneInfo(zone))
        if (local.hour, local.minute) == (hour, minute) and local.isoweekday() % 7 in weekdays:
            return moment


@settings(max_examples=60, deadline=None)
@given(
    hour=st.integers(4, 23),  # clocks change before 4: those nights have tests of their own
    minute=st.integers(0, 59),
    weekdays=st.sets(st.integers(0, 6), min_size=1),
    zone=st.sampled_from([BERLIN, "America/New_York", "Asia/Kolkata", "UTC"]),
    after=st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - it takes naive ones
)
def test_the_next_time_is_the_first_minute_that_the_clock_of_the_zone_shows(hour, minute, weekdays, zone, after):
    cron = f"{minute} {hour} * * {','.join(map(str, sorted(weekdays)))}"
    assert next_time(cron, zone, after) == searched(hour, minute, weekdays, zone, after)


def test_a_time_in_the_hour_that_the_clock_skips_comes_when_it_is_over():
    assert next_time("30 2 * * *", BERLIN, datetime(2026, 3, 28, 12, tzinfo=UTC)) == datetime(
        2026, 3, 29, 1, tzinfo=UTC
    )


def test_a_time_in_the_hour_that_the_clock_repeats_comes_once():
    first = next_time("30 2 * * *", BERLIN, datetime(2026, 10, 24, 12, tzinfo=UTC))
    assert first == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert next_time("30 2 * * *", BERLIN, first) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "zone", "expected"),
    [
        ("30 2 * * *", BERLIN, "0 30 1 * * *"),
        ("*/2 * * * *", BERLIN, "0 */2 * * * *"),
        ("*/5 8-18 * * mon-fri", BERLIN, "0 */5 7-17 * * 1-5"),
        ("0 */2 * * *", BERLIN, "0 0 1-23/2 * * *"),
        ("7-59/10 * * * *", "UTC", "0 7-57/10 * * * *"),
        ("0 2 */2 * *", "UTC", "0 0 2 */2 * *"),
        ("0 0,2-5,9 * * *", "UTC", "0 0 0,2-5,9 * * *"),
        ("* * * * *", BERLIN, "0 * * * * *"),
        ("30 0 * * 1-5", BERLIN, "0 30 23 * * 0-4"),  # Monday 00:30 there is Sunday 23:30
        ("0 6 * * SAT", BERLIN, "0 0 5 * * 6"),
        ("0 22 * * 7", "America/New_York", "0 0 3 * * 1"),  # Sunday evening there is Monday
        ("15 9 1 */3 *", BERLIN, "0 15 8 1 */3 *"),
        ("0 9 * * *", "Asia/Kolkata", "0 30 3 * * *"),
        ("*/20 * * * *", "Asia/Kolkata", "0 10,30,50 * * * *"),
        ("0 0,12 * * *", BERLIN, "0 0 11,23 * * *"),
    ],
)
def test_what_a_server_without_zones_gets_is_in_utc(cron: str, zone: str, expected: str):
    assert utc_cron(cron, zone, datetime(2026, 11, 25, tzinfo=UTC)) == expected


FIELDS = [(0, 60), (0, 24), (1, 31), (1, 12), (0, 7)]


def values_of(field: str, least: int, count: int) -> set[int]:
    """Return what robfig/cron 1.2, Kubeflow Pipelines' own, reads in a field (parser.go, getRange)."""
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = (f"{least}-{least + count - 1}" if span == "*" else span).partition("-")
        found |= set(range(int(first), int(last or first) + 1, int(step or 1)))
    return found


@given(st.sampled_from(FIELDS), st.data())
def test_a_field_of_cron_is_written_short_and_means_the_same(field_of: tuple[int, int], data: st.DataObject):
    least, count = field_of
    steps = st.builds(
        lambda first, step: set(range(least + first % count, least + count, step)), st.integers(0), st.integers(1, 30)
    )
    values = data.draw(st.sets(st.integers(least, least + count - 1), min_size=1) | steps)
    field = _field(values, least, count)
    assert values_of(field, least, count) == values
    assert len(field) <= len(",".join(map(str, values)))


def test_the_same_schedule_is_another_in_utc_when_the_clock_has_changed():
    assert utc_cron("30 2 * * *", BERLIN, datetime(2026, 7, 1, tzinfo=UTC)) == "0 30 0 * * *"


@pytest.mark.parametrize("cron", ["30 0 1 * *", "0 0,12 * * 1", "0 0 * 6 *"])
def test_days_that_cannot_be_moved_to_utc_are_rejected(cron: str):
    with pytest.raises(ConfigError, match="zone UTC"):
        utc_cron(cron, BERLIN, datetime(2026, 11, 25, tzinfo=UTC))


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("0 2 * *", "4 fields"),
        ("0 0 2 * * *", "6 fields"),
        ("60 2 * * *", "minute"),
        ("0 24 * * *", "hour"),
        ("0 0 31 2 *", "day"),
        ("0 0 L * *", "not L"),
        ("0 0 * * 5#2", "not L"),
        ("0 0 1 * 1", "two ways"),
    ],
)
def test_a_cron_that_is_none_is_rejected(cron: str, said: str):
    with pytest.raises(ConfigError, match=said):
        check_cron(cron)


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 2 * JUL WED", datetime(2027, 7, 7, 2, tzinfo=UTC)),
        ("*/15 8-18 * * mon-fri", datetime(2026, 11, 30, 8, tzinfo=UTC)),
        ("0 2 1,15 * *", datetime(2026, 12, 1, 2, tzinfo=UTC)),
    ],
)
def test_names_lists_ranges_and_steps_are_valid(cron: str, expected: datetime):
    check_cron(cron)
    assert next_time(cron, "UTC", datetime(2026, 11, 29, tzinfo=UTC)) == expected


@pytest.mark.parametrize("zone", ["Europe/Berln", "", "/etc/passwd", "../x"])
def test_a_zone_that_is_none_is_rejected(zone: str):
    with pytest.raises(ConfigError, match="IANA"):
        zone_of(zone)
