"""Compare a version's API with that of the serving version, by their OpenAPI documents."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from toolchain.lifecycle.openapi_diff import breaking_changes

MAX_CHANGES = 3  # in a sentence; `toolchain openapi` lists all
MAX_CHANGE_CHARACTERS = 160  # of one change: it may name hundreds of labels


@dataclass(frozen=True)
class Api:
    """How a version's API compares with that of the serving version."""

    sha256: str = ""  # of the version's document, "" when there is none
    compared_with: str = ""  # number of the serving version, "" when there was none to compare with
    breaking: tuple[str, ...] = ()  # changes that break callers of the serving version, each a clause

    @property
    def objection(self) -> str:
        """Why the version should not be promoted, "" when nothing breaks."""
        return f"it breaks callers of version {self.compared_with}: {_list(self.breaking)}" if self.breaking else ""


def compare(document: dict[str, Any], sha256: str, old: dict[str, Any] | None, number: str) -> Api:
    """Return how ``document`` compares with ``old``, the document of version ``number``; None: nothing to compare."""
    if old is None:
        return Api(sha256)
    return Api(sha256, number, tuple(change.message for change in breaking_changes(old, document)))


def _list(changes: Sequence[str]) -> str:
    shown = [
        change if len(change) <= MAX_CHANGE_CHARACTERS else change[: MAX_CHANGE_CHARACTERS - 1] + "…"
        for change in changes[:MAX_CHANGES]
    ]
    more = [f"and {len(changes) - MAX_CHANGES} more"] if len(changes) > MAX_CHANGES else []
    return ", ".join([*shown, *more])
