"""The reasons of real Python processes that fail in many ways."""

import subprocess
import sys

import pytest

from cli.run.failures import MAX_CHARACTERS, failure_reason

UNEXPECTED = "(unexpected error in the step)"


def reason(code: str) -> str:
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return failure_reason(ended.stdout + ended.stderr, ended.returncode)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import pyarrow as pa; pa.array(['x']).cast(pa.int64())", "ArrowInvalid: Failed to parse string: 'x' as a"),
        ("next(iter(()))", f"StopIteration: no message {UNEXPECTED}"),
        ("raise RuntimeError", f"RuntimeError: no message {UNEXPECTED}"),
        ("raise KeyboardInterrupt", f"KeyboardInterrupt: no message {UNEXPECTED}"),
        ("class Odd(Exception): pass\nraise Odd('x: y')", f"Odd: x: y {UNEXPECTED}"),
        ("def f():\n class Odd(Exception): pass\n raise Odd('deep')\nf()", f"Odd: deep {UNEXPECTED}"),
        ("class Fehlgeschlägen(Exception): pass\nraise Fehlgeschlägen('ä')", "Fehlgeschlägen: ä"),
        ("class E(Exception):\n def __str__(self): raise TypeError\nraise E", "E: <exception str() failed>"),
        ("try:\n 1/0\nexcept Exception as e:\n raise KeyError('x') from e", "KeyError: 'x'"),
        ("exec('a b')", "SyntaxError: invalid syntax"),
        ("raise ExceptionGroup('two', [ValueError('a'), KeyError('b')])", "ExceptionGroup: two (2 sub-exceptions)"),
        ("from toolchain.errors import DataError as E\nraise E('no file; check the path')", "no file; check the path"),
        ("from toolchain.errors import DataError as E\nraise E", f"DataError: no message {UNEXPECTED}"),
        ("raise SystemExit('bad words')", "exited with status 1 without a traceback; last line: bad words"),
        ("raise SystemExit(3)", "exited with status 3 without a traceback"),
        ("import os; os.abort()", "ended by SIGABRT (aborted)"),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL (possibly out of memory"),
        (
            "import faulthandler, ctypes; faulthandler.enable(); ctypes.string_at(0)",
            "ended by SIGSEGV (segmentation fault); last line: Fatal Python error: Segmentation fault",
        ),
    ],
)
def test_the_reason_is_the_last_line_of_the_traceback_or_the_signal(code: str, message: str):
    assert reason(code).startswith(message)


def test_errors_of_threads_and_finalizers_are_not_the_reason():
    thread = "import threading\nt = threading.Thread(target=lambda: 1/0); t.start(); t.join()\n"
    ignored = "class A:\n def __del__(self): raise OSError('gone')\na = A()\n"
    assert reason(f"{thread}{ignored}raise ValueError('the one')") == f"ValueError: the one {UNEXPECTED}"


def test_an_error_that_was_caught_and_logged_is_not_the_reason_of_a_kill():
    code = "import logging, os\ntry:\n 1/0\nexcept Exception: logging.exception('retried')\nos.kill(os.getpid(), 9)"
    assert reason(code).startswith("killed by SIGKILL")


def test_a_long_message_is_cut():
    lines = reason("raise ValueError('\\n'.join(map(str, range(20))))").splitlines()
    assert lines == [f"ValueError {UNEXPECTED}: 0", *"12345", "... (14 more lines in the log)"]
    assert len(reason("raise ValueError('x' * 5000)")) < MAX_CHARACTERS + 100


def test_an_error_of_the_toolchain_keeps_all_its_lines():
    code = "from toolchain.errors import DataError as E\nraise E('2 rules:\\nbalance: few\\n\\nleakage: rows 3, 7')"
    assert reason(code).splitlines() == ["2 rules:", "balance: few", "leakage: rows 3, 7"]


def test_a_progress_line_within_a_traceback_is_ignored():
    log = 'Traceback (most recent call last):\n  File "x.py", line 1\nprogress: train 3/10\nKeyError: 1\n'
    assert failure_reason(log, 1) == f"KeyError: 1 {UNEXPECTED}"


@pytest.mark.parametrize(("status", "signal"), [(137, "SIGKILL"), (-9, "SIGKILL"), (139, "SIGSEGV"), (-7, "SIGBUS")])
def test_a_signal_is_found_in_a_status_of_a_shell_and_of_python(status: int, signal: str):
    assert signal in failure_reason("progress: train 3/10\n", status)


@pytest.mark.parametrize("status", [1, 2, 255, None])
def test_a_step_without_a_signal_was_not_killed(status: int | None):
    assert "killed" not in failure_reason("", status)


def test_the_end_of_a_log_without_its_beginning_is_enough():
    assert failure_reason("toolchain.errors.DataError: no rows\n", 1) == "no rows"
