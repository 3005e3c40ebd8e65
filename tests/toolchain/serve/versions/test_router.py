"""Test several versions in one process: routing, metrics, and replacement."""

import gc
import re
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from tests.support.responses import problem
from tests.support.versions import WEIGHTS, routing_of
from toolchain.lifecycle.routing import RoutingConfig
from toolchain.serve.http.application import build
from toolchain.serve.problems import Problem
from toolchain.serve.settings import Settings
from toolchain.serve.telemetry.exposition import REJECTION_REASONS
from toolchain.serve.versions.parity import Parity
from toolchain.serve.versions.router import Rejection, Router
from toolchain.serve.versions.version import LoadedVersion, load

IDS = [f"request-{place}" for place in range(300)]
GOOD = {"texts": ["good"]}


def settings_of(versions: dict[str, Path], number: str) -> Settings:
    return Settings(model=versions[number], name="reviews", version=number, workers=1)


class Crew:
    """A server within this process, whose versions a test changes."""

    def __init__(self, versions: dict[str, Path]) -> None:
        self.versions = versions
        self.loaded: dict[str, LoadedVersion] = {}
        self.router: Router
        self.client: TestClient

    def start(self, stable: str, **others: Any) -> TestClient:
        routing = routing_of(self.versions, stable, **others)
        self.router = Router(settings_of(self.versions, stable), routing, self.roles(routing))
        self.client = TestClient(build(self.router), "http://127.0.0.1", raise_server_exceptions=False)
        self.client.__enter__()
        return self.client

    def change(self, stable: str, **others: Any) -> None:
        routing = routing_of(self.versions, stable, **others)
        roles = self.roles(routing)

        async def within() -> None:
            self.router.change(routing, roles)

        self.client.portal.call(within)  # type: ignore[union-attr]

    def roles(self, routing: RoutingConfig) -> dict[str, LoadedVersion]:
        for target in routing.targets.values():
            if target.version not in self.loaded:
                self.loaded[target.version] = load(settings_of(self.versions, target.version))
        return {role: self.loaded[target.version] for role, target in routing.targets.items()}

    def ask(self, request_id: str, path: str = "/predict", body: Any = None) -> Any:
        response = self.client.post(path, json=body or GOOD, headers={"X-Request-Id": request_id})
        assert response.status_code == 200, response.text
        return response.json()

    def exported(self, name: str) -> dict[tuple[str, ...], float]:
        """Return the exported called ``name`` by version and the labels that not all have."""
        found = {}
        for family in text_string_to_metric_families(self.client.get("/metrics").text):
            for sample in family.samples:
                if sample.name == f"toolchain_serving_{name}":
                    labels = {k: v for k, v in sample.labels.items() if k not in ("model", "variant")}
                    found[labels.pop("model_version", ""), *labels.values()] = sample.value
        return found


@pytest.fixture
def crew(versions: dict[str, Path]) -> Iterator[Crew]:
    crew = Crew(versions)
    yield crew
    crew.client.__exit__(None, None, None)


def until(true: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < 10, "it did not happen in 10 s"
        time.sleep(0.01)


def test_the_share_that_was_agreed_goes_to_the_canary_and_always_the_same_requests(crew: Crew):
    crew.start("1", canary="2", percent=20)
    routing = routing_of(crew.versions, "1", canary="2", percent=20)
    for request_id in IDS[:100]:
        due = "2" if routing.goes_to_canary(request_id) else "1"
        content = crew.ask(request_id)
        assert content["model"]["version"] == due
        weight = WEIGHTS[due]
        assert content["predictions"][0]["score"] == pytest.approx(
            2.718281828**weight / (2.718281828**weight + 1), abs=1e-5
        )
    assert {crew.ask(IDS[0])["model"]["version"] for _ in range(5)} == {crew.ask(IDS[0])["model"]["version"]}


@given(st.lists(st.floats(0, 100), min_size=2, max_size=5).map(sorted), st.text(max_size=20))
def test_a_growing_percent_only_moves_ids_to_the_canary(
    versions: dict[str, Path], percents: list[float], request_id: str
):
    chosen = []
    stable, canary = (StandIn(number) for number in "12")
    for percent in percents:
        routing = routing_of(versions, "1", canary="2", percent=percent)
        router = Router(Settings(model=versions["1"]), routing, {"stable": stable, "canary": canary})  # type: ignore[dict-item]
        chosen.append(router.choose(request_id).version)
        assert router.choose(request_id).version == chosen[-1]
    assert chosen == sorted(chosen)


class StandIn:
    """As much of a version as choosing needs."""

    def __init__(self, version: str) -> None:
        self.version, self.not_ready_reason, self.metrics = version, "", self

    def role(self, role: str, percent: float) -> None:
        assert 0 <= percent <= 100


def test_a_canary_with_other_predictions_receives_no_more_requests(crew: Crew):
    crew.start("1", canary="2", percent=100)
    assert crew.ask("any")["model"]["version"] == "2"
    crew.loaded["2"].parity = Parity(4, 3, "1 of 4 predictions differs")
    assert crew.ask("any")["model"]["version"] == "1"


def test_a_version_is_selected_by_its_name_and_all_are_listed(crew: Crew):
    client = crew.start("1", canary="2", percent=0, shadow="3")
    body = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["good"]}]}
    for number in "123":
        content = crew.ask("any", f"/v2/models/reviews/versions/{number}/infer", body)
        assert content["model_version"] == number
        assert client.get(f"/v2/models/reviews/versions/{number}/ready").json()["ready"] is True
    assert client.get("/v2/models/reviews").json()["versions"] == ["1", "2", "3"]
    response = client.post("/v2/models/reviews/versions/9/infer", json=body)
    assert response.status_code == 404
    assert "loaded versions of reviews: 1, 2, 3" in problem(response)["detail"]


def test_an_id_is_given_back_and_made_where_none_came(crew: Crew):
    client = crew.start("1")
    assert client.post("/predict", json=GOOD, headers={"X-Request-Id": "abc-1"}).headers["x-request-id"] == "abc-1"
    made = {client.post("/predict", json=GOOD).headers["x-request-id"] for _ in range(20)}
    assert len(made) == 20
    for odd in ("x" * 129, "naïve", "two words", ""):
        headers = {"X-Request-Id": odd.encode("latin-1")}
        response = client.get("/nowhere", headers=headers)  # type: ignore[arg-type]
        assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])


def test_one_exposition_holds_all_versions_and_each_name_once(crew: Crew):
    client = crew.start("1", canary="2", percent=50, shadow="3")
    for request_id in IDS[:40]:
        crew.ask(request_id)
    lines = client.get("/metrics").text.splitlines()
    types = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(types) == len(set(types))
    series = [line.rpartition(" ")[0] for line in lines if not line.startswith("#")]
    assert len(series) == len(set(series))
    assert crew.exported("traffic_percent") == {("1", "stable"): 50, ("2", "canary"): 50, ("3", "shadow"): 0}
    asked = crew.exported("requests_total")
    assert asked["1", "/predict", "200"] + asked["2", "/predict", "200"] == 40
    assert asked["2", "/predict", "200"] == sum(crew.router.choose(one).version == "2" for one in IDS[:40])
    assert ("3", "/predict", "200") not in asked


def test_predictions_of_the_canary_are_compared_with_the_stable_version(crew: Crew):
    crew.start("1", canary="4", percent=100)
    assert crew.exported("compared_rows_total") == {("4", "no", "canary"): 0, ("4", "yes", "canary"): 0}
    crew.ask("any", body={"texts": ["good", "film", "bad"]})  # "film" is no word of either: both say the first label
    until(lambda: sum(crew.exported("compared_rows_total").values()) == 3)
    assert crew.exported("compared_rows_total") == {("4", "no", "canary"): 2, ("4", "yes", "canary"): 1}
    assert crew.exported("predictions_total")["1", "positive"] == 0  # no client received the stable prediction


def test_a_shadow_predicts_the_rows_of_the_stable_version_unseen_by_clients(crew: Crew):
    crew.start("1", canary="2", percent=50, shadow="4")
    stable = [one for one in IDS if crew.router.choose(one).version == "1"][:5]
    for request_id in stable:
        assert crew.ask(request_id)["predictions"][0]["label"] == "positive"
        due = stable.index(request_id) + 1
        until(lambda due=due: crew.exported("compared_rows_total")["4", "no", "shadow"] == due)  # type: ignore[misc]
    body = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [2], "data": ["good", "film"]}]}
    crew.ask(stable[0], "/v2/models/reviews/infer", body)
    until(lambda: crew.exported("compared_rows_total")["4", "yes", "shadow"] == 1)


def test_nothing_is_compared_while_the_other_version_has_enough_to_do(crew: Crew):
    crew.start("1", canary="4", percent=100)
    crew.ask("any", body={"texts": ["good"] * 20})  # more than run at once
    crew.ask("any")
    until(lambda: sum(crew.exported("compared_rows_total").values()) == 1)


def test_a_replaced_version_completes_its_requests_and_its_metrics_end(crew: Crew):
    client = crew.start("1")
    crew.ask("any")
    with crew.loaded["1"].held():  # a request that is not done
        crew.change("2")
        assert crew.ask("any")["model"]["version"] == "2"
        assert client.get("/openapi.json").json()["info"]["version"] == "2"
        assert ("1", "/predict", "200") in crew.exported("requests_total")
        assert crew.loaded["1"].predictor.predict(crew.loaded["1"].predictor.prepare(["good"]))
        assert all(thread.is_alive() for thread in crew.loaded["1"].batcher._threads)
    until(lambda: not any(thread.is_alive() for thread in crew.loaded["1"].batcher._threads))
    until(lambda: not any(key[0] == "1" for key in crew.exported("requests_total")))
    assert 'model_version="1"' not in client.get("/metrics").text
    assert crew.exported("version_changes_total") == {("",): 1}
    crew.change("2", canary="3", percent=5)
    crew.change("2", canary="3", percent=25)
    assert crew.exported("version_changes_total") == {("",): 2}  # a larger share is no other version
    assert crew.exported("traffic_percent") == {("2", "stable"): 75, ("3", "canary"): 25}
    crew.change("3")
    until(lambda: crew.exported("traffic_percent") == {("3", "stable"): 100})


def test_a_replaced_version_frees_its_memory(crew: Crew):
    client = crew.start("1", canary="2", percent=50)
    for request_id in IDS[:10]:
        crew.ask(request_id)
    client.get("/openapi.json")
    left = weakref.ref(crew.loaded["1"].predictor)
    crew.change("3")
    del crew.loaded["1"]
    crew.client.get("/healthz")

    def is_gone() -> bool:
        gc.collect()
        return left() is None

    until(is_gone)


def test_all_versions_predict_the_recorded_rows(crew: Crew):
    client = crew.start("1", canary="2", percent=10)
    content = client.post("/parity").json()
    assert (content["rows"], content["matching"], content["ready"]) == (8, 8, True)
    assert "version 2: 4 of 4 recorded predictions match" in content["message"]


def test_readiness_reports_all_versions_and_rejections(crew: Crew):
    client = crew.start("1", canary="2", percent=10)
    crew.router.set_rejected({"3": Rejection("damaged", "/somewhere/private is incomplete")})
    content = client.get("/readyz").json()
    assert {role: one["version"] for role, one in content["versions"].items()} == {"stable": "1", "canary": "2"}
    assert content["version"] == "1"
    assert content["rejected"] == {"3": REJECTION_REASONS["damaged"]}
    assert crew.exported("rejected_versions")["", "damaged"] == 1
    assert sum(crew.exported("rejected_versions").values()) == 1


def test_a_server_without_a_version_is_alive_and_reports_why(versions: dict[str, Path]):
    router = Router(Settings(model_repository="any", name="reviews"))
    router.set_rejected({"routing.json": Rejection("unavailable", "s3://bucket cannot be read")})
    with pytest.raises(Problem, match="no version is loaded yet"):
        router.choose("any")
    with TestClient(build(router), "http://127.0.0.1", raise_server_exceptions=False) as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/metrics").status_code == 200
        for response in (client.get("/readyz"), client.post("/predict", json=GOOD), client.get("/openapi.json")):
            assert response.status_code == 503
            assert "the model repository is unavailable" in problem(response)["detail"]
        assert client.get("/v2/health/ready").json() == {"ready": False}
