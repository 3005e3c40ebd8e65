"""The promote process of a canary: it collects signals and publishes heartbeats."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from toolchain.errors import ToolchainError
from toolchain.progress import log_info

SIGNAL_POLL_S = 0.2  # between two checks for a signal
HEARTBEAT_INTERVAL_S = 10.0  # servers wait for six of them


@contextmanager
def collect_signals(signals: list[int]) -> Iterator[None]:
    """Append SIGINT and SIGTERM to ``signals`` inside the block; from the second on they interrupt as usual.

    An exception raised by a handler could come between a ledger entry and the knowledge of it.
    """

    def collect(number: int, frame: FrameType | None) -> None:
        if signals:
            raise KeyboardInterrupt
        signals.append(number)

    if threading.current_thread() is not threading.main_thread():  # only the main thread receives signals
        yield
        return
    before = {number: signal.signal(number, collect) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def send_heartbeats(beat: Callable[[], object]) -> Iterator[None]:
    """Call ``beat`` at intervals inside the block, in a thread, since unreachable storage may block it."""
    ended = threading.Event()

    def work() -> None:
        while True:
            try:
                beat()
            except ToolchainError as error:
                log_info(f"the canary's heartbeat was not published: {error}")
            if ended.wait(HEARTBEAT_INTERVAL_S):
                return

    thread = threading.Thread(target=work, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(SIGNAL_POLL_S)
