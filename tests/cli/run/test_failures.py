"""Real Python processes that end in every way, and what is said of each."""

import subprocess
import sys

import pytest

from cli.run.failures import MAX_CHARACTERS, reason_of

UNEXPECTED = "(unexpected error in the step)"


def reason(code: str) -> str:
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return reason_of(ended.stdout + ended.stderr, ended.returncode)


@pytest.mark.parametrize(
    ("code", "told"),
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
        ("raise SystemExit('bad words')", "it ended with exit status 1 without a traceback; its last line: bad words"),
        ("raise SystemExit(3)", "it ended with exit status 3 without a traceback"),
        ("import os; os.abort()", "it was ended by SIGABRT (aborted)"),
        ("import os; os.kill(os.getpid(), 9)", "it was killed by the system (SIGKILL): probably out of memory"),
        (
            "import faulthandler, ctypes; faulthandler.enable(); ctypes.string_at(0)",
            "it was ended by SIGSEGV (segmentation fault); its last line: Fatal Python error: Segmentation fault",
        ),
    ],
)
def test_the_tracebacks_last_line_or_the_signal_is_told(code: str, told: str):
    assert reason(code).startswith(told)


def test_what_is_raised_beside_the_error_is_not_taken_for_it():
    thread = "import threading\nt = threading.Thread(target=lambda: 1/0); t.start(); t.join()\n"
    ignored = "class A:\n def __del__(self): raise OSError('gone')\na = A()\n"
    assert reason(f"{thread}{ignored}raise ValueError('the one')") == f"ValueError: the one {UNEXPECTED}"


def test_an_error_that_was_caught_and_logged_is_not_taken_for_a_kill():
    code = "import logging, os\ntry:\n 1/0\nexcept Exception: logging.exception('retried')\nos.kill(os.getpid(), 9)"
    assert reason(code).startswith("it was killed by the system (SIGKILL)")


def test_a_long_message_is_cut_and_says_so():
    told = reason("raise ValueError('\\n'.join(map(str, range(20))))").splitlines()
    assert told == [f"ValueError {UNEXPECTED}: 0", *"12345", "... (14 more lines in the log)"]
    assert len(reason("raise ValueError('x' * 5000)")) < MAX_CHARACTERS + 100


def test_our_own_message_of_several_lines_is_told_whole():
    code = "from toolchain.errors import DataError as E\nraise E('2 rules:\\nbalance: few\\n\\nleakage: rows 3, 7')"
    assert reason(code).splitlines() == ["2 rules:", "balance: few", "leakage: rows 3, 7"]


def test_progress_that_another_process_prints_amid_a_traceback_is_no_error():
    log = 'Traceback (most recent call last):\n  File "x.py", line 1\nprogress: train 3/10\nKeyError: 1\n'
    assert reason_of(log, 1) == f"KeyError: 1 {UNEXPECTED}"


@pytest.mark.parametrize(("status", "signal"), [(137, "SIGKILL"), (-9, "SIGKILL"), (139, "SIGSEGV"), (-7, "SIGBUS")])
def test_a_signal_is_known_from_a_shells_status_and_from_pythons(status: int, signal: str):
    assert signal in reason_of("progress: train 3/10\n", status)


@pytest.mark.parametrize("status", [1, 2, 255, None])
def test_a_step_that_nobody_killed_is_not_said_to_be_killed(status: int | None):
    assert "killed" not in reason_of("", status)


def test_the_end_of_a_log_whose_beginning_is_lost_is_enough():
    assert reason_of("toolchain.errors.DataError: no rows\n", 1) == "no rows"
