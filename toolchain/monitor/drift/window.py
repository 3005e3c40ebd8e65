"""Window: the newest rows that servers put aside of one version."""

import time
from dataclasses import dataclass, field
from typing import Any

from toolchain.errors import DataError
from toolchain.progress import say
from toolchain.services.samples import SUFFIX, Place, Subject, folder_of, parse

AHEAD_SECONDS = 300.0  # clocks of machines differ by less where they are kept at all


@dataclass
class Window:
    """Rows, the newest last."""

    rows: list[dict[str, Any]]
    damaged: list[str] = field(default_factory=list)  # files that were passed over
    foreign: list[str] = field(default_factory=list)  # files of another version in this one's folder, passed over
    ahead: int = 0  # rows that are dated later than now: a server's clock is wrong, or was set back
    others: list[str] = field(default_factory=list)  # where there is no row: versions that there are samples of

    def to_json(self) -> dict[str, Any]:
        times = [float(row["time"]) for row in self.rows]
        told = {"rows": len(self.rows), "from": min(times, default=None), "to": max(times, default=None)}
        return {**told, "damaged": self.damaged, "foreign": self.foreign, "ahead": self.ahead, "others": self.others}


def read_window(place: Place, subject: Subject, rows: int, hours: float = 0.0) -> Window:
    """Return the newest ``rows`` of ``subject``, no older than ``hours`` (0: however old).

    Raises:
        ServiceError: the place is away, or refuses.
    """
    now = time.time()
    oldest = now - hours * 3600 if hours else float("-inf")
    window = Window([])
    names = [file.name for file in place.files(_folder(subject)) if file.name.endswith(SUFFIX)]
    for name in sorted(names, reverse=True):
        found = _rows_of(place, name, subject, window)
        window.rows += [row for row in found if row["time"] >= oldest]
        if len(window.rows) >= rows or (found and max(row["time"] for row in found) < oldest):
            break
    window.rows = sorted(window.rows, key=lambda row: float(row["time"]))[-rows:]
    window.ahead = sum(row["time"] > now + AHEAD_SECONDS for row in window.rows)
    if not names:
        window.others = _others(place, subject)
    return window


def _rows_of(place: Place, name: str, subject: Subject, window: Window) -> list[dict[str, Any]]:
    """Return the rows of one file; [] for one that is damaged, foreign or gone since it was listed."""
    content = place.get(name)
    if content is None:
        return []
    try:
        owner, rows = parse(content, name)
        _check(rows, name)
    except DataError as error:
        say(f"{error}; it is passed over")
        window.damaged.append(name)
        return []
    if owner.digest != subject.digest:
        window.foreign.append(name)
        return []
    return rows


def _check(rows: list[dict[str, Any]], name: str) -> None:
    for row in rows:
        numbers = row.get("numbers")
        whole = isinstance(row.get("time"), int | float) and isinstance(row.get("label"), str)
        if not whole or not isinstance(numbers, dict) or not all(map(_is_number, numbers.values())):
            raise DataError(f"{name} holds a row without time, label or numbers")


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _others(place: Place, subject: Subject) -> list[str]:
    """Return the versions, by their digest's first digits, that there are samples of."""
    names = {file.name for file in place.files(subject.model) if file.name.endswith(SUFFIX)}
    return sorted({name.split("/")[-2] for name in names if name.count("/") >= 2})


def _folder(subject: Subject) -> str:
    return folder_of(subject.model, subject.digest)
