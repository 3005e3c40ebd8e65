from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from cli.schedules.files import Schedule
from cli.schedules.reconcile import (
    ADD,
    ORPHAN,
    PAUSE,
    REMOVE,
    REPLACE,
    RESUME,
    SAME,
    Desired,
    RecurringRun,
    apply_change,
    compare,
    differs,
    newest,
)
from toolchain.errors import ServiceError

NIGHTLY = Desired(
    Schedule("nightly", "prepare", "0 2 * * *", "UTC"), "pipelineInfo: {}\n", {"source": "a"}, "0 0 2 * * *"
)
CURRENT = RecurringRun(
    id="r1",
    name="nightly",
    schedule="nightly",
    digest=NIGHTLY.digest,
    enabled=True,
    created="2026-11-01",
    cron=NIGHTLY.cron,
    concurrency="1",
    values={"source": "a"},
    images=frozenset(),
)
PAUSED = replace(NIGHTLY, schedule=replace(NIGHTLY.schedule, enabled=False))


class Recorder:
    """A server that records what is enabled or disabled."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bool]] = []

    def enable(self, schedule: str, enabled: bool) -> None:
        self.calls.append((schedule, enabled))


@pytest.mark.parametrize(
    ("desired", "current", "action"),
    [
        (NIGHTLY, {}, SAME),
        (NIGHTLY, {"digest": "another"}, REPLACE),
        (NIGHTLY, {"schedule": "other", "enabled": False}, ADD),
        (PAUSED, {}, PAUSE),
        (NIGHTLY, {"enabled": False}, RESUME),
    ],
)
def test_a_schedule_is_compared_with_its_newest_recurring_run(
    desired: Desired, current: Mapping[str, Any], action: str
):
    old = replace(CURRENT, id="r0", created="2026-10-01", enabled=False, digest="old")
    known = [old, replace(CURRENT, **current)] if current.get("schedule") is None else [replace(CURRENT, **current)]
    changes = compare([desired], known)
    assert [change.action for change in changes] == [action]
    assert differs(changes) == (action != SAME)


def test_a_recurring_run_without_a_schedule_is_removed_or_an_orphan():
    foreign = replace(CURRENT, id="r2", name="by hand", schedule="")
    changes = compare([], [CURRENT, foreign])
    assert [(change.action, change.name) for change in changes] == [(REMOVE, "nightly"), (ORPHAN, "by hand")]
    server = Recorder()
    for change in changes:
        apply_change(change, server)  # type: ignore[arg-type]
    assert server.calls == [("r1", False)], "an orphan stays as it is"


def test_pausing_changes_no_content():
    assert PAUSED.digest == NIGHTLY.digest
    assert replace(NIGHTLY, cron="0 0 3 * * *").digest != NIGHTLY.digest


def test_the_newest_recurring_run_counts():
    assert newest("nightly", [CURRENT, replace(CURRENT, id="r0", created="2026-10-01")]).id == "r1"
    with pytest.raises(ServiceError, match="weekly"):
        newest("weekly", [CURRENT])
