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
HEARTBEAT = "heartbeat"  # beside it: the canary's watcher changes its content at intervals
HEARTBEAT_TIMEOUT_S = 60.0  # without a new heartbeat, servers stop sending requests to the canary
DIGEST_DIGITS = 64  # of SHA-256, in hexadecimal
FRACTION_BITS = 53  # as many as a float holds: a fraction never rounds up to 1


@dataclass(frozen=True, kw_only=True)
class Target:
    """A version that requests are routed to."""

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
    """The versions of a model and their shares of the requests. Raises ConfigError for invalid values."""

    model: str  # the registered model's name
    stable: Target  # serves all requests but the canary's
    canary: Target | None = None  # on trial
    percent: float = 0.0  # the canary's share of the requests, 0..100
    shadow: Target | None = None  # its predictions are compared with the stable version's and not returned
    entry: str = ""  # SHA-256 of the ledger's last entry, "" for none

    def __post_init__(self) -> None:
        if not self.model:
            raise ConfigError("the model's name is empty: give the registered one")
        if not 0 <= self.percent <= 100:
            raise ConfigError(f"percent is {self.percent}: give 0 to 100")
        object.__setattr__(self, "percent", float(self.percent))  # 10 and 10.0 are one document with one digest
        if self.percent and self.canary is None:
            raise ConfigError(f"percent is {self.percent}, but there is no canary")
        digests = [target.digest for target in self.targets.values()]
        if len(set(digests)) < len(digests):
            raise ConfigError(f"stable, canary and shadow of {self.model} must differ: two have the same digest")

    @property
    def targets(self) -> dict[str, Target]:
        """The versions by role: "stable", "canary", "shadow"."""
        named = {"stable": self.stable, "canary": self.canary, "shadow": self.shadow}
        return {role: target for role, target in named.items() if target is not None}

    def goes_to_canary(self, request_id: str) -> bool:
        """Return whether the canary serves the request. All servers agree, and a growing share only adds requests."""
        return fraction(self.model, request_id) < self.percent / 100


def fraction(model: str, request_id: str) -> float:
    """Map a request uniformly to 0..1 (1 excluded): the first 53 bits of a SHA-256."""
    digest = sha256(f"{model}\0{request_id}".encode()).digest()
    return float(int.from_bytes(digest[:8]) >> (64 - FRACTION_BITS)) / float(1 << FRACTION_BITS)


def as_bytes(routing: RoutingConfig) -> bytes:
    """Return ``routing`` as the content of routing.json."""
    content = asdict(routing)
    value = {"format": FORMAT, "version": 1, "digest": sha256_of_json(content), **content}
    return (json.dumps(value, indent=1) + "\n").encode()


def parse(document: bytes, shown: str) -> RoutingConfig:
    """Return the routing config in ``document``; ``shown`` is its location, for errors.

    Raises:
        ArtifactError: it is not a routing config, is truncated, or was changed.
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
