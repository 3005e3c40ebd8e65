"""A good canary is promoted; a bad one is ended, with the reason in the ledger.

The ledger, the model repository and the metrics are real. The servers are simulated: they read the repository and
count, in the server's own metrics, requests with random outcomes.
"""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from random import Random

import pytest

from tests.support.models import word_counter, write_model
from toolchain.artifacts.model import Model, open_model
from toolchain.errors import ConfigError, ServiceError
from toolchain.lifecycle import ledger, model_repository
from toolchain.lifecycle.ledger import CANARY, PROMOTED, Entry
from toolchain.lifecycle.routing import FILE, HEARTBEAT, parse
from toolchain.release.promote import canary, watcher
from toolchain.release.promote.canary import Plan, Trial, shares
from toolchain.release.promote.sequential import Hypotheses
from toolchain.serve.telemetry.exposition import Exposition
from toolchain.serve.telemetry.metrics import Metrics
from toolchain.services.mlflow import Tracker, Version

NUMBERS = count(1)  # of models: each test has its own
SHARE = partial(Hypotheses, alpha=0.001, beta=0.05)
PLAN = Plan(
    percents=(10, 50),
    minutes=1,
    failures=SHARE(good=0.001, bad=0.02),
    slow=SHARE(good=0.05, bad=0.15),
    disagreement=SHARE(good=0.1, bad=0.25),
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Model]:
    """Two models that differ in their files only."""
    folder = tmp_path_factory.mktemp("models")
    names = [write_model(folder / str(n), "text-classification", partial(word_counter, opset=15 + n)) for n in (1, 2)]
    return [open_model(name) for name in names]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('canary')}/mlflow.db"


@pytest.fixture
def tracker(database: str, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    monkeypatch.delenv("TOOLCHAIN_BUCKET", raising=False)
    monkeypatch.setattr(canary, "POLL_INTERVAL_S", 0.0)
    return Tracker()


@dataclass
class Server:
    """What a server counts of 400 requests between two polls."""

    model: str
    place: Path  # of the repository
    models: list[Model]
    failing: float = 0.0  # share of the canary's requests
    dying: float = 0.0  # share of the canary's requests on which the process dies; a new one counts from 0
    slow: float = 0.04  # share of requests that take 30 ms in place of 3, of both versions
    canary_slow: float = 0.04
    otherwise: float = 0.03
    requests: int = 400
    follows: bool = True
    refused: str = ""
    draw: Random = field(default_factory=lambda: Random(6))

    def __post_init__(self) -> None:
        self.began = 1000.0
        self._begin()

    def _begin(self) -> None:
        self.metrics = [Metrics(model, self.model, str(n), 0.002) for n, model in enumerate(self.models, 1)]
        self.began += 1

    def text(self) -> str:
        routing = parse((self.place / FILE).read_bytes(), str(self.place))
        percent = routing.percent if self.follows else 0.0
        for _ in range(self.requests):
            self._answer(percent)
        self.metrics[0].role("stable", 100 - percent)
        self.metrics[1].role("canary", percent)
        exposition = Exposition(self.model)
        exposition.rejected({"2": self.refused} if self.refused else {})
        lines = exposition.text(self.metrics if percent else self.metrics[:1]).decode().splitlines()
        kept = [line for line in lines if not line.startswith("process_start_time_seconds ")]
        return "\n".join([*kept, f"process_start_time_seconds {self.began}", ""])

    def _answer(self, percent: float) -> None:
        if self.draw.random() >= percent / 100:
            self.metrics[0].request("/predict", 200, 0.03 if self.draw.random() < self.slow else 0.003)
        elif self.draw.random() < self.dying:
            self._begin()
        elif self.draw.random() < self.failing:
            self.metrics[1].request("/predict", 500, 0.003)
        else:
            self.metrics[1].request("/predict", 200, 0.03 if self.draw.random() < self.canary_slow else 0.003)
            differs = self.draw.random() < self.otherwise
            self.metrics[1].compared("canary", matching=not differs, differing=differs)


Start = Callable[..., tuple[Trial, Server]]


@pytest.fixture
def start(tracker: Tracker, models: list[Model], tmp_path: Path) -> Start:
    """Return a function that lets version 1 of a new model serve, and gives a trial of version 2."""

    def make(plan: Plan = PLAN, **said: object) -> tuple[Trial, Server]:
        name, versions = f"words-{next(NUMBERS)}", []
        for model in models:
            run = tracker.create_run("any", "any", {})
            tracker.upload(run, model.path, "variants/fp32")
            tags = {"digest": model.digest, "variant": "fp32"}
            versions.append(tracker.add_version(name, run, "variants/fp32", tags, ""))
        ledger.append(tracker, name, versions[0], entry_of(versions[0], PROMOTED))
        publish = partial(model_repository.publish, tracker, name, str(tmp_path / "repository"))
        beat = partial(model_repository.write_heartbeat, str(tmp_path / "repository"))
        publish()
        server = Server(name, tmp_path / "repository", models, **said)  # type: ignore[arg-type]
        made = replace(entry_of(versions[1], CANARY), reason="better", user="ann")
        return Trial(tracker, name, versions[1], made, plan, publish, beat, lambda: {"a": server.text()}), server

    return make


def entry_of(version: Version, action: str) -> Entry:
    return Entry(
        action=action, version=version.number, digest=version.tags["digest"], variant="fp32", verdict="accurate"
    )


def actions(trial: Trial) -> list[tuple[str, float]]:
    return [(line.entry.action, line.entry.percent) for line in ledger.read(trial.tracker, trial.model).lines]


def in_repository(server: Server) -> tuple[str, float]:
    routing = parse((server.place / FILE).read_bytes(), "")
    return routing.stable.version, routing.percent


def test_a_good_canary_gets_growing_shares_and_is_promoted(start: Start, tracker: Tracker):
    trial, server = start()
    outcome = trial.run()
    assert (outcome.promoted, outcome.reason) == (True, "the canary passed at 10, 50 %")
    assert actions(trial) == [("promoted", 0), ("canary", 10), ("canary", 50), ("promoted", 0)]
    last = ledger.read(tracker, trial.model).lines[-1].entry
    assert (last.reason, last.user, last.sha256) == ("better; the canary passed at 10, 50 %", "ann", outcome.sha256)
    assert in_repository(server) == ("2", 0)
    assert tracker.aliases(trial.model) == {"champion": "2"}
    assert [stage["percent"] for stage in trial.stages] == [10, 50]
    assert all(stage["failures"]["trials"] >= 157 for stage in trial.stages)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"failing": 0.1}, r"\d+ of \d+ requests failed \(acceptable: 0.1%, too many: 2.0%\) \(at 10 %\)"),
        ({"canary_slow": 0.5}, r"\d+ of \d+ requests took over 0.00\d+ s, as 5% of the stable version's do"),
        ({"otherwise": 1.0}, r"\d+ of \d+ rows got another label than from the stable version"),
    ],
)
def test_a_bad_canary_is_ended(said: dict, reason: str, start: Start, tracker: Tracker):
    trial, server = start(**said)
    outcome = trial.run()
    assert not outcome.promoted
    assert re.match(reason, outcome.reason)
    last = ledger.read(tracker, trial.model).lines[-1].entry
    assert (last.action, last.version, last.reason) == ("canary ended", "2", outcome.reason)
    assert in_repository(server) == ("1", 0)
    assert tracker.aliases(trial.model) == {"champion": "1"}


@pytest.mark.parametrize("share", [0.02, 0.05, 0.2])
def test_a_restarted_server_rejects_the_canary(share: float, start: Start):
    trial, server = start(dying=share)
    outcome = trial.run()
    assert not outcome.promoted
    assert outcome.reason.startswith("a restarted during the canary")
    assert in_repository(server) == ("1", 0)


@pytest.mark.parametrize("expected", [None, {"a", "b"}], ids=["by address", "pods"])
def test_a_missing_server_ends_the_canary(expected: set[str] | None, start: Start, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(canary, "UNREACHABLE_TIMEOUT_S", 0.2)
    trial, server = start()
    first, polls = trial.scrape, count()
    trial.scrape = lambda: {**first(), **({"b": server.text()} if next(polls) < 3 else {})}
    trial.expected = lambda: expected
    assert trial.run().reason == "b did not respond for 0.2 s"


def test_a_replaced_pod_does_not_end_the_canary(start: Start, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(canary, "UNREACHABLE_TIMEOUT_S", 0.0)
    trial, server = start()
    first, polls = trial.scrape, count()
    trial.scrape = lambda: {**first(), ("old" if next(polls) < 3 else "new"): server.text()}
    trial.expected = lambda: {"a", "new"}
    assert trial.run().promoted


def test_a_canary_as_slow_as_the_stable_version_passes(start: Start):
    trial, _ = start(slow=0.6, canary_slow=0.6)
    assert trial.run().promoted


def test_too_few_requests_end_the_canary(start: Start):
    trial, server = start(replace(PLAN, minutes=0.005), requests=1)
    outcome = trial.run()
    assert not outcome.promoted
    assert "0.005 minutes at 10 % did not decide (failures 0 of" in outcome.reason
    assert "needs at least 157 requests" in outcome.reason
    assert in_repository(server) == ("1", 0)


def test_servers_that_do_not_apply_the_routing_end_the_canary(start: Start, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(canary, "ROLLOUT_TIMEOUT_S", 0.2)
    trial, server = start(follows=False, refused="not_found")
    reason = trial.run().reason
    assert reason == "servers did not apply the routing within 0.2 s: a routes 0 % and rejects the version (not_found)"
    assert in_repository(server) == ("1", 0)


def test_a_permanent_rejection_by_a_server_ends_the_canary(start: Start):
    trial, server = start(follows=False, refused="incompatible")
    assert trial.run().reason == "a rejects it: incompatible; see its log and /readyz"
    assert in_repository(server) == ("1", 0)


def silent() -> dict[str, str]:
    raise ServiceError("http://a does not respond")


def test_unreachable_servers_end_the_canary_after_a_timeout(start: Start, monkeypatch: pytest.MonkeyPatch):
    trial, server = start()
    texts, polls = trial.scrape, count()
    trial.scrape = lambda: silent() if next(polls) % 3 == 2 else texts()
    assert trial.run().promoted
    monkeypatch.setattr(canary, "UNREACHABLE_TIMEOUT_S", 0.05)
    trial, server = start()
    texts, polls = trial.scrape, count()
    trial.scrape = lambda: silent() if next(polls) > 3 else texts()
    assert trial.run().reason == "servers were unreachable for 0.05 s: http://a does not respond"
    assert in_repository(server) == ("1", 0)


def test_a_canary_does_not_start_without_a_server(start: Start):
    trial, _ = start()
    trial.scrape = silent
    with pytest.raises(ServiceError, match="does not respond"):
        trial.run()
    assert actions(trial) == [("promoted", 0)]


@pytest.mark.parametrize(
    ("fault", "error", "reason"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt, "the promote process was interrupted"),
        (RuntimeError("a fault of ours"), RuntimeError, "the promote process failed: a fault of ours"),
    ],
)
def test_an_interrupted_or_failing_process_ends_its_canary(
    fault: BaseException, error: type[BaseException], reason: str, start: Start, tracker: Tracker
):
    trial, server = start()
    texts, polls = trial.scrape, count()

    def fail() -> dict[str, str]:
        if next(polls) > 3:
            raise fault
        return dict(texts())

    trial.scrape = fail
    with pytest.raises(error):
        trial.run()
    last = ledger.read(tracker, trial.model).lines[-1].entry
    assert (last.action, last.reason) == ("canary ended", reason)
    assert in_repository(server) == ("1", 0)


@pytest.mark.parametrize("deed", ["rollback", "promote", "another"])
def test_a_concurrent_decision_wins(deed: str, start: Start, tracker: Tracker):
    trial, _ = start()
    texts, polls = trial.scrape, count()

    def meddle() -> dict[str, str]:
        if next(polls) == 3:
            head = ledger.read(tracker, trial.model).head
            if deed == "rollback":
                ledger.rollback(tracker, trial.model, "complaints", "bob")
            else:
                number = "2" if deed == "promote" else "1"
                version = next(one for one in tracker.versions(trial.model) if one.number == number)
                said = replace(entry_of(version, PROMOTED), previous=head, user="bob")
                ledger.append(tracker, trial.model, version, said)
        return dict(texts())

    trial.scrape = meddle
    outcome = trial.run()
    assert outcome.promoted == (deed == "promote")
    assert outcome.reason.startswith("another user ")
    assert " by bob" in outcome.reason
    assert len(actions(trial)) == 3, "nothing was added after that"


def test_an_approval_of_another_version_does_not_end_the_canary(start: Start, tracker: Tracker):
    trial, _ = start()
    texts, polls = trial.scrape, count()

    def speak() -> dict[str, str]:
        if next(polls) == 3:
            version = tracker.versions(trial.model)[0]
            ledger.record_approval(tracker, trial.model, version, ledger.APPROVED, "some-run", "", "bob")
        return dict(texts())

    trial.scrape = speak
    assert trial.run().promoted
    assert [action for action, _ in actions(trial)] == ["promoted", "canary", "approved", "canary", "promoted"]


def test_heartbeats_are_published_until_the_canary_ends(
    start: Start, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(watcher, "HEARTBEAT_INTERVAL_S", 0.01)
    trial, server = start()
    heartbeats, beat = list[bytes](), trial.beat

    def heard() -> None:
        if len(heartbeats) == 1:
            heartbeats.append(b"")
            raise ServiceError("S3 is away")
        beat()
        heartbeats.append((server.place / HEARTBEAT).read_bytes())

    trial.beat = heard
    assert trial.run().promoted
    told = [thread.name for thread in threading.enumerate()]
    assert "heartbeat" not in told
    assert len(heartbeats) > 3
    assert len(set(heartbeats)) == len(heartbeats), "each is another word"
    assert "the canary's heartbeat was not published: S3 is away" in capsys.readouterr().out


def test_entries_hold_the_end_of_watching(start: Start, tracker: Tracker):
    trial, _ = start()
    trial.run()
    first = ledger.read(tracker, trial.model).lines[1].entry
    assert 60 < first.watched_until / 1000 - time.time() < 60 + canary.ROLLOUT_TIMEOUT_S + canary.UNREACHABLE_TIMEOUT_S


def test_shares_grow_below_100():
    assert shares(10, [25, 50, 100]) == (10, 25, 50)
    assert shares(30, [25, 50]) == (30, 50)
    assert shares(5, [10, 10, 5]) == (5, 10)
    assert shares(100, [25]) == ()


@pytest.mark.parametrize("given", [(0, []), (101, []), (10, [0]), (10, [-5]), (float("nan"), [])])
def test_an_invalid_share_is_an_error(given: tuple):
    with pytest.raises(ConfigError, match="give more than 0, and 100 at most"):
        shares(*given)
