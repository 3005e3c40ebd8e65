"""The rules of cleaning."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies

from cli.cleanup.retention import Item, digests_of, latest_runs, parse_age, reasons_to_keep
from toolchain.errors import ConfigError


@pytest.mark.parametrize(("text", "hours"), [("30d", 720), ("12h", 12), ("0d", 0), ("365d", 8760)])
def test_an_age_is_in_days_or_hours(text: str, hours: int):
    assert parse_age(text) == timedelta(hours=hours)


@pytest.mark.parametrize(
    "text", ["", "30", "-1d", "1.5d", "d", "30 days", "3m", "1d2h", "99999999999d", "900000h", "nan"]
)
def test_any_other_age_is_not_valid(text: str):
    with pytest.raises(ConfigError, match=r"--older-than is .*30d or 12h"):
        parse_age(text)


NOW = datetime.now(UTC)


@strategies.composite
def item_sets(draw: strategies.DrawFn) -> list[Item]:
    names = [str(number) for number in range(draw(strategies.integers(0, 8)))]
    return [
        Item(
            name,
            "run",
            1,
            NOW - timedelta(days=draw(strategies.integers(0, 60))),
            draw(strategies.sampled_from(["", "", "in progress"])),
            frozenset(draw(strategies.sets(strategies.sampled_from([*names, "unknown"])))),
        )
        for name in names
    ]


@given(item_sets())
def test_nothing_that_is_kept_lacks_what_it_needs_and_nothing_else_is_kept(items: list[Item]):
    oldest = NOW - timedelta(days=30)
    reasons = reasons_to_keep(items, oldest, "30d")
    known = {item.name: item for item in items}
    for item in items:
        reason = reasons.get(item.name)
        if item.keep_reason or item.changed > oldest:
            assert reason == (item.keep_reason or "younger than 30d")
        elif reason:
            needing = reason.removesuffix(" needs it")
            assert needing in reasons
            assert item.name in known[needing].dependencies
        assert reason is None or item.dependencies & known.keys() <= reasons.keys()


def test_the_last_one_is_named_once():
    newest_first = [("d", "p", False), ("c", "p", True), ("b", "q", True), ("a", "p", True)]
    assert latest_runs(newest_first) == {
        "d": "the last run of p",
        "c": "the last successful run of p",
        "b": "the last run of q",
    }


def test_the_digests_of_a_lineage_come_newest_first():
    lineage = [{"digest": "a"}, {"digest": "b"}]
    assert digests_of(json.dumps({"lineage": lineage}).encode()) == ["b", "a"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"lineage": 3}', '{"lineage": [1]}'])
def test_a_description_of_others_has_no_digests(text: str):
    assert digests_of(text.encode()) == []
