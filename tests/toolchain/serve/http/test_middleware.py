import asyncio

import pytest

from toolchain.serve.http.middleware import request_id, soon, too_large


@pytest.mark.parametrize("given", [b"an-id", b"!~", b"x" * 128])
def test_an_id_that_is_safe_in_a_log_is_kept(given: bytes):
    assert request_id({b"x-request-id": given}) == given.decode()


@pytest.mark.parametrize("given", [b"", b"two words", b"line\n", "süß".encode(), b"x" * 129])
def test_another_id_is_replaced(given: bytes):
    found = request_id({b"x-request-id": given})
    assert found != given.decode(errors="replace")
    assert len(found) == 32
    assert found != request_id({})


def test_what_happens_after_a_response_cannot_fail_it(capsys: pytest.CaptureFixture[str]):
    calls: list[str] = []

    def fail() -> None:
        calls.append("failed")
        raise ValueError("a text of a request")

    async def main() -> None:
        soon(fail)
        soon(lambda: calls.append("next"))
        assert calls == [], "the response goes first"
        await asyncio.sleep(0)

    asyncio.run(main())
    assert calls == ["failed", "next"]
    shown = capsys.readouterr().err
    assert "ValueError" in shown
    assert "a text of a request" not in shown


def test_the_limit_of_a_body_is_readable():
    assert "1,048,576 bytes" in too_large(1024**2)
