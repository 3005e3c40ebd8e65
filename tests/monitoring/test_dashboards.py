"""Dashboards: well formed, and behind every query of every panel there is data, in the real Prometheus that watches
real servers under traffic, both started as a person starts them."""

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
from collections.abc import Iterator
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

from monitoring.draw import ask, expand, main
from tests.toolchain.serve.conftest import brightness, picture, record, word_counter, write_model
from toolchain.artifacts.expected import Row, picture_row

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
SECONDS_OF_TRAFFIC = 6  # Prometheus looks each second, and a rate needs two looks
MOST_SECONDS = 40  # on a busy machine
WINDOW, SPAN = 20.0, 60.0  # seconds that the tests put in place of Grafana's variables

needs_prometheus = pytest.mark.skipif(not which("prometheus"), reason="needs Prometheus: apt-get install prometheus")


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_has_an_address_and_chooses_among_what_there_is(name: str):
    board = BOARDS[name]
    assert board["uid"] == f"toolchain-{name}"
    assert "toolchain" in board["tags"]
    assert [variable["name"] for variable in board["templating"]["list"]] == ["datasource", "model", "version"]
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
def test_a_panel_says_what_it_shows_and_asks_the_chosen_source(name: str, panel: dict[str, Any]):
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    for asked in (panel, *panel["targets"]):
        assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize(("name", "query"), QUERIES)
def test_a_query_holds_to_the_model_and_version_that_were_chosen(name: str, query: str):
    for metric, selector in re.findall(r"(toolchain_serving_\w+)\{([^}]*)\}", query):
        assert 'model=~"$model", model_version=~"$version"' in selector, metric
    assert len(re.findall(r"toolchain_serving_\w+", query)) == len(re.findall(r"toolchain_serving_\w+\{", query))


@dataclass
class Watched:
    """Prometheus at work, and the process that a person started."""

    address: str
    process: "subprocess.Popen[str]"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Two servers, one of texts and one of pictures, under traffic, watched as ``make monitor`` does it."""
    folder = tmp_path_factory.mktemp("watched")
    ended = threading.Event()
    with ExitStack() as stack:
        ports = [
            stack.enter_context(server(model, name))
            for model, name in ((make_words(folder), "reviews"), (make_pictures(folder), "lights"))
        ]
        process, address = stack.enter_context(monitor(folder, ports))
        for caller in [threading.Thread(target=call, args=(*ports, ended)) for _ in range(2)]:
            caller.start()
            stack.callback(caller.join)
        stack.callback(ended.set)
        time.sleep(SECONDS_OF_TRAFFIC)
        yield Watched(address, process)


def make_words(folder: Path) -> Path:
    model = write_model(folder / "words", "text-classification", word_counter)
    record(model, [Row(text="a film", scores=(0.5, 0.5))])
    return model


def make_pictures(folder: Path) -> Path:
    model = write_model(folder / "lights", "image-classification", brightness, ("dark", "bright"))
    odds = np.exp([0.5, -0.5])
    record(model, [Row(picture=picture_row(picture(0)), scores=tuple((odds / odds.sum()).tolist()))])
    return model


@contextmanager
def started(*words: str, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", *words]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=MOST_SECONDS)


@contextmanager
def server(model: Path, name: str) -> Iterator[int]:
    words = [str(model), "--name", name, "--version", "3", "--port", "0", "--drain-seconds", "0"]
    with started("toolchain.serve", *words) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield int(re.search(r":(\d+)/docs", line).group(1))  # type: ignore[union-attr]


@contextmanager
def monitor(folder: Path, ports: list[int]) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    port = free_port()
    words = [*(f"127.0.0.1:{one}" for one in ports), "--port", str(port), "--grafana-port", str(free_port())]
    with started("pipelines.engine.monitor", *words, "--every", "1", TOOLCHAIN_RUNS=str(folder / "runs")) as process:
        assert process.stdout is not None
        assert any(line.startswith("watching") for line in process.stdout), "it did not start"
        yield process, f"http://127.0.0.1:{port}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def call(texts: int, pictures: int, ended: threading.Event) -> None:
    """Ask both servers up to 10 times a second, now and then what they must refuse."""
    place = 0
    while not ended.wait(0.1):
        place += 1
        words = ["good film", "a dull and poor film", "fine"][: 1 + place % 3]
        post(texts, json.dumps({"texts": words if place % 7 else [1]}).encode(), "application/json")
        post(pictures, picture(40 * (place % 7)), "image/png")


def post(port: int, body: bytes, kind: str) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=MOST_SECONDS)
    connection.request("POST", "/predict", body, {"Content-Type": kind})
    connection.getresponse().read()
    connection.close()


def instant(watched: Watched, query: str) -> list[float]:
    """Return the values that Prometheus finds for ``query`` now."""
    known = expand(query, WINDOW, SPAN, {"model": ".*", "version": ".*"})
    return [float(one["value"][1]) for one in ask(watched.address, "query", query=known)["result"]]


def until_found(watched: Watched, query: str) -> list[float]:
    end = time.monotonic() + MOST_SECONDS
    while not (found := [value for value in instant(watched, query) if math.isfinite(value)]):
        assert time.monotonic() < end, f"no data behind {query}"
        time.sleep(0.5)
    return found


@needs_prometheus
@pytest.mark.parametrize(("name", "query"), QUERIES, ids=[name for name, _ in QUERIES])
def test_there_is_data_behind_every_query(name: str, query: str, watched: Watched):
    assert until_found(watched, query)


@needs_prometheus
def test_what_the_panels_show_is_what_was_asked(watched: Watched):
    """Two callers send up to 10 requests a second each to either server; every seventh request of texts is refused."""
    shown = dict(QUERIES)
    (requests,) = until_found(watched, shown["service: Requests, A"])
    assert 1 < requests < 45  # the window holds less traffic at first
    (failed,) = until_found(watched, shown["service: Failed, A"])
    assert failed == 0
    bad = until_found(watched, 'sum(toolchain_serving_errors_total{kind="bad_request"})')[0]
    texts = until_found(watched, 'sum(toolchain_serving_requests_total{model="reviews", route="/predict"})')[0]
    assert bad / texts == pytest.approx(1 / 7, abs=0.05)
    assert until_found(watched, shown["service: Servers ready, A"]) == [2]
    assert until_found(watched, shown["model-quality: Recorded rows answered alike, A"]) == [1]
    middle, tail = (until_found(watched, shown[f"service: Latency, {letter}"])[0] for letter in "AC")
    assert 0 < middle <= tail < 10
    pixels = shown["model-quality: Size of a row, B"].replace("$model", "lights")
    assert until_found(watched, pixels) == [pytest.approx(64, rel=0.2)]  # a row may have run that is not counted yet
    labels = ask(watched.address, "query", query="sum by (label) (toolchain_serving_answers_total)")["result"]
    assert {one["metric"]["label"] for one in labels} == {"negative", "positive", "dark", "bright"}


@needs_prometheus
@pytest.mark.parametrize("name", BOARDS)
def test_variables_and_annotations_find_what_they_offer(name: str, watched: Watched):
    for variable in BOARDS[name]["templating"]["list"][1:]:
        selector, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"]).groups()  # type: ignore[union-attr]
        found = ask(watched.address, f"label/{label}/values", **{"match[]": selector.replace("$model", ".*")})
        assert found == {"model": ["lights", "reviews"], "model_version": ["3"]}[label]
    for annotation in BOARDS[name]["annotations"]["list"]:
        assert instant(watched, annotation["expr"]) == []  # it evaluates; no server started anew


@needs_prometheus
def test_every_rule_evaluates_every_record_has_data_and_no_alert_fires(watched: Watched):
    for rule in RULES:
        if "record" in rule:
            until_found(watched, rule["record"])
        instant(watched, rule.get("expr"))
    found = [rule for group in ask(watched.address, "rules")["groups"] for rule in group["rules"]]
    assert len(found) == len(RULES)
    assert {(rule["name"], rule["health"], rule.get("lastError")) for rule in found} == {
        (rule.get("record") or rule.get("alert"), "ok", None) for rule in RULES
    }
    assert [rule["name"] for rule in found if rule.get("state") == "firing"] == []


@needs_prometheus
@pytest.mark.parametrize("model", [".*", "a model of which there is nothing"])
@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_is_drawn_without_grafana(name: str, model: str, watched: Watched, tmp_path: Path):
    output = tmp_path / f"{name}.png"
    words = [name, "--prometheus", watched.address, "--model", model, "--minutes", "1", "-o", str(output)]
    assert main(words) == 0
    assert output.read_bytes().startswith(b"\x89PNG")


def test_to_draw_without_prometheus_is_refused_in_a_line(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    address = f"http://127.0.0.1:{free_port()}"
    assert main(["service", "--prometheus", address, "-o", str(tmp_path / "nothing.png")]) == 1
    assert f"Prometheus at {address} does not answer" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@needs_prometheus
def test_ctrl_c_ends_prometheus_too(watched: Watched):
    """The last test of this file: nothing is watched after it."""
    with urlopen(watched.address, timeout=MOST_SECONDS) as page:
        assert "Alerts" in page.read().decode()
    watched.process.send_signal(signal.SIGINT)
    assert watched.process.stdout is not None
    said = watched.process.stdout.read()
    watched.process.wait(MOST_SECONDS)
    assert watched.process.returncode == 0
    assert said.rstrip().endswith("ended")
    assert f"  {watched.address} " in said
    with pytest.raises(OSError, match="refused"):
        urlopen(f"{watched.address}/-/ready", timeout=5)
