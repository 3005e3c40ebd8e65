"""The ledger is a chain that nobody can change unseen, and of two who promote at once one wins."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from toolchain.errors import ArtifactError, ConfigError, ConflictError
from toolchain.lifecycle import ledger
from toolchain.lifecycle.ledger import APPROVED, CANARY, CANARY_ENDED, PROMOTED, REJECTED, SHADOW, SHADOW_ENDED, Entry
from toolchain.services import mlflow_retry
from toolchain.services.mlflow import Tracker, Version
from toolchain.services.storage import s3

ROOT = Path(__file__).parents[3]
NUMBERS = count(1)  # of models: each test has its own
DIGESTS = {"1": "1" * 64, "2": "2" * 64, "3": "3" * 64}
PROMOTER = """
import sys
import time
from pathlib import Path
from toolchain.errors import ConflictError
from toolchain.lifecycle import ledger
from toolchain.lifecycle.ledger import PROMOTED, Entry
from toolchain.services.mlflow import Tracker

number, go = sys.argv[1], Path(sys.argv[2])
tracker = Tracker()
version = next(one for one in tracker.versions("words") if one.number == number)
for turn in range(int(sys.argv[3])):
    head = ledger.read(tracker, "words").head
    Path(f"{go}-{turn}-{number}").touch()
    while not all(Path(f"{go}-{turn}-{other}").exists() for other in "12"):
        time.sleep(0.001)  # until the other has read the same head
    digest = number * 64
    entry = Entry(action=PROMOTED, version=number, digest=digest, variant="fp32", verdict="accurate", previous=head)
    try:
        ledger.append(tracker, "words", version, entry)
        print("won", flush=True)
    except ConflictError:
        print("lost", flush=True)
    Path(f"{go}-{turn}-{number}-done").touch()
    while not all(Path(f"{go}-{turn}-{other}-done").exists() for other in "12"):
        time.sleep(0.001)  # before the next turn's head is read
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ledger") / "mlflow.db"


@pytest.fixture
def tracker(database: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    monkeypatch.delenv("TOOLCHAIN_BUCKET", raising=False)
    monkeypatch.setattr(mlflow_retry, "RETRY_INTERVAL_S", 0.0)
    return Tracker()


@pytest.fixture
def model(tracker: Tracker, request: pytest.FixtureRequest) -> str:
    """The name of a model of three versions that this test alone has."""
    name = f"{request.node.name[:60].partition('[')[0]}-{next(NUMBERS)}"
    register(tracker, name)
    return name


def register(tracker: Tracker, name: str) -> None:
    for digest in DIGESTS.values():
        run = tracker.create_run("any", "any", {})
        tracker.add_version(name, run, "variants/fp32", {"digest": digest, "variant": "fp32"}, "")


def version(tracker: Tracker, model: str, number: str) -> Version:
    return next(one for one in tracker.versions(model) if one.number == number)


def entry(number: str, previous: str, **said: str) -> Entry:
    told = {"reason": "", "user": "ann", **said}
    return Entry(
        action=PROMOTED,
        version=number,
        digest=DIGESTS[number],
        variant="fp32",
        verdict="accurate",
        previous=previous,
        **told,
    )


def promote(tracker: Tracker, model: str, *numbers: str) -> ledger.Ledger:
    found = ledger.read(tracker, model)
    for number in numbers:
        found = ledger.append(tracker, model, version(tracker, model, number), entry(number, found.head))
    return found


def test_nothing_was_promoted_yet(tracker: Tracker, model: str):
    found = ledger.read(tracker, model)
    assert (found.lines, found.head, found.promotions, found.serving) == ((), "", [], None)


def test_what_is_appended_is_read_back_whole_and_the_champion_follows(tracker: Tracker, model: str):
    first = entry("2", "", reason="better on “names”, ümlauts too", user="ann")
    done = ledger.append(tracker, model, version(tracker, model, "2"), first)
    assert [line.entry for line in done.lines] == [first]
    assert done.head == first.sha256
    assert tracker.aliases(model) == {"champion": "2"}
    plain = done.lines[0].as_dict
    assert (plain["number"], plain["valid"], plain["user"], plain["digest"]) == (1, True, "ann", DIGESTS["2"])
    assert json.loads(json.dumps(plain)) == plain
    (kept,) = tracker.versions(f"{model}.ledger")
    assert (kept.run, kept.path) == (version(tracker, model, "2").run, "variants/fp32"), "it leads to the files"


def test_rolling_back_goes_the_whole_way_and_never_forward_again(tracker: Tracker, model: str):
    promote(tracker, model, "1", "2", "3")
    for due in ("2", "1"):
        done = ledger.rollback(tracker, model, "it was slow", "bob")
        assert (done.version, tracker.aliases(model)["champion"]) == (due, due)
    with pytest.raises(ConfigError, match=f"{model} was serving before version 1"):
        ledger.rollback(tracker, model, "", "bob")
    actions = [(line.entry.action, line.entry.version, line.entry.user) for line in ledger.read(tracker, model).lines]
    assert actions == [
        ("promoted", "1", "ann"),
        ("promoted", "2", "ann"),
        ("promoted", "3", "ann"),
        ("rolled back", "2", "bob"),
        ("rolled back", "1", "bob"),
    ]


def test_a_rollback_skips_what_a_person_has_rejected(tracker: Tracker, model: str, capsys: pytest.CaptureFixture[str]):
    promote(tracker, model, "1", "2", "3")
    second = version(tracker, model, "2")
    tracker.tag_version(second, {"approval": "nightly-7"})
    ledger.record_approval(tracker, model, second, REJECTED, "nightly-7", "it is rude", "ann")
    assert ledger.rollback(tracker, model, "", "").version == "1"
    assert "skipping version 2 (rejected by ann: it is rude)" in capsys.readouterr().out
    assert [one.version for one in ledger.read(tracker, model).promotions] == ["1"]
    with pytest.raises(ConfigError, match="serving before version 1"):
        ledger.rollback(tracker, model, "", "")


def test_a_rollback_is_rejected_where_all_that_served_before_is_rejected(tracker: Tracker, model: str):
    promote(tracker, model, "1", "2")
    first = version(tracker, model, "1")
    tracker.tag_version(first, {"approval": "nightly-6"})
    ledger.record_approval(tracker, model, first, REJECTED, "nightly-6", "it is rude", "ann")
    with pytest.raises(ConfigError, match=r"version 1 \(rejected by ann: it is rude\); approve one"):
        ledger.rollback(tracker, model, "", "")
    ledger.record_approval(tracker, model, first, APPROVED, "nightly-6", "", "ann")
    assert ledger.rollback(tracker, model, "", "").version == "1"


def test_after_a_rollback_a_promotion_rolls_back_to_what_served_then(tracker: Tracker, model: str):
    promote(tracker, model, "1", "2")
    ledger.rollback(tracker, model, "", "")
    promote(tracker, model, "3")
    assert ledger.rollback(tracker, model, "", "").version == "1"


def test_nothing_is_rolled_back_where_nothing_was_promoted(tracker: Tracker, model: str):
    with pytest.raises(ConfigError, match="was serving"):
        ledger.rollback(tracker, model, "", "")


def test_what_served_before_must_still_be_there(tracker: Tracker, model: str):
    promote(tracker, model, "1", "2")
    tracker._client.delete_model_version(model, "1")
    with pytest.raises(ArtifactError, match=r"version 1 of .* .*missing"):
        ledger.rollback(tracker, model, "", "")
    assert tracker.aliases(model)["champion"] == "2"


def test_of_two_that_follow_the_same_entry_the_first_counts(tracker: Tracker, model: str):
    head = promote(tracker, model, "1").head
    ledger.append(tracker, model, version(tracker, model, "2"), entry("2", head, user="ann"))
    with pytest.raises(ConflictError, match=r"another user promoted version 2 .* by ann"):
        ledger.append(tracker, model, version(tracker, model, "3"), entry("3", head, user="bob"))
    found = ledger.read(tracker, model)
    assert [line.valid for line in found.lines] == [True, True, False]
    assert [one.version for one in found.promotions] == ["1", "2"]
    assert tracker.aliases(model)["champion"] == "2"
    assert promote(tracker, model, "3").promotions[-1].version == "3", "it goes on after the last that counts"


def test_a_request_that_was_sent_twice_counts_once(tracker: Tracker, model: str):
    same = entry("1", "")
    for _ in range(2):
        done = ledger.append(tracker, model, version(tracker, model, "1"), same)
    assert [line.valid for line in done.lines] == [True, False]
    assert len(done.promotions) == 1


def test_a_champion_that_was_moved_by_hand_is_set_right(tracker: Tracker, model: str):
    promote(tracker, model, "1")
    tracker.set_alias(model, "champion", "3")
    ledger.point_champion(tracker, model)
    assert tracker.aliases(model)["champion"] == "1"


def test_an_entry_that_was_changed_is_found(tracker: Tracker, model: str):
    promote(tracker, model, "1", "2")
    kept = tracker.versions(f"{model}.ledger")[0]
    said = json.loads(kept.tags[ledger.TAG_ENTRY])
    tracker.tag_version(kept, {ledger.TAG_ENTRY: json.dumps({**said, "user": "eve"})})
    with pytest.raises(ArtifactError, match=r"entry 1 of .*\.ledger"):
        ledger.read(tracker, model)
    forged = replace(Entry(**said), user="eve")
    changed = {ledger.TAG_ENTRY: json.dumps({**said, "user": "eve"}), ledger.TAG_SHA256: forged.sha256}
    tracker.tag_version(kept, changed)
    with pytest.raises(ArtifactError, match="entry 2"):
        ledger.read(tracker, model)


def test_an_entry_that_was_taken_out_is_found(tracker: Tracker, model: str):
    promote(tracker, model, "1", "2")
    tracker._client.delete_model_version(f"{model}.ledger", "1")
    with pytest.raises(ArtifactError, match="entry 1"):
        ledger.read(tracker, model)


def test_a_version_of_others_in_the_ledger_is_a_damaged_line_and_the_rest_is_read(tracker: Tracker, model: str):
    register(tracker, f"{model}.ledger")
    found = promote(tracker, model, "1", "2")
    lines = [(line.number, line.entry.action, line.valid) for line in found.lines]
    assert lines[:3] == [(number, "damaged", False) for number in (1, 2, 3)]
    assert lines[3:] == [(4, "promoted", True), (5, "promoted", True)]
    assert found.lines[0].entry.reason == "it is not an entry"
    assert json.loads(json.dumps(found.lines[0].as_dict))["action"] == "damaged"
    assert ledger.rollback(tracker, model, "", "").version == "1"


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"percent": 900}, "percent is 900, not 0 to 100"),
        ({"percent": True}, "percent is True"),
        ({"percent": float("nan")}, "percent is nan"),
        ({"version": "two"}, "version is 'two', not a number"),
        ({"version": 2}, "version is 2, not text"),
        ({"version": "²"}, "version is '²', not a number"),
        ({"digest": "1234"}, "digest is '1234', not 64 hexadecimal digits"),
        ({"action": "explode"}, "action is 'explode'"),
        ({"action": ["promoted"]}, r"action is \['promoted'\], not text"),
        ({"created_at": 10**18}, "created_at is 1000000000000000000, not milliseconds"),
        ({"created_at": "yesterday"}, "created_at is 'yesterday'"),
        ({"user": None}, "user is None, not text"),
        ({"watched_until": -1}, "watched_until is -1"),
    ],
)
def test_an_entry_that_no_writer_of_ours_makes_does_not_count(
    said: dict[str, Any], fault: str, tracker: Tracker, model: str
):
    head = promote(tracker, model, "1").head
    odd = replace(entry("2", head), **said)
    first = version(tracker, model, "2")
    tags = {ledger.TAG_ENTRY: json.dumps(odd.as_json), ledger.TAG_SHA256: odd.sha256}
    tracker.add_version(f"{model}.ledger", first.run, first.path, tags, "")
    found = promote(tracker, model, "3")
    assert [line.valid for line in found.lines] == [True, False, True]
    assert re.match(fault, found.lines[1].entry.reason)
    assert [one.version for one in found.promotions] == ["1", "3"]


def test_a_rollback_where_nothing_was_promoted_changes_nothing(tracker: Tracker, model: str):
    first = version(tracker, model, "1")
    odd = replace(entry("1", ""), action=ledger.ROLLED_BACK)
    tags = {ledger.TAG_ENTRY: json.dumps(odd.as_json), ledger.TAG_SHA256: odd.sha256}
    tracker.add_version(f"{model}.ledger", first.run, first.path, tags, "")
    assert ledger.read(tracker, model).serving is None
    assert promote(tracker, model, "2").serving.version == "2"


def test_a_changed_ledger_can_be_inspected(tracker: Tracker, model: str):
    promote(tracker, model, "1", "2")
    kept = tracker.versions(f"{model}.ledger")[1]
    said = json.loads(kept.tags[ledger.TAG_ENTRY])
    tracker.tag_version(kept, {ledger.TAG_ENTRY: json.dumps({**said, "user": "eve"})})
    found, fault = ledger.inspect(tracker, model)
    assert [line.entry.action for line in found.lines] == ["promoted", "damaged"]
    assert "entry 2" in fault
    with pytest.raises(ArtifactError, match="entry 2"):
        ledger.read(tracker, model)


def test_a_bucket_gets_a_copy_of_every_entry(
    tracker: Tracker, model: str, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
):
    promote(tracker, model, "1")  # before there was a bucket
    monkeypatch.setenv("TOOLCHAIN_BUCKET", s3_bucket)
    done = promote(tracker, model, "2")
    kept = s3.listing(f"s3://{s3_bucket}/ledger/{model}/")
    assert [json.loads(s3.content(one.uri)) for one in kept] == [line.as_dict for line in done.lines]
    ledger.mirror(done)
    assert s3.listing(f"s3://{s3_bucket}/ledger/{model}/") == kept, "nothing is written again"


def test_a_promotion_stands_although_its_copy_cannot_be_written(
    tracker: Tracker, model: str, s3_bucket: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("TOOLCHAIN_BUCKET", "nobody-made-it")
    assert len(promote(tracker, model, "1").lines) == 1
    assert "copy in S3" in capsys.readouterr().out
    assert tracker.aliases(model)["champion"] == "1"


def give(tracker: Tracker, model: str, number: str, percent: float) -> ledger.Ledger:
    """Let version ``number`` be a canary with ``percent`` of the requests."""
    head = ledger.read(tracker, model).head
    trial = replace(entry(number, head), action=CANARY, percent=percent, watched_until=2_000_000_000_000)
    return ledger.append(tracker, model, version(tracker, model, number), trial)


def test_a_canary_gets_its_share_and_the_champion_stays(tracker: Tracker, model: str):
    promote(tracker, model, "1")
    found = give(tracker, model, "2", 10)
    assert found.canary is not None
    assert found.canary.summary == f"gave 10 % to the canary version 2 (fp32, digest {'2' * 12}) by ann"
    routing = found.routing
    assert routing is not None
    assert (routing.stable.version, routing.canary.version, routing.percent) == ("1", "2", 10)  # type: ignore[union-attr]
    assert routing.entry == found.head
    assert found.lines[-1].as_dict["percent"] == 10
    assert found.lines[0].as_dict["percent"] == 0
    assert tracker.aliases(model) == {"champion": "1"}
    grown = give(tracker, model, "2", 50).routing
    assert grown is not None
    assert grown.percent == 50


def test_before_the_first_promotion_there_is_no_traffic(tracker: Tracker, model: str):
    assert ledger.read(tracker, model).routing is None


def test_rolling_back_ends_a_canary_and_leaves_what_is_stable(tracker: Tracker, model: str):
    promote(tracker, model, "1", "2")
    give(tracker, model, "3", 25)
    done = ledger.rollback(tracker, model, "", "bob")
    assert (done.action, done.version, done.reason, done.user) == (CANARY_ENDED, "3", "rolled back", "bob")
    found = ledger.read(tracker, model)
    assert found.canary is None
    assert found.routing is not None
    assert (found.routing.stable.version, found.routing.canary, found.routing.percent) == ("2", None, 0)
    assert ledger.rollback(tracker, model, "", "bob").version == "1", "and once more goes back further"


def test_a_promotion_ends_the_canary_that_it_promotes(tracker: Tracker, model: str):
    promote(tracker, model, "1")
    give(tracker, model, "2", 50)
    found = promote(tracker, model, "2")
    assert found.canary is None
    assert ledger.rollback(tracker, model, "", "").version == "1"


def test_where_no_canary_is_on_trial_none_is_ended(tracker: Tracker, model: str):
    with pytest.raises(ConfigError, match=r"no canary or shadow"):
        ledger.end_trial(tracker, promote(tracker, model, "1"), "", "")


def shadow(tracker: Tracker, model: str, number: str) -> ledger.Ledger:
    """Let version ``number`` be compared with what serves."""
    told = replace(entry(number, ledger.read(tracker, model).head), action=SHADOW)
    return ledger.append(tracker, model, version(tracker, model, number), told)


def test_a_shadow_is_in_the_traffic_and_gets_no_share(tracker: Tracker, model: str):
    promote(tracker, model, "1")
    found = shadow(tracker, model, "2")
    assert found.trial is not None
    assert found.trial.summary == f"started the shadow version 2 (fp32, digest {'2' * 12}) by ann"
    routing = found.routing
    assert routing is not None
    assert (routing.stable.version, routing.canary, routing.percent) == ("1", None, 0)
    assert (routing.shadow.version, routing.entry) == ("2", found.head)  # type: ignore[union-attr]
    assert (found.canary, found.serving.version) == (None, "1")  # type: ignore[union-attr]
    assert tracker.aliases(model) == {"champion": "1"}
    third = version(tracker, model, "3")
    ledger.record_approval(tracker, model, third, APPROVED, "nightly-7", "", "bob")
    assert ledger.read(tracker, model).routing.shadow.version == "2", "a word changes nothing"  # type: ignore[union-attr]


def test_rolling_back_ends_a_shadow_and_leaves_what_serves(tracker: Tracker, model: str):
    promote(tracker, model, "1", "2")
    shadow(tracker, model, "3")
    done = ledger.rollback(tracker, model, "", "bob")
    assert (done.action, done.version, done.reason, done.user) == (SHADOW_ENDED, "3", "rolled back", "bob")
    assert done.summary == f"ended the shadow version 3 (fp32, digest {'3' * 12}) by bob: rolled back"
    routing = ledger.read(tracker, model).routing
    assert routing is not None
    assert (routing.stable.version, routing.shadow) == ("2", None)
    assert ledger.rollback(tracker, model, "", "bob").version == "1", "and once more goes back further"


@pytest.mark.parametrize("number", ["2", "3"])
def test_a_promotion_or_a_canary_of_any_version_ends_the_shadow(tracker: Tracker, model: str, number: str):
    name = f"{model}-{number}"
    register(tracker, name)
    promote(tracker, name, "1")
    shadow(tracker, name, "2")
    routing = give(tracker, name, number, 10).routing
    assert routing is not None
    assert (routing.canary.version, routing.shadow) == (number, None)  # type: ignore[union-attr]
    shadow(tracker, name, "2")
    routing = promote(tracker, name, number).routing
    assert routing is not None
    assert (routing.stable.version, routing.canary, routing.shadow) == (number, None, None)


def test_a_shadow_replaces_another_and_a_canary(tracker: Tracker, model: str):
    promote(tracker, model, "1")
    give(tracker, model, "3", 10)
    for number in ("2", "3"):
        routing = shadow(tracker, model, number).routing
        assert routing is not None
        assert (routing.canary, routing.shadow.version) == (None, number)  # type: ignore[union-attr]


def test_a_shadow_that_is_rejected_is_ended(tracker: Tracker, model: str):
    promote(tracker, model, "1")
    second = version(tracker, model, "2")
    tracker.tag_version(second, {"approval": "nightly-7"})
    shadow(tracker, model, "2")
    ledger.record_approval(tracker, model, second, REJECTED, "nightly-7", "", "bob")
    last = ledger.read(tracker, model).lines[-1].entry
    assert (last.action, last.version, last.reason) == (SHADOW_ENDED, "2", "nightly-7 was rejected")


def test_of_two_canaries_at_once_the_first_counts(tracker: Tracker, model: str):
    head = promote(tracker, model, "1").head
    give(tracker, model, "2", 10)
    late = replace(entry("3", head), action=CANARY, percent=10)
    with pytest.raises(ConflictError, match=r"another user gave 10 % to the canary version 2"):
        ledger.append(tracker, model, version(tracker, model, "3"), late)
    assert ledger.read(tracker, model).canary.version == "2"  # type: ignore[union-attr]


def test_a_word_on_what_a_run_registered_changes_nothing_of_the_routing(tracker: Tracker, model: str):
    promote(tracker, model, "1")
    give(tracker, model, "2", 10)
    third = version(tracker, model, "3")
    assert ledger.read(tracker, model).approval_of("nightly-7") is None
    for action in (APPROVED, REJECTED):
        said = ledger.record_approval(tracker, model, third, action, "nightly-7", "looked at it", "bob")
        assert (said.action, said.version, said.reason, said.user) == (action, "3", "looked at it", "bob")
        assert ledger.read(tracker, model).approval_of("nightly-7") == said
    found = ledger.read(tracker, model)
    assert found.approval_of("nightly-8") is None
    assert (found.serving.version, found.canary.version) == ("1", "2")  # type: ignore[union-attr]


def test_a_canary_that_is_rejected_is_ended(tracker: Tracker, model: str):
    promote(tracker, model, "1")
    second = version(tracker, model, "2")
    tracker.tag_version(second, {"approval": "nightly-7"})
    give(tracker, model, "2", 10)
    ledger.record_approval(tracker, model, second, REJECTED, "nightly-7", "", "bob")
    last = ledger.read(tracker, model).lines[-1].entry
    assert (last.action, last.version, last.reason) == (CANARY_ENDED, "2", "nightly-7 was rejected")


@pytest.fixture
def mlflow_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of MLflow's own server on SQLite, with files handed on by it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["server", "--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db", "--host", "127.0.0.1"]
    words += ["--artifacts-destination", str(tmp_path / "files"), "--port", str(port), "--workers", "2"]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *words],
        env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            urlopen(f"{address}/health", timeout=2)
            break
        except OSError:
            time.sleep(0.2)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.delenv("TOOLCHAIN_BUCKET", raising=False)
    yield address
    os.killpg(process.pid, 15)
    process.wait(timeout=30)


@pytest.mark.slow
def test_of_two_processes_that_promote_at_once_exactly_one_wins_every_time(mlflow_server: str, tmp_path: Path):
    register(tracker := Tracker(), "words")
    turns = 5
    words = [sys.executable, "-c", PROMOTER]
    racing = [
        subprocess.Popen(
            [*words, number, str(tmp_path / "go"), str(turns)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for number in "12"
    ]
    said = [process.communicate(timeout=300)[0].split() for process in racing]
    assert [process.returncode for process in racing] == [0, 0]
    assert all(sorted(pair) == ["lost", "won"] for pair in zip(*said, strict=True)), said
    found = ledger.read(tracker, "words")
    assert sum(line.valid for line in found.lines) == turns
    winners = [str(1 + [one[turn] for one in said].index("won")) for turn in range(turns)]
    assert [one.version for one in found.promotions] == winners
    assert found.serving is not None
    assert tracker.aliases("words")["champion"] == found.serving.version
