import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.serve.http.content_encoding import MAX_MEMBERS, GzipDecoder, check_encoding
from toolchain.serve.problems import Problem

LIMIT = 1_000_000


@given(parts=st.lists(st.binary(max_size=200), min_size=1, max_size=4), cut=st.integers(1, 50))
def test_a_body_is_unpacked_however_it_is_cut(parts: list[bytes], cut: int):
    packed, decoder = b"".join(map(gzip.compress, parts)), GzipDecoder()
    pieces = [packed[at : at + cut] for at in range(0, len(packed), cut)]
    assert b"".join(decoder.decode(piece, LIMIT) for piece in pieces) == b"".join(parts)
    decoder.check_end()


def test_unpacking_stops_at_the_limit():
    assert GzipDecoder().decode(gzip.compress(b" " * LIMIT), 1000) == b" " * 1000


@pytest.mark.parametrize(
    "body",
    [b"text", gzip.compress(b"text")[:10] + b"\xff" * 20, gzip.compress(b"") * (MAX_MEMBERS + 1)],
    ids=["text", "damaged", "many members"],  # compressed bytes contain the time
)
def test_a_body_that_is_not_gzip_or_has_too_many_members_is_not_valid(body: bytes):
    with pytest.raises(Problem) as caught:
        GzipDecoder().decode(body, LIMIT)
    assert caught.value.status == 400


def test_a_body_that_is_cut_off_is_not_valid():
    decoder = GzipDecoder()
    decoder.decode(gzip.compress(b"text")[:-4], LIMIT)
    with pytest.raises(Problem):
        decoder.check_end()


@pytest.mark.parametrize(
    ("encoding", "valid"),
    [(b"", True), (b"gzip", True), (b" X-GZIP", True), (b"br", False), (b"gzip, gzip", False)],
)
def test_only_gzip_is_supported(encoding: bytes, valid: bool):
    if valid:
        check_encoding(encoding)
        return
    with pytest.raises(Problem) as caught:
        check_encoding(encoding)
    assert caught.value.status == 415
