"""The real server program is started for a moment; what it says instead of starting is raised."""

from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.support.models import record, word_counter, write_model
from toolchain.artifacts.expected import Row
from toolchain.errors import ServiceError
from toolchain.lifecycle import trial_server

OTHERWISE = Row(text="good", scores=(0.9, 0.1))  # the model answers .27 and .73


@pytest.fixture
def words(tmp_path: Path) -> Callable[..., Path]:
    def write(*rows: Row) -> Path:
        model = write_model(tmp_path / "words", "text-classification", word_counter)
        record(model, list(rows))
        return model

    return write


def test_a_server_responds_within_the_block_and_is_gone_after_it(words: Callable[..., Path]):
    with trial_server.start_server(words(), "reviews", "7") as address:
        assert trial_server.request_json(f"{address}/readyz")["version"] == "7"
        assert (
            trial_server.request_json(f"{address}/predict", {"texts": ["good"]})["predictions"][0]["label"]
            == "positive"
        )
    with pytest.raises(OSError, match="refused"):
        urlopen(f"{address}/readyz")


def test_one_that_predicts_differently_than_recorded_will_do_only_where_that_is_reported(words: Callable[..., Path]):
    folder = words(OTHERWISE)
    with pytest.raises(ServiceError, match="not ready: "), trial_server.start_server(folder, "reviews", "7"):
        pytest.fail("it is not ready")
    with trial_server.start_server(folder, "reviews", "7", allow_unready=True) as address:
        assert trial_server.request_json(f"{address}/openapi.json")["info"]["version"] == "7"
        with pytest.raises(ServiceError, match="POST /predict returned 503: the model is not ready"):
            trial_server.request_json(f"{address}/predict", {"texts": ["good"]})


def test_what_the_program_shows_instead_of_starting_is_raised(tmp_path: Path):
    with (
        pytest.raises(ServiceError, match=r"^error: .*nowhere"),
        trial_server.start_server(tmp_path / "nowhere", "m", "1"),
    ):
        pytest.fail("there is no model")


def test_silence_is_reported():
    with pytest.raises(ServiceError, match=r"GET /readyz got no response: .*refused"):
        trial_server.request_json("http://127.0.0.1:9/readyz")
