"""The summary of local servers after a change of the ledger, or of why they do not follow; deployments of pods."""

import json
from collections.abc import Callable

import pytest

from cli.__main__ import main
from cli.serving import promote as promoting
from cli.serving import targets
from cli.serving.targets import Local, PodOptions
from cli.settings import read_settings
from toolchain.errors import ConfigError
from toolchain.lifecycle.ledger import PROMOTED, SHADOW, Entry, Ledger, Line

SERVING = Entry(action=PROMOTED, version="2", digest="b" * 64, variant="fp32", verdict="accurate")
LEDGER = Ledger("words", (Line(1, SERVING, valid=True),))
OLD = {"name": "words", "version": "1", "digest": "a" * 64, "rejected": {}}
NEW = {"name": "words", "version": "2", "digest": "b" * 64, "rejected": {}}
Start = Callable[..., str]


@pytest.fixture
def start(answering: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Start:
    """Return a function that starts a server whose /readyz tells one thing after the other, the last one for good."""
    monkeypatch.setattr(targets, "UPDATE_TIMEOUT_S", 0.5)
    monkeypatch.setattr(targets, "POLL_INTERVAL_S", 0.01)
    return lambda *readiness: answering(200, *map(json.dumps, readiness))


def said_by(address: str, capsys: pytest.CaptureFixture[str]) -> str:
    Local(read_settings(), "/tmp/served", [address]).follow(LEDGER)
    return capsys.readouterr().out.strip()


def test_a_server_that_follows_is_waited_for(start: Start, capsys: pytest.CaptureFixture[str]):
    address = start(OLD, OLD, OLD, NEW)
    assert said_by(address, capsys) == f"{address} serves version 2 (digest {'b' * 12})"


@pytest.mark.parametrize(
    ("readiness", "end"),
    [
        (OLD, "still serves version 1 after 0.5 s: check whether it was started with an alias"),
        (
            {**OLD, "rejected": {"2": "it is not in the repository"}},
            "after 0.5 s: 2 is rejected: it is not in the repository",
        ),
        ({"detail": "the server is shutting down"}, "serves no version after 0.5 s: the server is shutting down"),
    ],
)
def test_one_that_does_not_is_reported_with_its_reason(
    readiness: dict, end: str, start: Start, capsys: pytest.CaptureFixture[str]
):
    assert end in said_by(start(readiness), capsys)


def test_a_server_is_waited_for_until_it_has_the_shadow(start: Start, capsys: pytest.CaptureFixture[str]):
    tried = Entry(action=SHADOW, version="3", digest="c" * 64, variant="fp32", verdict="accurate")
    known = Ledger("words", (*LEDGER.lines, Line(2, tried, valid=True)))
    both = {**NEW, "versions": {"stable": NEW, "shadow": {"version": "3", "digest": "c" * 64}}}
    address = start(NEW, NEW, both)
    Local(read_settings(), "/tmp/served", [address]).follow(known)
    output = f"{address} serves version 2 (digest {'b' * 12}), and version 3 as its shadow"
    assert capsys.readouterr().out.strip() == output


def test_a_server_of_another_model_is_not_waited_for(start: Start, capsys: pytest.CaptureFixture[str]):
    address = start({**OLD, "name": "others"})
    assert said_by(address, capsys) == f"{address} serves another model, others"


def test_where_nothing_responds_it_is_shown_how_to_start_one(capsys: pytest.CaptureFixture[str]):
    output = said_by("http://127.0.0.1:9", capsys)
    assert output == "no model server is running at http://127.0.0.1:9; to start one: toolchain serve words"


def test_options_that_are_not_given_leave_the_pods_as_they_are():
    assert targets.pod_options("", None, None, None) == PodOptions()
    assert targets.pod_options("large", 0, 5.0, True) == PodOptions("large", 0, 5.0, True)


def recorded(given: list[PodOptions]) -> Callable[..., dict[str, object]]:
    """Return a promotion that records the options of pods and does nothing else."""

    def promote(promotion: object, pods: PodOptions, *rest: object) -> dict[str, object]:
        given.append(pods)
        return {"action": "promote", "promoted": True}

    return promote


@pytest.mark.parametrize(
    ("argv", "size"),
    [([], ""), (["--resources", "large"], "large"), (["--resources", "small", "--gpus", "0"], "small")],
)
def test_the_command_passes_its_pod_options_on(argv: list[str], size: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TOOLCHAIN_RESOURCES", raising=False)
    given: list[PodOptions] = []
    monkeypatch.setattr(promoting, "promote", recorded(given))
    assert main(["promote", "m", *argv]) == 0
    assert given == [PodOptions(size, 0 if "--gpus" in argv else None)]


def test_the_environment_gives_the_size_of_pods_and_the_option_overrides_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TOOLCHAIN_RESOURCES", "small")
    given: list[PodOptions] = []
    monkeypatch.setattr(promoting, "promote", recorded(given))
    main(["promote", "m"])
    main(["promote", "m", "--resources", "large"])
    assert [pods.size for pods in given] == ["small", "large"]


def test_a_rollback_leaves_the_pods_as_they_are(monkeypatch: pytest.MonkeyPatch):
    given: list[object] = []

    def target(model, engine, servers, pods, settings):
        given.append(pods)
        raise ConfigError("enough")

    monkeypatch.setattr(promoting, "promotion_target", target)
    assert main(["rollback", "m"]) == 2
    assert given == [None]


def test_an_unknown_size_is_not_valid():
    with pytest.raises(ConfigError, match="'smal'"):
        targets.pod_options("smal", None, None, None)


@pytest.mark.parametrize("percent", ["-1", "101", "nan"])
def test_a_percent_of_samples_outside_0_to_100_is_not_valid(percent: str):
    with pytest.raises(ConfigError, match=f"--sample-percent is {percent}"):
        targets.pod_options("", None, float(percent), None)
