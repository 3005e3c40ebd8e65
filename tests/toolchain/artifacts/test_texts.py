from datetime import date
from decimal import Decimal

import pyarrow as pa
import pytest

from toolchain.artifacts.texts import as_text
from toolchain.errors import DataError

NAN = float("nan")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array(["007", None]), ["007", None]),
        (pa.array(["a"], pa.large_string()), ["a"]),
        (pa.array(["a"], pa.string_view()), ["a"]),
        (pa.array([b"neg", None], pa.binary()), ["neg", None]),
        (pa.array([b"\xc3\xa9"], pa.large_binary()), ["é"]),
        (pa.array([b"ab"], pa.binary(2)), ["ab"]),
        (pa.array([b"k"]).dictionary_encode(), ["k"]),
        (pa.array([2**63 - 1, -1]), ["9223372036854775807", "-1"]),
        (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
        (pa.array([1.0, 1.5, NAN, None, -2.0]), ["1", "1.5", None, None, "-2"]),
        (pa.array([1.0, 0.5], pa.float16()), ["1", "0.5"]),
        (pa.array([0.1, 3.0], pa.float32()), ["0.1", "3"]),
        (pa.array([True, False]), ["true", "false"]),
        (pa.array([Decimal("1.10")]), ["1.10"]),
        (pa.array([date(2024, 2, 29)]), ["2024-02-29"]),
        (pa.array([None]), [None]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_values_of_any_type_are_their_text(values: pa.Array, expected: list[str | None]):
    found = as_text(values, "a column")
    assert found.type == pa.string()
    assert found.to_pylist() == expected


@pytest.mark.parametrize(
    "values",
    [
        pa.array([None, ["a"]]),
        pa.array([None, {"a": 1}]),
        pa.array([None, [("k", 1)]], pa.map_(pa.string(), pa.int64())),
        pa.array([b"a", b"\xff"]),
    ],
    ids=["list", "struct", "map", "bytes that are no text"],
)
def test_what_is_no_single_text_is_rejected_with_its_row(values: pa.Array):
    with pytest.raises(DataError, match=r"^a column.*row 8.*do this"):
        as_text(values, "a column", first=7, advice="do this")
