import resource

import pytest

from toolchain.errors import ConfigError
from toolchain.serve.http.admission import RESERVED_CONNECTIONS, Admission, connections_within, raise_open_files_limit


class Connection:
    def __init__(self, is_busy: bool = False) -> None:
        self.is_busy, self.aborted = is_busy, False

    def abort(self) -> None:
        self.aborted = True


def test_beyond_the_reserve_the_oldest_idle_connection_is_closed():
    admission = Admission(1)
    first, second = Connection(is_busy=True), Connection()
    others = [Connection() for _ in range(RESERVED_CONNECTIONS - 2)]
    for connection in (first, second, *others):
        admission.add(connection)
    assert not any(one.aborted for one in (first, second, *others))
    admission.add(Connection())
    assert (first.aborted, second.aborted) == (False, True)


def test_a_connection_that_ended_makes_room():
    admission = Admission(1)
    connections = [Connection() for _ in range(RESERVED_CONNECTIONS)]
    for connection in connections:
        admission.add(connection)
    admission.remove(connections[3])
    admission.add(Connection())
    assert not any(one.aborted for one in connections)


@pytest.mark.parametrize(("open_files", "expected"), [(4096, 1024), (1000, 872), (129, 1)])
def test_connections_fit_the_limit_of_open_files(open_files: int, expected: int):
    assert connections_within(open_files, 1024, 1) == expected


def test_a_limit_without_room_is_named():
    with pytest.raises(ConfigError, match="is 128, at least 129"):
        connections_within(128, 1024, 1)
    with pytest.raises(ConfigError, match="at least 194"):
        connections_within(128, 1024, 2)


def test_the_soft_limit_of_open_files_becomes_the_hard_one():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        assert raise_open_files_limit() == hard
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
