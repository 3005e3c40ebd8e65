import pytest

from pipelines.engine.local import error_in

OWN = """Traceback (most recent call last):
  File "x.py", line 1, in <module>
FileNotFoundError: [Errno 2] No such file or directory: 'a.csv'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "y.py", line 2, in run
toolchain.errors.DataError: there is no file a.csv; check the path
"""
FOREIGN = """Traceback (most recent call last):
  File "x.py", line 1, in <module>
KeyError: 'loss'
"""
SEVERAL_LINES = """Traceback (most recent call last):
toolchain.errors.DataError: 2 rules are broken:
balance: too few positive
leakage: rows 3, 7
"""


def test_our_own_error_is_told_in_its_own_words():
    assert error_in(OWN) == "there is no file a.csv; check the path"


def test_an_unexpected_error_is_told_with_its_type():
    assert error_in(FOREIGN) == "KeyError: 'loss' (not expected: a fault of the step)"


def test_an_error_of_several_lines_is_told_whole():
    assert error_in(SEVERAL_LINES).splitlines() == [
        "2 rules are broken:",
        "balance: too few positive",
        "leakage: rows 3, 7",
    ]


@pytest.mark.parametrize("log", ["", "progress: train 3/10\n"])
def test_a_killed_step_is_said_to_be_killed(log: str):
    assert "killed" in error_in(log)
