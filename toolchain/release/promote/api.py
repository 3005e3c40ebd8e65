"""API: what those who call the version that serves would lose by another one, by the OpenAPI documents of both."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from toolchain.compatibility import breaking_changes

SHOWN = 3  # changes in a sentence; `python -m pipelines openapi` tells them all
SHOWN_CHARACTERS = 160  # of one of them: hundreds of labels may be gone


@dataclass(frozen=True)
class Api:
    """The document of a version beside that of the version that serves."""

    sha256: str = ""  # of the version's document, "" when none was taken
    against: str = ""  # the number of the version that it was compared with, "" for none
    breaking: tuple[str, ...] = ()  # what changed for callers of that one, each as a clause

    @property
    def objection(self) -> str:
        """What speaks against the version, "" for nothing."""
        return f"it breaks callers of version {self.against}: {_listed(self.breaking)}" if self.breaking else ""


def compare(document: dict[str, Any], sha256: str, old: dict[str, Any] | None, against: str) -> Api:
    """Return how ``document`` compares with ``old``, that of version ``against``; None for nothing to compare with."""
    if old is None:
        return Api(sha256)
    return Api(sha256, against, tuple(change.told for change in breaking_changes(old, document)))


def _listed(changes: Sequence[str]) -> str:
    shown = [one if len(one) <= SHOWN_CHARACTERS else one[: SHOWN_CHARACTERS - 1] + "…" for one in changes[:SHOWN]]
    more = [f"and {len(changes) - SHOWN} more"] if len(changes) > SHOWN else []
    return ", ".join([*shown, *more])
