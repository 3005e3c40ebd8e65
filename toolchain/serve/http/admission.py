"""Limit the number of open connections, and reserve some for probes.

A connection beyond the limit is accepted, because it may be a probe. It has a second to send one request, which gets
429 unless it is a probe. When the reserved connections are in use, the oldest is closed.
"""

import resource
from typing import Protocol

from toolchain.errors import ConfigError

RESERVED_CONNECTIONS = 64  # beyond the limit, for probes
RESERVED_FILES = 64  # for the model, its downloads, the event loop, the log
PROBE_TIMEOUT_S = 1.0  # for the request of a connection beyond the limit


class Closable(Protocol):
    """The part of a connection that this module uses."""

    @property
    def is_busy(self) -> bool:
        """Whether a request is in progress."""
        ...

    def abort(self) -> None: ...


class Admission:
    """The connections beyond ``limit``."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._extra: dict[Closable, None] = {}  # the oldest first

    def add(self, connection: Closable) -> None:
        """Add a connection beyond the limit; close the oldest one if there are too many."""
        self._extra[connection] = None
        if len(self._extra) > RESERVED_CONNECTIONS:
            oldest = next((one for one in self._extra if not one.is_busy), connection)
            self.remove(oldest)
            oldest.abort()

    def remove(self, connection: Closable) -> None:
        self._extra.pop(connection, None)


def raise_open_files_limit() -> int:
    """Raise the process's soft limit of open files to the hard limit, and return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def connections_within(open_files: int, wanted: int, listeners: int) -> int:
    """Return the connections per listener, at most ``wanted``, that the limit of ``open_files`` allows.

    Raises:
        ConfigError: it allows none.
    """
    room = (open_files - RESERVED_FILES) // listeners - RESERVED_CONNECTIONS
    if room < 1:
        needed = (RESERVED_CONNECTIONS + 1) * listeners + RESERVED_FILES
        raise ConfigError(f"the limit of open files is {open_files}, at least {needed} are needed; raise `ulimit -n`")
    return min(wanted, room)
