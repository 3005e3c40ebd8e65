"""Test that the end of every request is found, in any pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.serve.http.framing import MAX_HEAD_BYTES, MAX_LINE_BYTES, Framing, FramingError, HeadTooLargeError

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n\r\n"
bodies = st.binary(max_size=60)


def chunked(parts: list[bytes], extension: bytes, trailers: int) -> bytes:
    """Return a body as RFC 9112 7.1 writes it."""
    chunks = b"".join(b"%X%s\r\n%s\r\n" % (len(part), extension, part) for part in parts if part)
    return chunks + b"0\r\n" + b"A: b\r\n" * trailers + b"\r\n"


def request_of(body: bytes | list[bytes], extension: bytes, trailers: int) -> tuple[bytes, int | None]:
    """Return a request, and the length of its body; None for one in chunks."""
    if isinstance(body, bytes):
        return HEAD + body, len(body)
    return HEAD + chunked(body, extension, trailers), None


requests = st.builds(
    request_of, bodies | st.lists(bodies, max_size=4), st.sampled_from([b"", b";a=b", b' ; a="b c"']), st.integers(0, 3)
)


def ends(content: bytes, lengths: list[int | None], cuts: list[int]) -> list[int]:
    """Return where each request in ``content`` ends, as Framing says when it comes in pieces."""
    framing, found, at, rest = Framing(), [], 0, b""
    for begin, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
        data, position = rest + content[begin:end], 0
        while position < len(data):
            in_head = framing.in_head
            part = framing.part_end(data, position)
            if part == position:
                break
            if in_head and not framing.in_head:
                framing.expect_body(lengths[len(found)])
            at, position = at + part - position, part
            if framing.done:
                found.append(at)
                framing.begin()
        rest = data[position:]
    assert not rest
    return found


@given(several=st.lists(requests, min_size=1, max_size=4), cuts=st.lists(st.integers(0, 900), max_size=6))
def test_requests_end_where_they_were_put_together_however_they_are_cut(
    several: list[tuple[bytes, int | None]], cuts: list[int]
):
    content = b"".join(request for request, _ in several)
    where = [sum(len(request) for request, _ in several[: count + 1]) for count in range(len(several))]
    within = sorted({cut for cut in cuts if 0 < cut < len(content)})
    assert ends(content, [length for _, length in several], within) == where


def in_chunks() -> Framing:
    framing = Framing()
    framing.part_end(HEAD, 0)
    framing.expect_body(None)
    return framing


SIZES = [b"zz\r", b"\r", b"-1\r", b"0x1\r", b"1", b"+1\r", b"1 a\r", b"1" * 99 + b"\r"]


@pytest.mark.parametrize("size", SIZES)
def test_a_malformed_chunk_line_is_rejected(size: bytes):
    with pytest.raises(FramingError):
        in_chunks().part_end(size + b"\n", 0)


def fed(framing: Framing, piece: bytes, bytes_: int) -> None:
    for _ in range(bytes_ // len(piece) + 1):
        framing.part_end(piece, 0)


@pytest.mark.parametrize("piece", [b"1;" + b"a" * 1000 + b"\r\n \r\n", b"1\r\n \r\n"])
def test_chunks_may_not_have_more_around_them_than_in_them(piece: bytes):
    with pytest.raises(HeadTooLargeError):
        fed(in_chunks(), piece, 4 * MAX_HEAD_BYTES)


def test_the_size_of_a_body_in_large_chunks_is_not_limited_here():
    framing = in_chunks()
    fed(framing, b"10000\r\n" + b" " * 65_536 + b"\r\n", 64 * 1024**2)  # the middleware limits it
    assert not framing.done


def test_endless_trailers_and_heads_are_rejected():
    framing = in_chunks()
    framing.part_end(b"0\r\n", 0)
    with pytest.raises(HeadTooLargeError):
        fed(framing, b"A: b\r\n", 2 * MAX_HEAD_BYTES)
    with pytest.raises(HeadTooLargeError):
        fed(Framing(), b"A: b\r\n", 2 * MAX_HEAD_BYTES)
    for framing in (in_chunks(), in_chunks()):
        with pytest.raises(HeadTooLargeError):
            framing.part_end(b"1;" + b"a" * MAX_LINE_BYTES, 0)
