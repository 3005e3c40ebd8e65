"""Counts are summed over all servers, including ones that restart, start later or stop."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.models import word_counter, write_model
from toolchain.artifacts.model import Model, open_model
from toolchain.errors import ServiceError
from toolchain.release.promote.server_metrics import ServerMetrics, VersionCounts
from toolchain.serve.telemetry.exposition import Exposition
from toolchain.serve.telemetry.metrics import Metrics


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return open_model(write_model(tmp_path_factory.mktemp("figures") / "1", "text-classification", word_counter))


def text(began: float, *versions: Metrics) -> str:
    """Return what a server with ``versions``, whose process began then, tells, in the server's own words."""
    told = Exposition("words").text(versions).decode()
    lines = [line for line in told.splitlines() if not line.startswith("process_start_time_seconds ")]
    return "\n".join([*lines, f"process_start_time_seconds {began}", ""])


def metrics(model: Model, version: str, row_seconds: float = 0.002, name: str = "words") -> Metrics:
    return Metrics(model, name, version, row_seconds)


def test_failed_requests_count_when_they_are_the_servers_fault(words: Model):
    scraped, canary = ServerMetrics("words"), metrics(words, "2")
    scraped.update({"a": text(1, canary)}, "2")
    for status in (200, 200, 400, 422, 404, 499, 500, 503, 504, 429):
        canary.request("/predict", status, 0.01)
    canary.request("/v2/models/{name}/infer", 200, 0.01)
    canary.request("/inference.GRPCInferenceService/ModelInfer", 200, 0.01)
    for route in ("/readyz", "/metrics", "/docs", "/v2/models/{name}", "none"):
        canary.request(route, 500, 0.01)
    scraped.update({"a": text(1, canary)}, "2")
    seen = scraped.counts("2")
    assert (seen.requests, seen.failed, seen.timed) == (12, 4, 4), "what was not answered is not timed"
    assert scraped.counts("1") == VersionCounts()


def test_compared_rows_are_counted(words: Model):
    scraped, canary, shadow = ServerMetrics("words"), metrics(words, "2"), metrics(words, "3")
    scraped.update({"a": text(1, canary, shadow)}, "2")
    canary.compared("canary", matching=7, differing=3)
    shadow.compared("shadow", matching=1, differing=9)
    scraped.update({"a": text(1, canary, shadow)}, "2")
    assert (scraped.counts("2").compared, scraped.counts("2").differing) == (10, 3)
    assert scraped.counts("3").compared == 0


def test_requests_before_the_first_update_do_not_count(words: Model):
    scraped, stable = ServerMetrics("words"), metrics(words, "1")
    for _ in range(50):
        stable.request("/predict", 200, 0.01)
    scraped.update({"a": text(1, stable)}, "2")
    assert scraped.counts("1") == VersionCounts()
    stable.request("/predict", 200, 0.01)
    scraped.update({"a": text(1, stable)}, "2")
    assert scraped.counts("1").requests == 1


def asked(model: Model, version: str, requests: int) -> Metrics:
    made = metrics(model, version)
    for _ in range(requests):
        made.request("/predict", 200, 0.01)
    return made


@pytest.mark.parametrize("later", [3, 30])
def test_a_restarted_server_counts_from_0(later: int, words: Model):
    scraped = ServerMetrics("words")
    scraped.update({"a": text(1, asked(words, "2", 4))}, "2")
    scraped.update({"a": text(1, asked(words, "2", 10))}, "2")
    scraped.update({"a": text(2, asked(words, "2", later))}, "2")
    assert scraped.counts("2").requests == 6 + later
    scraped.update({"a": text(2, asked(words, "2", later + 1))}, "2")
    assert scraped.counts("2").requests == 7 + later


def test_a_version_loaded_again_by_one_process_counts_from_0(words: Model):
    scraped = ServerMetrics("words")
    scraped.update({"a": text(1, asked(words, "1", 1))}, "2")
    scraped.update({"a": text(1, asked(words, "1", 1), asked(words, "2", 5))}, "2")
    scraped.update({"a": text(1, asked(words, "1", 1))}, "2")
    scraped.update({"a": text(1, asked(words, "1", 1), asked(words, "2", 8))}, "2")
    assert (scraped.counts("2").requests, scraped.counts("1").requests) == (13, 0)


def test_a_stopped_servers_counts_stay(words: Model):
    scraped = ServerMetrics("words")
    scraped.update({name: text(1, asked(words, "2", 0)) for name in "ab"}, "2")
    scraped.update({name: text(1, asked(words, "2", 5)) for name in "ab"}, "2")
    scraped.update({"a": text(1, asked(words, "2", 7)), "c": text(9, asked(words, "2", 100))}, "2")
    assert scraped.counts("2").requests == 12, "a server that comes later is counted from when it was first seen"
    scraped.update({"c": text(9, asked(words, "2", 103))}, "2")
    assert scraped.counts("2").requests == 15


def test_slow_requests_are_counted_over_different_buckets(words: Model):
    scraped = ServerMetrics("words")
    quick, slow = metrics(words, "2", row_seconds=0.002), metrics(words, "2", row_seconds=0.02)
    scraped.update({"a": text(1, quick), "b": text(1, slow)}, "2")
    for seconds in (0.004, 0.004, 0.04):
        quick.request("/predict", 200, seconds)
    for seconds in (0.04, 0.04, 0.4):
        slow.request("/predict", 200, seconds)
    scraped.update({"a": text(1, quick), "b": text(1, slow)}, "2")
    seen = scraped.counts("2")
    assert (seen.slower(0.005), seen.slower(0.05), seen.slower(1), seen.slower(inf)) == (4, 1, 0, 0)


def test_increases_are_counted_by_bucket(words: Model):
    scraped, made = ServerMetrics("words"), metrics(words, "2")
    scraped.update({"a": text(1, made)}, "2")
    for seconds in (0.004, 0.04):
        made.request("/predict", 200, seconds)
    scraped.update({"a": text(1, made)}, "2")
    before = scraped.counts("2")
    for seconds in (0.004, 0.004, 0.04):
        made.request("/predict", 200, seconds)
    scraped.update({"a": text(1, made)}, "2")
    seen = scraped.counts("2").since(before)
    assert (seen.requests, seen.timed, seen.slower(0.005), seen.slower(0.05)) == (3, 3, 1, 0)
    assert scraped.counts("2").since(VersionCounts()) == scraped.counts("2")


def plain(began: int, counts: dict[str, int]) -> str:
    """Return the text of a server whose versions were asked so often."""
    labels = 'route="/predict",status="200",model="words",variant="fp32"'
    lines = [f'toolchain_serving_requests_total{{{labels},model_version="{one}"}} {n}' for one, n in counts.items()]
    return "\n".join([*lines, f"process_start_time_seconds {began}", ""])


events = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from("12"), st.integers(0, 9), st.booleans()), max_size=40
)


@given(events)
def test_requests_count_once_over_restarts(steps: list[tuple[str, str, int, bool]]):
    servers = {name: (0, {"1": 5, "2": 0}) for name in "abc"}
    scraped, due = ServerMetrics("words"), {"1": 0, "2": 0}
    scraped.update({name: plain(*server) for name, server in servers.items()}, "2")
    for name, version, requests, restarts in steps:
        began, counts = servers[name]
        if restarts:
            began, counts = began + 1, {"1": 0, "2": 0}
        servers[name] = began, {**counts, version: counts[version] + requests}
        due[version] += requests
        scraped.update({name: plain(*server) for name, server in servers.items()}, "2")
    assert {version: scraped.counts(version).requests for version in "12"} == due


def test_the_latency_bound_is_the_lowest_shared_bound_of_the_quantile():
    stable = VersionCounts(timed=100, buckets={0.1: 50, 0.2: 95, 0.3: 99, inf: 100})
    assert stable.latency_bound(0.95, {0.1: 1, 0.2: 1, inf: 1}) == 0.2
    assert stable.latency_bound(0.95, {0.3: 1, inf: 1}) == 0.3
    assert stable.latency_bound(0.995, {0.3: 1, inf: 1}) == inf
    assert VersionCounts().latency_bound(0.95, {0.1: 1}) == inf


def test_a_servers_state_has_its_routing_and_rejections(words: Model):
    scraped, stable, canary = ServerMetrics("words"), metrics(words, "1"), metrics(words, "2")
    stable.role("stable", 75)
    canary.role("canary", 25)
    other = metrics(words, "2", name="others")
    other.role("canary", 99)
    scraped.update({"a": text(1, stable, canary, other), "b": text(1, stable)}, "2")
    assert {name: state.percent for name, state in scraped.states.items()} == {"a": 25, "b": 0}
    assert scraped.states["a"].rejections == ()
    exposition = Exposition("words")
    exposition.rejected({"2": "incompatible"})
    scraped.update({"a": exposition.text([stable]).decode()}, "2")
    assert scraped.states["a"].rejections == ("incompatible",)


def test_other_text_is_an_error():
    with pytest.raises(ServiceError, match="b is not a model server"):
        ServerMetrics("words").update({"b": "<html>\nhello there, you"}, "2")
