"""Read the window: the newest rows that servers sampled from one version."""

import time
from dataclasses import dataclass, field
from typing import Any

from toolchain.errors import DataError
from toolchain.lifecycle.request_samples import SUFFIX, SampledVersion, SampleStore, parse, version_folder
from toolchain.progress import log_info

MAX_CLOCK_SKEW_S = 300.0  # between synchronized servers it is far less


@dataclass
class Window:
    """Rows, the newest last, and the files that were skipped."""

    rows: list[dict[str, Any]]
    damaged_files: list[str] = field(default_factory=list)
    other_version_files: list[str] = field(default_factory=list)  # in this version's folder
    future_rows: int = 0  # with a timestamp later than now: a server's clock is wrong, or was set back
    other_versions: list[str] = field(default_factory=list)  # with samples, listed when this version has none

    def to_json(self) -> dict[str, Any]:
        times = [float(row["time"]) for row in self.rows]
        return {
            "rows": len(self.rows),
            "from": min(times, default=None),
            "to": max(times, default=None),
            "damaged_files": self.damaged_files,
            "other_version_files": self.other_version_files,
            "future_rows": self.future_rows,
            "other_versions": self.other_versions,
        }


def read_window(storage: SampleStore, subject: SampledVersion, max_rows: int, max_hours: float = 0.0) -> Window:
    """Return the newest ``max_rows`` rows of ``subject``, none older than ``max_hours`` (0: no limit).

    Raises:
        ServiceError: the storage is not available.
    """
    now = time.time()
    oldest = now - max_hours * 3600 if max_hours else float("-inf")
    window = Window([])
    names = [file.name for file in storage.files(version_folder(subject.model, subject.digest))]
    names = sorted((name for name in names if name.endswith(SUFFIX)), reverse=True)
    for name in names:
        rows = _read_file(storage, name, subject, window)
        window.rows += [row for row in rows if row["time"] >= oldest]
        if len(window.rows) >= max_rows or (rows and max(row["time"] for row in rows) < oldest):
            break
    window.rows = sorted(window.rows, key=lambda row: float(row["time"]))[-max_rows:]
    window.future_rows = sum(row["time"] > now + MAX_CLOCK_SKEW_S for row in window.rows)
    if not names:
        window.other_versions = _sampled_versions(storage, subject.model)
    return window


def _read_file(storage: SampleStore, name: str, subject: SampledVersion, window: Window) -> list[dict[str, Any]]:
    """Return the rows of one file; [] if it is damaged, of another version, or was deleted since it was listed."""
    content = storage.get(name)
    if content is None:
        return []
    try:
        owner, rows = parse(content, name)
        _check(rows, name)
    except DataError as error:
        log_info(f"{error}; the file is skipped")
        window.damaged_files.append(name)
        return []
    if owner.digest != subject.digest:
        window.other_version_files.append(name)
        return []
    return rows


def _check(rows: list[dict[str, Any]], name: str) -> None:
    for row in rows:
        numbers = row.get("numbers")
        is_valid = isinstance(row.get("time"), int | float) and isinstance(row.get("label"), str)
        if not is_valid or not isinstance(numbers, dict) or not all(map(_is_number, numbers.values())):
            raise DataError(f"{name} has a row without a valid time, label or numbers")


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _sampled_versions(storage: SampleStore, model: str) -> list[str]:
    """Return the versions of ``model`` that have samples, by the first digits of their digests."""
    names = {file.name for file in storage.files(model) if file.name.endswith(SUFFIX)}
    return sorted({name.split("/")[-2] for name in names if name.count("/") >= 2})
