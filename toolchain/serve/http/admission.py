"""Admission: how many connections may be open, and what becomes of those that come when there are enough.

A connection beyond the limit is still accepted, because it may be a probe: it has a second to send one request, which
is answered when it is a probe and refused otherwise. When too many of these are open, the oldest is closed.
"""

import resource
from typing import Protocol

from toolchain.errors import ConfigError

RESERVED_CONNECTIONS = 64  # beyond the limit, for probes
RESERVED_FILES = 64  # for the model, its downloads, the event loop, the log
EXTRA_SECONDS = 1.0  # in which a connection beyond the limit must send its request


class Closable(Protocol):
    """A connection as this module sees it."""

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        ...

    def abort(self) -> None: ...


class Admission:
    """The connections that came when ``limit`` were open."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._extra: dict[Closable, None] = {}  # in the order in which they came

    def add(self, connection: Closable) -> None:
        """Take in a connection beyond the limit, and close the oldest such where there are too many."""
        self._extra[connection] = None
        if len(self._extra) > RESERVED_CONNECTIONS:
            oldest = next((one for one in self._extra if not one.busy), connection)
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
    """Return how many of the ``wanted`` connections each of ``listeners`` may have, given the limit of open files.

    Raises:
        ConfigError: there is room for none.
    """
    room = (open_files - RESERVED_FILES) // listeners - RESERVED_CONNECTIONS
    if room < 1:
        needed = (RESERVED_CONNECTIONS + 1) * listeners + RESERVED_FILES
        raise ConfigError(f"the limit of open files is {open_files}, at least {needed} are needed; raise `ulimit -n`")
    return min(wanted, room)
