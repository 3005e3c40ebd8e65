import pytest
from starlette.requests import Request

from toolchain.inference.requests import RequestError
from toolchain.serve.http.predict import _threshold, content_type, read_json, request_checked
from toolchain.serve.problems import Problem


def test_a_json_object_is_read():
    assert read_json(b'{"texts": ["s\xc3\xbc\xc3\x9f"]}') == {"texts": ["süß"]}


@pytest.mark.parametrize(
    ("content", "status"), [(b"", 400), (b'{"a": NaN}', 400), (b'{"a": "\xff"}', 400), (b"[]", 422), (b"3", 422)]
)
def test_another_body_is_not_valid(content: bytes, status: int):
    with pytest.raises(Problem) as caught:
        read_json(content)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("value", "expected"),
    [("application/json", "application/json"), ("Image/PNG; q=1", "image/png"), ("", "")],
)
def test_the_media_type_is_without_parameters(value: str, expected: str):
    headers = [(b"content-type", value.encode())] if value else []
    assert content_type(Request({"type": "http", "headers": headers})) == expected


@pytest.mark.parametrize("value", [True, "0.5", -0.1, 1.1, None])
def test_a_threshold_that_is_not_a_share_is_not_valid(value: object):
    with pytest.raises(Problem) as caught:
        _threshold(value)
    assert caught.value.pointer == "/threshold"
    assert _threshold(1) == 1.0


def test_a_value_that_is_not_valid_is_422_with_its_pointer():
    with pytest.raises(Problem) as caught, request_checked():
        raise RequestError("too long", "/texts/1")
    assert (caught.value.status, caught.value.pointer) == (422, "/texts/1")
