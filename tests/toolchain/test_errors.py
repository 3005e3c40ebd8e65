import pytest

from toolchain.errors import ServiceError, first_line


def test_the_secrets_of_a_uri_are_removed():
    assert "hunter2" not in str(ServiceError("mysql://user:hunter2@host/db is down"))


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("\n bad value\nTraceback"), "bad value"),
        (KeyError(), "KeyError"),
        (OSError("x" * 300), "x" * 200),
    ],
)
def test_first_line_is_short_and_never_empty(error: Exception, line: str):
    assert first_line(error) == line
