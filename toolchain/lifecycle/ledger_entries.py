"""Entries of a ledger: what one says, what makes it one of ours, and how it is read from MLflow."""

import json
import re
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from toolchain.artifacts.digest import sha256_of_json, short_digest
from toolchain.lifecycle.registry import TAG_ENTRY
from toolchain.lifecycle.routing import Target
from toolchain.services.mlflow import Version

TAG_SHA256 = "toolchain.sha256"  # of an entry, whose TAG_ENTRY is all that it says, as JSON: the digest of that
PROMOTED, ROLLED_BACK = "promoted", "rolled back"
CANARY, CANARY_ENDED = "canary", "canary ended"
SHADOW, SHADOW_ENDED = "shadow", "shadow ended"
APPROVED, REJECTED = "approved", "rejected"
DAMAGED = "damaged"  # the action of a line that is not an entry of ours; its reason says why
CHANGED = "it was changed after it was written"  # such a reason
SERVING = (PROMOTED, ROLLED_BACK, CANARY, CANARY_ENDED, SHADOW, SHADOW_ENDED)  # who is asked; the rest is said of one
TEXTS = ("version", "digest", "variant", "verdict", "reason", "overrode", "who", "previous", "key", "run")
DIGEST = re.compile(r"[0-9a-f]{64}")  # SHA-256
LAST_MILLISECOND = 253_402_300_799_999  # the end of the year 9999, the last that datetime holds


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One change of what serves, or one word on what may."""

    action: str  # one of SERVING, APPROVED or REJECTED
    version: str  # of the model: that serves from then on, is on trial or was; one of those approved or not
    digest: str  # of that version's files
    variant: str
    verdict: str  # the gate's, in words
    reason: str = ""  # a person's, or the canary's own; "" for none
    overrode: str = ""  # what spoke against it and was overridden by force, "" for nothing
    who: str = ""
    previous: str = ""  # the digest of the entry that this one follows, "" for the first
    when: int = field(default_factory=lambda: int(time.time() * 1000))  # milliseconds since 1970, UTC
    key: str = field(default_factory=lambda: uuid4().hex)  # tells two that say the same apart
    percent: float = 0.0  # of a canary: the share of requests that it answers, 0..100
    until: int = 0  # of a canary: when whoever watches it is done, milliseconds since 1970, UTC; later nobody watches
    run: str = ""  # of an approval: the run whose versions are meant, all of them

    def fault(self) -> str:
        """Return why no writer of ours can have made this entry, "" when one can."""
        for name in (*TEXTS, "action"):
            if not isinstance(getattr(self, name), str):
                return f"{name} is {getattr(self, name)!r}, not text"
        if self.action not in (*SERVING, APPROVED, REJECTED):
            return f"action is {self.action!r}, not one of {', '.join((*SERVING, APPROVED, REJECTED))}"
        if not (self.version.isdecimal() and self.version.isascii()):
            return f"version is {self.version!r}, not a number"
        if not DIGEST.fullmatch(self.digest):
            return f"digest is {self.digest!r}, not 64 hexadecimal digits"
        if not (_is_number(self.percent) and 0 <= self.percent <= 100):
            return f"percent is {self.percent!r}, not 0 to 100"
        times = {name: getattr(self, name) for name in ("when", "until")}
        wrong = (name for name, at in times.items() if type(at) is not int or not 0 <= at <= LAST_MILLISECOND)
        return next((f"{name} is {times[name]!r}, not milliseconds since 1970" for name in wrong), "")

    @property
    def said(self) -> dict[str, object]:
        """The fields as JSON; their digest is ``sha256``."""
        return asdict(self)

    @property
    def sha256(self) -> str:
        return sha256_of_json(self.said)

    def again(self, **said: Any) -> "Entry":
        """Return a new entry, of now, that is like this one but for ``said``."""
        return Entry(**{**asdict(self), "when": int(time.time() * 1000), "key": uuid4().hex, **said})

    @property
    def target(self) -> Target:
        return Target(version=self.version, digest=self.digest, variant=self.variant)

    @property
    def told(self) -> str:
        """What happened, in a line."""
        by = f" by {self.who}" if self.who else ""
        why = f": {self.reason}" if self.reason else ""
        what = f"version {self.version} ({self.variant}, digest {short_digest(self.digest)})"
        words = {ROLLED_BACK: "rolled back to", CANARY: f"gave {self.percent:g} % to the canary"}
        words |= {CANARY_ENDED: "ended the canary", SHADOW: "began the shadow", SHADOW_ENDED: "ended the shadow"}
        return f"{words.get(self.action, self.action)} {what}{by}{why}"


@dataclass(frozen=True)
class Line:
    """An entry where it stands in the ledger."""

    number: int  # from 1
    entry: Entry
    counts: bool  # False for one that lost against another

    @property
    def plain(self) -> dict[str, object]:
        """Everything in it, as JSON holds it."""
        at = datetime.fromtimestamp(self.entry.when / 1000, UTC).isoformat(timespec="milliseconds")
        said = {**self.entry.said, "when": at, "sha256": self.entry.sha256}
        return {"number": self.number, "counts": self.counts, **said}


def read_entry(version: Version) -> Entry:
    """Return what ``version`` says; an entry with the action DAMAGED when that is no entry or was changed."""
    try:
        entry = Entry(**json.loads(version.tags.get(TAG_ENTRY, "")))
        fault = entry.fault() or ("" if entry.sha256 == version.tags.get(TAG_SHA256) else CHANGED)
    except (ValueError, TypeError, RecursionError):
        fault = "it is not an entry"
    if not fault:
        return entry
    return Entry(action=DAMAGED, version="", digest="", variant="", verdict="", reason=fault, when=0, key="")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
