"""The selection of a source's columns."""

import pytest

from toolchain.data.ingest.columns import MAX_NAMES, select_columns
from toolchain.errors import DataError

WIDE = ["text", "label", *(f"column_{number}" for number in range(100_000))]


@pytest.mark.timeout(20)  # minutes, if the time were quadratic in the number of columns
def test_selecting_all_of_many_columns_takes_linear_time() -> None:
    selection = select_columns(WIDE, "text", "label", ["*"], "wide.csv")
    assert selection.columns == WIDE


def test_error_names_only_the_first_of_many_columns() -> None:
    with pytest.raises(DataError, match=f"and {len(WIDE) - MAX_NAMES:,} more") as caught:
        select_columns(WIDE, "body", "label", [], "wide.csv")
    assert len(str(caught.value)) < 600


def test_two_columns_with_the_same_name_are_an_error() -> None:
    with pytest.raises(DataError, match="'label'"):
        select_columns(["text", "label", "label"], "text", "label", [], "twice.csv")
