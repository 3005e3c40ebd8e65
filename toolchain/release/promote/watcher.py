"""The process that watches a canary: the signals that it receives, and the heartbeat that it publishes."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from toolchain.errors import ToolchainError
from toolchain.progress import say

NAP_SECONDS = 0.2  # until a signal is noticed
BEAT_SECONDS = 10.0  # between two heartbeats: servers wait for six of them


@contextmanager
def noted(signals: list[int]) -> Iterator[None]:
    """Note SIGINT and SIGTERM in ``signals`` while the block lasts; from the second on they interrupt as usual.

    An exception at any place could come between an entry and the knowledge of it, or get lost where Python ignores it.
    """

    def note(number: int, frame: FrameType | None) -> None:
        if signals:
            raise KeyboardInterrupt
        signals.append(number)

    if threading.current_thread() is not threading.main_thread():  # the only one that signals come to
        yield
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def beating(beat: Callable[[], object]) -> Iterator[None]:
    """Call ``beat`` again and again while the block lasts: in a thread, since storage that is away lets it wait."""
    ended = threading.Event()

    def work() -> None:
        while True:
            try:
                beat()
            except ToolchainError as error:
                say(f"servers may not hear that the canary is watched: {error}")
            if ended.wait(BEAT_SECONDS):
                return

    thread = threading.Thread(target=work, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(NAP_SECONDS)
