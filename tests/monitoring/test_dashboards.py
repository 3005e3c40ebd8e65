"""Dashboards: well formed, and behind every query of every panel there is data, in the real Prometheus that watches
real servers under traffic, one with a canary and a shadow, and a run, all started as a person starts them."""

import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import combinations
from pathlib import Path
from shutil import which
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
import yaml

from cli.records import runs
from cli.records.runs import StepRecord, new_run, run_lock
from cli.setup.doctor import is_reachable
from tests.support.models import brightness, picture, record, write_model, write_words
from tests.support.processes import listen_to_ctrl_c
from tests.support.prometheus import expand, get
from tests.support.versions import publish_versions, routing_of
from toolchain.artifacts.expected import Row, encode_image
from toolchain.artifacts.model import open_model
from toolchain.lifecycle import model_repository
from toolchain.lifecycle.request_samples import open_store, version_folder

ROOT = Path(__file__).parents[2]
DASHBOARDS = sorted((ROOT / "monitoring" / "grafana" / "dashboards").glob("*.json"))
BOARDS = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in DASHBOARDS}
PANELS = [(name, panel) for name, board in BOARDS.items() for panel in board["panels"]]
QUERIES = [
    (f"{name}: {panel['title']}, {target['refId']}", target["expr"])
    for name, panel in PANELS
    for target in panel["targets"]
]
RULES = [
    rule
    for group in yaml.safe_load((ROOT / "monitoring" / "prometheus" / "rules.yml").read_text(encoding="utf-8"))[
        "groups"
    ]
    for rule in group["rules"]
]
SELECTORS = {  # required in a query, by variable
    "model": 'model=~"$model"',
    "version": 'model_version=~"$version"',
    "pipeline": 'pipeline=~"$pipeline"',
}
OURS = re.compile(r"toolchain_(?:serving|run|drift|sampling)\w*")
# Metrics of Argo's controller 4.0.8 used by dashboards and rules, with their labels.
ARGO = {
    "argo_workflows_gauge": {"phase"},
    "argo_workflows_total_count": {"namespace", "phase"},
    "argo_workflows_pods_gauge": {"phase"},
    "argo_workflows_pod_pending_count": {"namespace", "reason"},
    "argo_workflows_log_messages": {"level"},
    "argo_workflows_queue_depth_gauge": {"queue_name"},
    "argo_workflows_queue_latency_sum": {"queue_name"},
    "argo_workflows_queue_latency_count": {"queue_name"},
    "argo_workflows_operation_duration_seconds_sum": set(),
    "argo_workflows_operation_duration_seconds_count": set(),
}
WITHOUT_DATA = {  # Argo's controller does not run here, and there are no prices
    *(name for name, query in QUERIES if "argo_workflows_" in query),
    "training-runs: Cost, B",
}
TRAINING = """
import time
from toolchain.progress import Progress
with Progress("train", 4000, "batches") as progress:
    while True:
        progress.advance(loss=0.3, tokens_per_second=900, validation_loss=0.4, validation_accuracy=0.8)
        time.sleep(0.05)
"""
WEIGHTS = {"1": 1.0, "2": 2.0, "4": -1.0}  # of the versions of "reviews": the last says the contrary
LIGHTS = ("--name", "lights", "--version", "3", "--sample-percent", "100")
TRAFFIC_S = 6  # Prometheus scrapes each second, and a rate needs two scrapes
TIMEOUT_S = 40  # on a busy machine
WINDOW, SPAN = 20.0, 60.0  # seconds that the tests put in place of Grafana's variables

needs_prometheus = pytest.mark.skipif(not which("prometheus"), reason="needs Prometheus: apt-get install prometheus")


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_has_an_id_and_known_variables(name: str):
    board = BOARDS[name]
    assert board["uid"] == f"toolchain-{name}"
    assert "toolchain" in board["tags"]
    first, *others = [variable["name"] for variable in board["templating"]["list"]]
    assert first == "datasource"
    assert set(others) <= set(SELECTORS)
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


@pytest.mark.parametrize("name", BOARDS)
def test_panels_do_not_overlap(name: str):
    places = [panel["gridPos"] for panel in BOARDS[name]["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        across = min(one["x"] + one["w"], other["x"] + other["w"]) - max(one["x"], other["x"])
        down = min(one["y"] + one["h"], other["y"] + other["h"]) - max(one["y"], other["y"])
        assert min(across, down) <= 0, (one, other)


@pytest.mark.parametrize(
    ("name", "panel"), PANELS, ids=lambda value: value if isinstance(value, str) else value["title"]
)
def test_a_panel_has_a_description_and_the_selected_data_source(name: str, panel: dict[str, Any]):
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    for part in (panel, *panel["targets"]):
        assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize(("name", "query"), QUERIES)
def test_queries_filter_by_the_selected_variables(name: str, query: str):
    variables = {variable["name"] for variable in BOARDS[name.partition(":")[0]]["templating"]["list"]}
    for metric in OURS.finditer(query):
        selector = re.match(r"\{([^}]*)\}", query[metric.end() :])
        assert selector, metric.group()
        due = {"pipeline"} if metric.group().startswith("toolchain_run") else {"model", "version"}
        for variable in due & variables:
            assert SELECTORS[variable] in selector[1], metric.group()


def test_queries_use_existing_metrics_of_argo_only():
    alerts = [(rule["alert"], rule["expr"]) for rule in RULES if "alert" in rule]
    queries = [query for _, query in [*QUERIES, *alerts] if "argo_workflows_" in query]
    assert {name for query in queries for name in re.findall(r"argo_workflows_\w+", query)} == set(ARGO)
    for query in queries:
        for name, selector in re.findall(r"(argo_workflows_\w+)\{([^}]*)\}", query):
            assert set(re.findall(r"(\w+)=", selector)) <= ARGO[name], query
        labels = {"namespace"}  # which an operator's Prometheus adds to all
        labels = labels.union(*(ARGO[name] for name in re.findall(r"argo_workflows_\w+", query)))
        assert set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", query)))) <= labels, query


@dataclass
class Watched:
    """Prometheus at work, and the process that a person started."""

    address: str
    process: "subprocess.Popen[str]"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Two servers, one of texts in several versions and one of pictures, under traffic, and a run, watched as
    ``make monitor`` does it."""
    folder = tmp_path_factory.mktemp("watched")
    versions = {number: write_words(folder / number, weight) for number, weight in WEIGHTS.items()}
    publish_versions(folder / "repository", routing_of(versions, "1", canary="2", percent=40, shadow="4"), versions)
    ended = threading.Event()
    with ExitStack() as stack:
        stack.enter_context(training(folder / "runs"))
        ports = [
            stack.enter_context(server("--model-repository", str(folder / "repository"))),
            stack.enter_context(server(str(make_images(folder)), *LIGHTS, "--samples", str(folder / "samples"))),
        ]
        process, address = stack.enter_context(monitor(folder, ports))
        watcher = threading.Thread(target=watch, args=(str(folder / "repository"), ended))
        for caller in [watcher, *(threading.Thread(target=call, args=(*ports, ended)) for _ in range(2))]:
            caller.start()
            stack.callback(caller.join)
        stack.callback(ended.set)
        time.sleep(TRAFFIC_S)
        yield Watched(address, process)


@contextmanager
def training(folder: Path) -> Iterator[None]:
    """Keep a run under way in ``folder``, of which a step tells its progress to the log."""
    steps = [
        StepRecord("ingest", "data.ingest", "key", runs.SUCCEEDED, seconds=3.0),
        StepRecord("transformers", "train.torch_text", "key", runs.RUNNING),
    ]
    with run_lock(folder):
        log = new_run("films", folder, {}, steps).folder / "logs" / "train.torch_text.log"
        with (
            log.open("w") as output,
            subprocess.Popen([sys.executable, "-c", TRAINING], cwd=ROOT, stdout=output) as one,
        ):
            try:
                yield
            finally:
                one.kill()


def make_images(folder: Path) -> Path:
    model = write_model(folder / "lights", "image-classification", brightness, ("dark", "bright"))
    odds = np.exp([0.5, -0.5])
    record(model, [Row(image=encode_image(picture(0)), scores=tuple((odds / odds.sum()).tolist()))])
    tell_drift(folder / "samples", open_model(model).digest)
    return model


def tell_drift(samples: Path, digest: str) -> None:
    """Write what a look at samples found: nothing odd."""
    found = {"format": "toolchain.drift", "digest": digest, "checked_at": time.time(), "window": {"rows": 500}}
    found |= {"has_verdict": True, "data_drift": False, "prediction_drift": False}
    columns = [{"name": "brightness", "distance": 0.04}, {"name": "label", "distance": 0.02}]
    content = json.dumps({**found, "columns": columns}).encode()
    open_store(str(samples)).put(f"{version_folder('lights', digest)}/drift.json", content)


@contextmanager
def started(*words: str, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", *words]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=listen_to_ctrl_c,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=TIMEOUT_S)


@contextmanager
def server(*words: str) -> Iterator[int]:
    with started("toolchain.serve", *words, "--port", "0", "--drain-seconds", "0") as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield int(re.search(r":(\d+)/docs", line).group(1))  # type: ignore[union-attr]


@contextmanager
def monitor(folder: Path, ports: list[int]) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    port = free_port()
    argv = [*(f"127.0.0.1:{one}" for one in ports), "--port", str(port), "--scrape-interval", "1"]
    address = f"http://127.0.0.1:{port}"
    with started("cli.setup.monitor", *argv, TOOLCHAIN_RUNS=str(folder / "runs")) as process:
        until(lambda: is_reachable(f"{address}/-/ready"))
        yield process, address


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def watch(place: str, ended: threading.Event) -> None:
    """Let the server know that its canary is watched."""
    while not ended.wait(5):
        model_repository.write_heartbeat(place)


def call(texts: int, pictures: int, ended: threading.Event) -> None:
    """Send up to 10 requests a second to both servers, some of them not valid."""
    place = 0
    while not ended.wait(0.1):
        place += 1
        words = ["good film", "a dull and poor film", "fine"][: 1 + place % 3]
        post(texts, json.dumps({"texts": words if place % 7 else [1]}).encode(), "application/json")
        post(pictures, picture(40 * (place % 7)), "image/png")


def post(port: int, body: bytes, kind: str) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    connection.request("POST", "/predict", body, {"Content-Type": kind})
    connection.getresponse().read()
    connection.close()


def instant(watched: Watched, query: str) -> list[float]:
    """Return the values that Prometheus finds for ``query`` now."""
    known = expand(query, WINDOW, SPAN, {"model": ".*", "version": ".*", "pipeline": ".*"})
    return [float(one["value"][1]) for one in get(watched.address, "query", query=known)["result"]]


def until(true: Callable[[], bool]) -> None:
    """Wait for ``true``: of a few requests at first, any share may be bad, or the canary's."""
    end = time.monotonic() + TIMEOUT_S
    while not true():
        assert time.monotonic() < end, f"it is not so after {TIMEOUT_S} s"
        time.sleep(0.5)


def until_found(watched: Watched, query: str) -> list[float]:
    end = time.monotonic() + TIMEOUT_S
    while not (found := [value for value in instant(watched, query) if math.isfinite(value)]):
        assert time.monotonic() < end, f"no data behind {query}"
        time.sleep(0.5)
    return found


@needs_prometheus
@pytest.mark.parametrize(("name", "query"), QUERIES, ids=[name for name, _ in QUERIES])
def test_every_query_has_data(name: str, query: str, watched: Watched):
    if name in WITHOUT_DATA:
        assert instant(watched, query) == []  # it evaluates
    else:
        assert until_found(watched, query)


@needs_prometheus
def test_panels_show_the_requests_that_were_sent(watched: Watched):
    """Two callers send up to 10 requests a second each to either server; every seventh request of texts is rejected."""
    shown = dict(QUERIES)
    (requests,) = until_found(watched, shown["service: Requests, A"])
    assert 1 < requests < 45  # the window holds less traffic at first
    (failed,) = until_found(watched, shown["service: Error rate, A"])
    assert failed == 0
    bad = 'sum(toolchain_serving_errors_total{type="bad_request"})'
    texts = 'sum(toolchain_serving_requests_total{model="reviews", route="/predict"})'
    until(lambda: until_found(watched, f"{bad} / {texts}")[0] == pytest.approx(1 / 7, abs=0.05))
    assert until_found(watched, shown["service: Servers ready, A"]) == [2]
    assert until_found(watched, shown["model-quality: Recorded rows with matching predictions, A"]) == [1]
    middle, tail = (until_found(watched, shown[f"service: Latency, {letter}"])[0] for letter in "AC")
    assert 0 < middle <= tail < 10
    pixels = shown["model-quality: Row size, B"].replace("$model", "lights")
    assert until_found(watched, pixels) == [pytest.approx(64, rel=0.2)]  # a row may have run that is not counted yet
    assert until_found(watched, shown["training-runs: Loss, A"]) == [0.3, 0.4]
    labels = get(watched.address, "query", query="sum by (label) (toolchain_serving_predictions_total)")["result"]
    assert {one["metric"]["label"] for one in labels} == {"negative", "positive", "dark", "bright"}


@needs_prometheus
def test_the_canary_is_shown_beside_the_stable_version(watched: Watched):
    """It gets 40 % of the requests and is more sure of the same; the shadow says the contrary of what both say."""
    shown = dict(QUERIES)

    def by(label: str, query: str) -> dict[str, float]:
        until_found(watched, query)
        known = expand(query, WINDOW, SPAN, {"model": "reviews"})
        found = get(watched.address, "query", query=known)["result"]
        return {one["metric"].get(label, ""): float(one["value"][1]) for one in found}

    shares = by("role", shown["canary: Configured share of requests, A"])
    assert shares == pytest.approx({"stable": 0.6, "canary": 0.4, "shadow": 0})

    def canarys() -> float:
        requests = by("model_version", shown["canary: Requests, A"])
        total = sum(requests.values())
        return requests.get("2", 0.0) / total if total else 0.0

    until(lambda: canarys() == pytest.approx(0.4, abs=0.2))
    agreement = by("role", shown["canary: Agreement with the stable version, A"])
    assert agreement["canary"] == 1
    assert agreement["shadow"] < 0.5
    confidence = by("model_version", shown["canary: Mean confidence, A"])
    assert confidence["2"] > confidence["1"]
    assert by("", shown["canary: Versions not loaded, A"]) == {"": 0}


@needs_prometheus
@pytest.mark.parametrize("name", BOARDS)
def test_variables_and_annotations_have_values(name: str, watched: Watched):
    offered = {"model": ["lights", "reviews"], "version": ["1", "2", "3", "4"], "pipeline": ["films"]}
    for variable in BOARDS[name]["templating"]["list"][1:]:
        selector, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"]).groups()  # type: ignore[union-attr]
        found = get(watched.address, f"label/{label}/values", **{"match[]": selector.replace("$model", ".*")})
        assert found == offered[variable["name"]]
    for annotation in BOARDS[name]["annotations"]["list"]:
        assert instant(watched, annotation["expr"]) == []  # it evaluates; no server started anew


@needs_prometheus
def test_every_rule_evaluates_every_record_has_data_and_no_alert_fires(watched: Watched):
    for rule in RULES:
        if "record" in rule:
            until_found(watched, rule["record"])
        instant(watched, rule.get("expr"))
    found = [rule for group in get(watched.address, "rules")["groups"] for rule in group["rules"]]
    assert len(found) == len(RULES)
    assert {(rule["name"], rule["health"], rule.get("lastError")) for rule in found} == {
        (rule.get("record") or rule.get("alert"), "ok", None) for rule in RULES
    }
    assert [rule["name"] for rule in found if rule.get("state") == "firing"] == []


@needs_prometheus
def test_ctrl_c_stops_prometheus_too(watched: Watched):
    """The last test of this file: nothing is monitored after it."""
    with urlopen(watched.address, timeout=TIMEOUT_S) as page:
        assert "Alerts" in page.read().decode()
    watched.process.send_signal(signal.SIGINT)
    assert watched.process.stdout is not None
    printed = watched.process.stdout.read()
    watched.process.wait(TIMEOUT_S)
    assert watched.process.returncode == 0
    assert printed.rstrip().endswith("stopped")
    assert f"  {watched.address} " in printed
    with pytest.raises(OSError, match="refused"):
        urlopen(f"{watched.address}/-/ready", timeout=5)
