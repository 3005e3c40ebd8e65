import pytest

from toolchain.inference.requests import Limits, RequestError, check_rows


def test_a_list_within_the_limit_is_returned():
    assert check_rows(["a", "b"], Limits(rows=2), "/texts") == ["a", "b"]


@pytest.mark.parametrize(("rows", "message"), [("a", "a list"), ([], "at least one row"), ([1, 2, 3], "3 rows, 2 are")])
def test_another_value_is_rejected_with_its_pointer(rows: object, message: str):
    with pytest.raises(RequestError, match=message) as raised:
        check_rows(rows, Limits(rows=2), "/texts")
    assert raised.value.pointer == "/texts"
