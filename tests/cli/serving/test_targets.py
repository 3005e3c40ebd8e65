"""What servers of this machine say once the ledger has changed, or fail to say; what pods are told to be like."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.__main__ import parser
from cli.serving import targets
from cli.serving.targets import Here
from cli.settings import Settings, read_settings
from toolchain.errors import ConfigError
from toolchain.lifecycle.ledger import PROMOTED, SHADOW, Entry, Ledger, Line

SERVING = Entry(action=PROMOTED, version="2", digest="b" * 64, variant="fp32", verdict="accurate")
LEDGER = Ledger("words", (Line(1, SERVING, counts=True),))
OLD = {"name": "words", "version": "1", "digest": "a" * 64, "rejected": {}}
NEW = {"name": "words", "version": "2", "digest": "b" * 64, "rejected": {}}
Start = Callable[..., str]


@pytest.fixture
def start(answering: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Start:
    """Return a function that starts a server whose /readyz tells one thing after the other, the last one for good."""
    monkeypatch.setattr(targets, "SECONDS_TO_FOLLOW", 0.5)
    monkeypatch.setattr(targets, "SECONDS_BETWEEN_LOOKS", 0.01)
    return lambda *told: answering(200, *map(json.dumps, told))


def said_by(address: str, capsys: pytest.CaptureFixture[str]) -> str:
    Here(read_settings(), "/tmp/served", [address]).follow(LEDGER)
    return capsys.readouterr().out.strip()


def test_a_server_that_follows_is_waited_for(start: Start, capsys: pytest.CaptureFixture[str]):
    address = start(OLD, OLD, OLD, NEW)
    assert said_by(address, capsys) == f"{address} answers with version 2 (digest {'b' * 12})"


@pytest.mark.parametrize(
    ("told", "end"),
    [
        (OLD, "still answers with version 1 after 0.5 s: was it started with an alias, a version or another folder"),
        (
            {**OLD, "rejected": {"2": "it is not in the repository"}},
            "after 0.5 s: 2 is refused: it is not in the repository",
        ),
        ({"detail": "the server is shutting down"}, "answers with no version after 0.5 s: the server is shutting down"),
    ],
)
def test_one_that_does_not_is_told_with_its_reason(
    told: dict, end: str, start: Start, capsys: pytest.CaptureFixture[str]
):
    assert end in said_by(start(told), capsys)


def test_a_server_is_waited_for_until_it_has_the_shadow(start: Start, capsys: pytest.CaptureFixture[str]):
    tried = Entry(action=SHADOW, version="3", digest="c" * 64, variant="fp32", verdict="accurate")
    known = Ledger("words", (*LEDGER.lines, Line(2, tried, counts=True)))
    both = {**NEW, "versions": {"stable": NEW, "shadow": {"version": "3", "digest": "c" * 64}}}
    address = start(NEW, NEW, both)
    Here(read_settings(), "/tmp/served", [address]).follow(known)
    told = f"{address} answers with version 2 (digest {'b' * 12}), version 3 is its shadow"
    assert capsys.readouterr().out.strip() == told


def test_a_server_of_another_model_is_not_waited_for(start: Start, capsys: pytest.CaptureFixture[str]):
    address = start({**OLD, "name": "others"})
    assert said_by(address, capsys) == f"{address} serves another model, others"


def test_where_nothing_answers_it_is_said_how_to_start_one(capsys: pytest.CaptureFixture[str]):
    told = said_by("http://127.0.0.1:9", capsys)
    assert told == "no model server answers at http://127.0.0.1:9: python -m cli serve words starts one there"


def settings(resources: str = "") -> Settings:
    return Settings(Path("runs"), "", "", "", "sqlite:///runs/mlflow.db", resources=resources)


@pytest.mark.parametrize(
    ("words", "resources", "how"),
    [
        (["promote", "m"], "", {"size": "", "gpus": None, "sample_percent": None, "require_tokens": None}),
        (["promote", "m"], "small", {"size": "small", "gpus": None, "sample_percent": None, "require_tokens": None}),
        (
            ["promote", "m", "--resources", "large", "--gpus", "1"],
            "small",
            {"size": "large", "gpus": 1, "sample_percent": None, "require_tokens": None},
        ),
        (["promote", "m", "--gpus", "0"], "", {"size": "", "gpus": 0, "sample_percent": None, "require_tokens": None}),
        (
            ["promote", "m", "--sample-percent", "5"],
            "",
            {"size": "", "gpus": None, "sample_percent": 5.0, "require_tokens": None},
        ),
        (["rollback", "m"], "small", {"renewed": False}),
    ],
)
def test_a_promotion_says_how_pods_are_to_be_and_a_rollback_leaves_them(
    words: list[str], resources: str, how: dict[str, object]
):
    assert targets._how(parser().parse_args(words), settings(resources)) == how


def test_a_size_that_there_is_not_is_refused():
    with pytest.raises(ConfigError, match="'smal'"):
        targets._how(parser().parse_args(["promote", "m"]), settings("smal"))


@pytest.mark.parametrize("percent", ["-1", "101", "nan"])
def test_a_share_of_samples_that_is_none_is_refused(percent: str):
    with pytest.raises(ConfigError, match=f"--sample-percent is {percent}: give 0"):
        targets._how(parser().parse_args(["promote", "m", f"--sample-percent={percent}"]), settings())
