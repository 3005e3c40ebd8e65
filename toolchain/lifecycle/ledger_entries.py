"""Define the entries of a ledger: their fields, their validity, and how they are read from MLflow."""

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

TAG_SHA256 = "toolchain.sha256"  # digest of the entry's JSON, which is in TAG_ENTRY
PROMOTED, ROLLED_BACK = "promoted", "rolled back"
CANARY, CANARY_ENDED = "canary", "canary ended"
SHADOW, SHADOW_ENDED = "shadow", "shadow ended"
APPROVED, REJECTED = "approved", "rejected"
DAMAGED = "damaged"  # the action of a line that is not a valid entry; its reason explains why
CHANGED = "it was changed after it was written"  # one such reason
SERVING = (PROMOTED, ROLLED_BACK, CANARY, CANARY_ENDED, SHADOW, SHADOW_ENDED)  # they change the routing
TEXTS = ("version", "digest", "variant", "verdict", "reason", "overridden", "user", "previous", "key", "run")
DIGEST = re.compile(r"[0-9a-f]{64}")  # SHA-256
LAST_MILLISECOND = 253_402_300_799_999  # the end of the year 9999, the last that datetime holds


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A change of the routing, or an approval or rejection of a version."""

    action: str  # one of SERVING, APPROVED or REJECTED
    version: str  # of the model: the one that the action is about
    digest: str  # of that version's files
    variant: str
    verdict: str  # the gate's, as a sentence
    reason: str = ""  # a user's, or the canary's; "" for none
    overridden: str = ""  # the objections that were overridden by force, "" for none
    user: str = ""
    previous: str = ""  # digest of the previous entry, "" for the first
    created_at: int = field(default_factory=lambda: int(time.time() * 1000))  # milliseconds since 1970, UTC
    key: str = field(default_factory=lambda: uuid4().hex)  # distinguishes entries with equal fields
    percent: float = 0.0  # of a canary: its share of the requests, 0..100
    watched_until: int = 0  # of a canary: its watcher finishes before, milliseconds since 1970, UTC
    run: str = ""  # of an approval: the run that registered the versions

    def fault(self) -> str:
        """Return why this toolchain cannot have written the entry, "" when it can."""
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
        times = {name: getattr(self, name) for name in ("created_at", "watched_until")}
        wrong = (name for name, at in times.items() if type(at) is not int or not 0 <= at <= LAST_MILLISECOND)
        return next((f"{name} is {times[name]!r}, not milliseconds since 1970" for name in wrong), "")

    @property
    def as_json(self) -> dict[str, object]:
        """The fields as JSON; their digest is ``sha256``."""
        return asdict(self)

    @property
    def sha256(self) -> str:
        return sha256_of_json(self.as_json)

    def renewed(self, **changes: Any) -> "Entry":
        """Return a copy of this entry, created now, with ``changes``."""
        return Entry(**{**asdict(self), "created_at": int(time.time() * 1000), "key": uuid4().hex, **changes})

    @property
    def target(self) -> Target:
        return Target(version=self.version, digest=self.digest, variant=self.variant)

    @property
    def summary(self) -> str:
        """The change as a clause, for logs."""
        by = f" by {self.user}" if self.user else ""
        why = f": {self.reason}" if self.reason else ""
        what = f"version {self.version} ({self.variant}, digest {short_digest(self.digest)})"
        verbs = {ROLLED_BACK: "rolled back to", CANARY: f"gave {self.percent:g} % to the canary"}
        verbs |= {CANARY_ENDED: "ended the canary", SHADOW: "started the shadow", SHADOW_ENDED: "ended the shadow"}
        return f"{verbs.get(self.action, self.action)} {what}{by}{why}"


@dataclass(frozen=True)
class Line:
    """An entry with its position in the ledger."""

    number: int  # from 1
    entry: Entry
    valid: bool  # False for a damaged or void entry

    @property
    def as_dict(self) -> dict[str, object]:
        """The line as JSON, with the time in ISO 8601."""
        at = datetime.fromtimestamp(self.entry.created_at / 1000, UTC).isoformat(timespec="milliseconds")
        fields = {**self.entry.as_json, "created_at": at, "sha256": self.entry.sha256}
        return {"number": self.number, "valid": self.valid, **fields}


def read_entry(version: Version) -> Entry:
    """Return the entry in ``version``, with the action DAMAGED when it is not an entry or was changed."""
    try:
        entry = Entry(**json.loads(version.tags.get(TAG_ENTRY, "")))
        fault = entry.fault() or ("" if entry.sha256 == version.tags.get(TAG_SHA256) else CHANGED)
    except (ValueError, TypeError, RecursionError):
        fault = "it is not an entry"
    if not fault:
        return entry
    return Entry(action=DAMAGED, version="", digest="", variant="", verdict="", reason=fault, created_at=0, key="")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
