"""Child processes of tests."""

import signal


def listen_to_ctrl_c() -> None:
    """Undo what a shell does to commands in the background, where a test suite may run: it makes them ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
