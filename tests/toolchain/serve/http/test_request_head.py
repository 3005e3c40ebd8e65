import pytest

from toolchain.serve.http.request_head import body_length, check_version, origin_form
from toolchain.serve.problems import Problem

HOST = (b"host", b"a:80")


@pytest.mark.parametrize(
    ("headers", "version", "length"),
    [
        ([HOST], "1.1", 0),
        ([], "1.0", 0),
        ([HOST, (b"content-length", b" 12 ")], "1.1", 12),
        ([HOST, (b"transfer-encoding", b"Chunked")], "1.1", None),
    ],
)
def test_the_length_of_a_body(headers: list[tuple[bytes, bytes]], version: str, length: int | None):
    assert body_length(headers, version) == length


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 400),
        ([HOST, HOST], 400),
        ([(b"host", b"a b")], 400),
        ([HOST, (b"content-length", b"1"), (b"content-length", b"1")], 400),
        ([HOST, (b"content-length", b"+1")], 400),
        ([HOST, (b"content-length", b"1"), (b"transfer-encoding", b"chunked")], 400),
        ([HOST, (b"transfer-encoding", b"gzip, chunked")], 501),
    ],
)
def test_an_ambiguous_head_is_rejected(headers: list[tuple[bytes, bytes]], status: int):
    with pytest.raises(Problem) as caught:
        body_length(headers, "1.1")
    assert caught.value.status == status


def test_an_absolute_target_becomes_a_path_and_its_host_counts():
    headers = [HOST, (b"accept", b"*/*")]
    assert origin_form(b"http://[::1]:8080/predict?a=1", headers) == b"/predict?a=1"
    assert headers == [(b"accept", b"*/*"), (b"host", b"[::1]:8080")]
    assert origin_form(b"http://b", headers) == b"/"
    assert origin_form(b"/predict", [HOST]) == b"/predict"


@pytest.mark.parametrize("target", [b"predict", b"ftp://a/", b"http:///x", b"a:80"])
def test_another_target_is_rejected(target: bytes):
    with pytest.raises(Problem):
        origin_form(target, [HOST])


def test_other_versions_of_http_are_rejected():
    check_version("1.1")
    with pytest.raises(Problem) as caught:
        check_version("2.0")
    assert caught.value.status == 505
