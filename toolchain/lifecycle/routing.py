"""Define the routing config: which versions of a model serve which share of its requests.

``routing.json`` is in the model repository, a folder or an S3 prefix, beside the folders of the versions, each named by
its digest. Versions are written first and routing.json last, so that it names complete folders only.
"""

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from string import hexdigits
from typing import Any

from toolchain.artifacts.digest import sha256_of_json
from toolchain.errors import ArtifactError, ConfigError

FORMAT = "toolchain.routing"
FILE = "routing.json"
HEARTBEAT = "heartbeat"  # beside it: whoever watches a canary writes another word there again and again
UNWATCHED_SECONDS = 60.0  # without a new heartbeat, after which servers give the canary nothing
DIGEST_DIGITS = 64  # of SHA-256, in hexadecimal
FRACTION_BITS = 53  # as many as a float holds: a fraction never rounds up to 1


@dataclass(frozen=True, kw_only=True)
class Target:
    """A version that may be asked."""

    version: str  # as the registry numbers it
    digest: str  # of the model; the name of its folder in the repository
    variant: str  # "fp32", "int8-dynamic", ...

    def __post_init__(self) -> None:
        if not self.version:
            raise ConfigError("a version is empty: give the registry's number")
        if len(self.digest) != DIGEST_DIGITS or not set(self.digest) <= set(hexdigits.lower()):
            raise ConfigError(f"the digest of version {self.version} is {self.digest!r}: give 64 hexadecimal digits")


@dataclass(frozen=True, kw_only=True)
class RoutingConfig:
    """Who answers. Raises ConfigError, naming the value, for what cannot be."""

    model: str  # the registered model's name
    stable: Target  # answers what the canary does not
    canary: Target | None = None  # on trial
    percent: float = 0.0  # 0..100, of requests that the canary answers
    shadow: Target | None = None  # is asked too; its answers nobody sees, they are compared
    entry: str = ""  # SHA-256 of the ledger's entry behind it, "" for none

    def __post_init__(self) -> None:
        if not self.model:
            raise ConfigError("the model's name is empty: give the registered one")
        if not 0 <= self.percent <= 100:
            raise ConfigError(f"percent is {self.percent}: give 0 to 100")
        object.__setattr__(self, "percent", float(self.percent))  # 10 and 10.0 are one document with one digest
        if self.percent and self.canary is None:
            raise ConfigError(f"percent is {self.percent}, but there is no canary to answer so much")
        digests = [target.digest for target in self.targets.values()]
        if len(set(digests)) < len(digests):
            raise ConfigError(f"stable, canary and shadow of {self.model} must differ: two have the same digest")

    @property
    def targets(self) -> dict[str, Target]:
        """Who is named, by role: "stable", "canary", "shadow"."""
        named = {"stable": self.stable, "canary": self.canary, "shadow": self.shadow}
        return {role: target for role, target in named.items() if target is not None}

    def goes_to_canary(self, request_id: str) -> bool:
        """Return whether the canary answers the request: the same on every server, and whatever the share grows to."""
        return fraction(self.model, request_id) < self.percent / 100


def fraction(model: str, request_id: str) -> float:
    """Return where a request falls in 0..1 (1 excluded), evenly: the first 53 bits of a SHA-256."""
    digest = sha256(f"{model}\0{request_id}".encode()).digest()
    return float(int.from_bytes(digest[:8]) >> (64 - FRACTION_BITS)) / float(1 << FRACTION_BITS)


def as_bytes(routing: RoutingConfig) -> bytes:
    """Return ``routing`` as the document in a repository holds it."""
    content = asdict(routing)
    value = {"format": FORMAT, "version": 1, "digest": sha256_of_json(content), **content}
    return (json.dumps(value, indent=1) + "\n").encode()


def parse(document: bytes, shown: str) -> RoutingConfig:
    """Return what ``document`` says; ``shown`` is where it was found, for errors.

    Raises:
        ArtifactError: it is no such document, is cut off, or was changed.
    """
    try:
        found = json.loads(document)
    except ValueError as error:
        raise ArtifactError(f"{shown} is damaged: it is not JSON; promote again") from error
    named = found.get("format") if isinstance(found, dict) else type(found).__name__
    if named != FORMAT:
        raise ArtifactError(f"{shown} describes {named!r}, not a {FORMAT}")
    try:
        routing = _routing(found)
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise ArtifactError(f"{shown} is damaged: {error}; promote again") from error
    if sha256_of_json(asdict(routing)) != found.get("digest"):
        raise ArtifactError(f"{shown} was changed after it was written; promote again")
    return routing


def _routing(found: dict[str, Any]) -> RoutingConfig:
    canary, shadow = (Target(**found[role]) if found[role] is not None else None for role in ("canary", "shadow"))
    return RoutingConfig(
        model=found["model"],
        stable=Target(**found["stable"]),
        canary=canary,
        percent=float(found["percent"]),
        shadow=shadow,
        entry=found["entry"],
    )
