"""Test updates from a model repository: partial writes, damaged files, unavailable storage."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.support.models import LABELS, record, word_counter, write_model
from tests.support.versions import publish_versions, routing_of, target_of
from toolchain.artifacts.expected import Row
from toolchain.artifacts.model import open_model
from toolchain.errors import ConfigError, ServiceError, StorageFullError
from toolchain.lifecycle import model_repository
from toolchain.lifecycle.routing import FILE, RoutingConfig, Target, as_bytes
from toolchain.serve.settings import Settings
from toolchain.serve.versions import watcher
from toolchain.serve.versions.repository import NotFoundError, open_repository
from toolchain.serve.versions.watcher import VersionWatcher
from toolchain.services.storage import s3


class WatcherHarness:
    """A watcher that polls when a test calls it."""

    def __init__(self, repository: str, cache: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.watcher = VersionWatcher(
            Settings(model_repository=repository, cache=cache, workers=1, poll_interval=3600.0)
        )
        self.router = self.watcher.router
        self.watcher.start(self.loop)

    def look(self) -> None:
        self.watcher._poll()
        self.watcher._check_heartbeat()
        self.loop.run_until_complete(asyncio.sleep(0.2))  # in which who is replaced is closed, too

    @property
    def roles(self) -> dict[str, str]:
        return {role: served.version for role, served in self.router.roles.items()}

    @property
    def rejections(self) -> dict[str, str]:
        return {what: rejection.reason for what, rejection in self.router.rejected.items()}

    def end(self) -> None:
        self.watcher.stop()
        assert not self.watcher.is_busy(10)
        self.loop.run_until_complete(self.router.close())
        self.loop.close()


@pytest.fixture
def follow(tmp_path: Path) -> Iterator[Callable[..., WatcherHarness]]:
    started: list[WatcherHarness] = []

    def start(repository: Path | str) -> WatcherHarness:
        started.append(WatcherHarness(str(repository), tmp_path / "cache"))
        return started[-1]

    yield start
    for harness in started:
        harness.end()


@pytest.fixture
def repository(versions: dict[str, Path], tmp_path: Path) -> Path:
    """A repository on which version 1 is the stable one."""
    publish_versions(tmp_path / "reviews", routing_of(versions, "1"), versions)
    return tmp_path / "reviews"


def test_a_version_passes_from_canary_to_stable_without_being_loaded_again(
    follow: Callable[..., WatcherHarness],
    repository: Path,
    versions: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
):
    harness = follow(repository)
    assert harness.roles == {"stable": "1"}
    publish_versions(repository, routing_of(versions, "1", canary="2", percent=10, shadow="3"), versions)
    harness.look()
    assert harness.roles == {"stable": "1", "canary": "2", "shadow": "3"}
    assert "updated: reviews 1, fp32; 2, fp32, canary of 10 %; 3, fp32, shadow" in capsys.readouterr().out
    canary = harness.router.roles["canary"]
    publish_versions(repository, routing_of(versions, "2"), versions)
    harness.look()
    assert harness.roles == {"stable": "2"}
    assert harness.router.stable is canary
    harness.look()  # nothing is new: nothing happens
    assert capsys.readouterr().out.count("updated") == 1


@pytest.mark.parametrize("bucket", [False, True])
def test_a_canary_receives_requests_only_while_it_is_monitored(
    bucket: bool, follow: Callable[..., WatcherHarness], request: pytest.FixtureRequest, tmp_path: Path,
    versions: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    routing = routing_of(versions, "1", canary="2", percent=100)
    if bucket:
        place = publish(request.getfixturevalue("s3_bucket"), routing, versions)
    else:
        place = str(tmp_path / "reviews")
        publish_versions(tmp_path / "reviews", routing, versions)
    now = [1000.0]
    monkeypatch.setattr(watcher, "time", SimpleNamespace(monotonic=lambda: now[0]))
    harness = follow(place)

    def after(seconds: float) -> tuple[str, bool]:
        now[0] += seconds
        harness.look()
        return harness.router.choose("any").version, 'percent{model="reviews",model_version="2"' in shares(harness)

    def shares(harness: WatcherHarness) -> str:
        return "".join(line for line in harness.router.metrics(0).decode().splitlines() if line.endswith(" 100.0"))

    assert after(59) == ("2", True), "a promotion that wrote it a minute ago may be running"
    model_repository.write_heartbeat(place)
    assert after(50) == ("2", True), "so somebody is"
    assert after(61) == ("1", False), "that was the last heartbeat"
    assert after(1000) == ("1", False)
    model_repository.write_heartbeat(place)
    assert after(2) == ("2", True), "the trial goes on"
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "canary version 2 receives 0 %: its promotion has stopped",
        "canary version 2 receives 100 %",
    ]


def test_a_stable_version_needs_no_monitoring(
    follow: Callable[..., WatcherHarness], repository: Path, versions: dict[str, Path], monkeypatch: pytest.MonkeyPatch
):
    now = [1000.0]
    monkeypatch.setattr(watcher, "time", SimpleNamespace(monotonic=lambda: now[0]))
    publish_versions(repository, routing_of(versions, "1", canary="2", percent=100), versions)
    harness = follow(repository)
    now[0] += 61
    harness.look()
    publish_versions(repository, routing_of(versions, "2"), versions)
    for _ in range(2):
        harness.look()
        assert harness.router.choose("any").version == "2"
        now[0] += 61


def damage(folder: Path) -> None:
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:-1])


def answer_otherwise(folder: Path) -> None:
    record(folder, [Row(text="good", scores=(0.9, 0.1))])


def remove_a_file(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (shutil.rmtree, "not_found"),
        (remove_a_file, "damaged"),
        (damage, "damaged"),
        (answer_otherwise, "parity_mismatch"),
    ],
)
def test_a_rejected_version_is_reported_and_loaded_once_it_is_repaired(
    change: Callable[[Path], None], kind: str, follow: Callable[..., WatcherHarness], repository: Path,
    versions: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    harness = follow(repository)
    publish_versions(repository, routing_of(versions, "2"), versions)
    folder = repository / target_of(versions, "2").digest
    change(folder)
    harness.look()
    assert harness.roles == {"stable": "1"}
    assert harness.rejections == {"2": kind}
    harness.look()
    assert capsys.readouterr().err.count("rejected: 2: ") == 1  # logged once, and not retried at each poll
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(versions["2"], folder)
    harness.look()
    assert harness.roles == {"stable": "1"}
    monkeypatch.setattr(watcher, "RETRY_INTERVAL_S", 0.0)
    harness.look()
    assert harness.roles == {"stable": "2"}
    assert harness.rejections == {}


def test_a_canary_that_cannot_be_taken_leaves_all_requests_to_the_stable_version(
    follow: Callable[..., WatcherHarness], repository: Path, versions: dict[str, Path]
):
    harness = follow(repository)
    publish_versions(repository, routing_of(versions, "2", canary="3", percent=50), versions)
    damage(repository / target_of(versions, "3").digest)
    harness.look()
    assert harness.roles == {"stable": "2"}
    assert harness.rejections == {"3": "damaged"}
    assert {harness.router.choose(str(place)).version for place in range(50)} == {"2"}


@pytest.mark.parametrize("document", [b"", b"{}", b"cut off"])
def test_a_damaged_routing_config_changes_nothing_until_it_is_repaired(
    document: bytes, follow: Callable[..., WatcherHarness], repository: Path, versions: dict[str, Path]
):
    harness = follow(repository)
    (repository / FILE).write_bytes(document)
    harness.look()
    assert (harness.roles, harness.rejections) == ({"stable": "1"}, {FILE: "invalid_config"})
    (repository / FILE).unlink()
    harness.look()
    assert (harness.roles, harness.rejections) == ({"stable": "1"}, {FILE: "not_found"})
    publish_versions(repository, routing_of(versions, "1"), versions)
    harness.look()
    assert (harness.roles, harness.rejections) == ({"stable": "1"}, {})


def test_a_routing_config_of_another_model_and_a_version_for_another_task_are_rejected(
    follow: Callable[..., WatcherHarness], repository: Path, versions: dict[str, Path], tmp_path: Path
):
    harness = follow(repository)
    publish_versions(repository, replace(routing_of(versions, "2"), model="other"), versions)
    harness.look()
    assert harness.rejections == {FILE: "invalid_config"}
    renamed = write_model(tmp_path / "renamed", "text-classification", word_counter, LABELS[::-1])
    other = Target(version="9", digest=open_model(renamed).digest, variant="fp32")
    routing = replace(routing_of(versions, "1"), canary=other, percent=5.0)
    publish_versions(repository, routing, {**versions, "9": renamed})
    harness.look()
    assert (harness.roles, harness.rejections) == ({"stable": "1"}, {"9": "incompatible"})


def test_files_under_another_digest_are_rejected(
    follow: Callable[..., WatcherHarness], repository: Path, versions: dict[str, Path]
):
    harness = follow(repository)
    shutil.copytree(versions["3"], repository / target_of(versions, "2").digest)
    publish_versions(repository, routing_of(versions, "2"), versions)
    harness.look()
    assert harness.rejections == {"2": "damaged"}


def test_a_model_repository_that_is_empty_at_the_start_is_an_error_and_a_damaged_one_is_waited_for(
    follow: Callable[..., WatcherHarness], versions: dict[str, Path], tmp_path: Path
):
    with pytest.raises(NotFoundError, match=r"has no routing\.json; promote a model first"):
        follow(tmp_path / "nowhere")
    empty = tmp_path / "reviews"
    publish_versions(empty, routing_of(versions, "1"), versions)
    damage(empty / target_of(versions, "1").digest)
    harness = follow(empty)
    assert "its files are damaged" in harness.router.not_ready_reason
    publish_versions(empty, routing_of(versions, "2"), versions)
    harness.look()
    assert harness.roles == {"stable": "2"}
    assert harness.router.not_ready_reason == ""


def test_an_unexpected_error_does_not_end_the_polling(
    follow: Callable[..., WatcherHarness], repository: Path, versions: dict[str, Path], monkeypatch: pytest.MonkeyPatch
):
    harness = follow(repository)

    def fail(settings: Settings) -> Any:
        raise RuntimeError("private")

    with monkeypatch.context() as patch:
        patch.setattr(watcher, "load", fail)
        publish_versions(repository, routing_of(versions, "2"), versions)
        harness.look()
    assert harness.rejections == {"2": "load_failed"}
    publish_versions(repository, routing_of(versions, "3"), versions)
    harness.look()
    assert harness.roles == {"stable": "3"}


# --- S3 ---


def publish(bucket: str, routing: RoutingConfig, versions: dict[str, Path]) -> str:
    client, prefix = s3.client(), "served/reviews/"
    for target in routing.targets.values():
        for file in versions[target.version].iterdir():
            client.put_object(Bucket=bucket, Key=f"{prefix}{target.digest}/{file.name}", Body=file.read_bytes())
    client.put_object(Bucket=bucket, Key=prefix + FILE, Body=as_bytes(routing))
    return f"s3://{bucket}/{prefix}"


def test_a_model_repository_in_s3_is_followed_and_a_start_without_s3_serves_what_was_fetched(
    follow: Callable[..., WatcherHarness], s3_bucket: str, versions: dict[str, Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    uri = publish(s3_bucket, routing_of(versions, "1"), versions)
    harness = follow(uri)
    assert harness.roles == {"stable": "1"}
    publish(s3_bucket, routing_of(versions, "2", canary="3", percent=10), versions)
    harness.look()
    publish(s3_bucket, routing_of(versions, "3"), versions)
    harness.look()
    assert harness.roles == {"stable": "3"}
    (kept_in,) = (tmp_path / "cache").iterdir()
    kept = {path.name for path in kept_in.iterdir()}
    assert kept == {FILE, *(target_of(versions, number).digest for number in "23")}  # and no more the first
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    again = follow(uri)
    assert again.roles == {"stable": "3"}
    assert again.router.name == "reviews"
    again.look()
    assert capsys.readouterr().err.count("serving the cached versions") == 1


def test_with_s3_away_and_nothing_fetched_the_server_waits(
    follow: Callable[..., WatcherHarness], s3_bucket: str, s3_server: str, versions: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    uri = publish(s3_bucket, routing_of(versions, "1"), versions)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    harness = follow(uri)
    assert harness.rejections == {FILE: "unavailable"}
    assert "the model repository is unavailable" in harness.router.not_ready_reason
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    harness.watcher._repository = open_repository(harness.watcher._settings)
    harness.look()
    assert harness.roles == {"stable": "1"}


def test_losing_s3_changes_nothing(
    follow: Callable[..., WatcherHarness], s3_bucket: str, versions: dict[str, Path], monkeypatch: pytest.MonkeyPatch
):
    harness = follow(publish(s3_bucket, routing_of(versions, "1"), versions))

    def away(self: object) -> bytes:
        raise ServiceError("S3 is away")

    with monkeypatch.context() as patch:
        patch.setattr(s3.PolledFile, "content", away)
        harness.look()
        assert (harness.roles, harness.rejections) == ({"stable": "1"}, {FILE: "unavailable"})
    harness.look()
    assert (harness.roles, harness.rejections) == ({"stable": "1"}, {})


def test_an_incomplete_folder_in_s3_is_rejected_and_downloaded_again_later(
    follow: Callable[..., WatcherHarness], s3_bucket: str, versions: dict[str, Path], monkeypatch: pytest.MonkeyPatch
):
    uri = publish(s3_bucket, routing_of(versions, "1"), versions)
    harness = follow(uri)
    routing = routing_of(versions, "2")
    digest = routing.stable.digest
    s3.write(as_bytes(routing), uri + FILE)
    harness.look()
    assert harness.rejections == {"2": "not_found"}
    s3.upload(versions["2"] / "model.json", f"{uri}{digest}/model.json", shown=False)
    monkeypatch.setattr(watcher, "RETRY_INTERVAL_S", 0.0)
    harness.look()
    assert harness.rejections == {"2": "damaged"}
    publish(s3_bucket, routing, versions)
    harness.look()
    assert (harness.roles, harness.rejections) == ({"stable": "2"}, {})


def test_on_a_full_disk_the_version_is_rejected_and_the_server_keeps_serving(
    follow: Callable[..., WatcherHarness], s3_bucket: str, versions: dict[str, Path], monkeypatch: pytest.MonkeyPatch
):
    harness = follow(publish(s3_bucket, routing_of(versions, "1"), versions))
    publish(s3_bucket, routing_of(versions, "2"), versions)

    def full(uri: str, target: Path) -> None:
        raise StorageFullError("no space is left")

    monkeypatch.setattr(harness.watcher._repository._storage, "fetch_s3_prefix", full)  # type: ignore[union-attr]
    harness.look()
    assert (harness.roles, harness.rejections) == ({"stable": "1"}, {"2": "disk_full"})


def test_a_cache_of_another_user_is_not_valid(s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.getuid", lambda: 4711)
    with pytest.raises(ConfigError, match="belongs to another user; choose another folder with --cache"):
        open_repository(Settings(model_repository=f"s3://{s3_bucket}/served/reviews/", cache=tmp_path))


def test_a_cache_that_cannot_be_created_is_not_valid(s3_bucket: str, tmp_path: Path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(ConfigError, match="cannot be created: Not a directory; choose another folder with --cache"):
        open_repository(
            Settings(model_repository=f"s3://{s3_bucket}/served/reviews/", cache=tmp_path / "taken" / "cache")
        )


def test_the_monotonic_clock_is_used(
    follow: Callable[..., WatcherHarness], repository: Path, versions: dict[str, Path], monkeypatch: pytest.MonkeyPatch
):
    harness = follow(repository)
    for now in (0.0, 4e9):  # 1970, and 2096
        monkeypatch.setattr("time.time", lambda now=now: now)
        publish_versions(repository, routing_of(versions, "2" if now else "3"), versions)
        harness.look()
        assert harness.roles == {"stable": "2" if now else "3"}
        rows = harness.router.stable.predictor.prepare(["good"])

        async def ask(rows: Any = rows) -> Any:
            return await harness.router.stable.predict(rows, asyncio.Event().wait)

        assert np.argmax(harness.loop.run_until_complete(ask())[0]) == 1


def test_following_a_folder_imports_nothing_of_s3(repository: Path):
    code = (
        "import sys; from toolchain.serve.versions.watcher import VersionWatcher;"
        "from toolchain.serve.settings import Settings;"
        f"VersionWatcher(Settings(model_repository={str(repository)!r}));"
        "print('boto3' in sys.modules, 'mlflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-2:] == ["False", "False"]
