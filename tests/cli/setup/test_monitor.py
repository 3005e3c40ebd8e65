"""Configuration and errors of ``make monitor``; tests/monitoring runs it on real servers."""

import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from shutil import which

import pytest
import yaml

from cli.setup import monitor

needs_prometheus = pytest.mark.skipif(not which("prometheus"), reason="needs Prometheus: apt-get install prometheus")
Errors = Callable[..., str]


@pytest.fixture
def error_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Errors:
    """Return a function that runs the command and returns its one line of error."""
    monkeypatch.setenv("TOOLCHAIN_RUNS", str(tmp_path / "runs"))

    def run(*words: str) -> str:
        assert monitor.main(list(words)) == 1
        error = capsys.readouterr().err
        assert len(error.splitlines()) == 1
        return error

    return run


@pytest.mark.parametrize("address", ["http://127.0.0.1:8080", "8080", "a b:1", "127.0.0.1:", "--port:1"])
def test_an_address_that_is_not_valid(address: str, error_of: Errors):
    assert repr(address) in error_of("--", address)


def test_an_interval_that_is_not_valid(error_of: Errors):
    assert "--scrape-interval is 0" in error_of("--scrape-interval", "0")


def test_without_prometheus_the_error_shows_how_to_install_it(error_of: Errors, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert "apt-get install prometheus" in error_of()


@needs_prometheus
def test_prometheus_that_cannot_start_is_an_error(error_of: Errors):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        error = error_of("--port", str(taken.getsockname()[1]))
    assert "exit status 1" in error
    assert "PROMETHEUS_PORT=" in error


@pytest.mark.skipif(not which("promtool"), reason="needs promtool: apt-get install prometheus")
def test_the_configuration_is_valid_and_names_the_servers(tmp_path: Path):
    monitor.write_configuration(tmp_path, ["127.0.0.1:8080", "[::1]:8081"], 2, 9101)
    file = tmp_path / "prometheus.yml"
    done = subprocess.run(["promtool", "check", "config", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    written = yaml.safe_load(file.read_text())
    assert written["scrape_configs"][0]["static_configs"] == [{"targets": ["127.0.0.1:8080", "[::1]:8081"]}]
    assert written["scrape_configs"][0]["job_name"] == "toolchain-serving"  # the rules select it by this name
    assert written["global"]["scrape_interval"] == "2s"
    assert written["scrape_configs"][1]["static_configs"][0]["targets"] == ["127.0.0.1:9101"]


COMPOSE = yaml.safe_load((monitor.ROOT / "monitoring" / "compose.yaml").read_text())["services"]


def test_containers_run_the_charts_images():
    images = yaml.safe_load((monitor.ROOT / "charts" / "toolchain" / "values.yaml").read_text())["images"]
    assert {name: service["image"] for name, service in COMPOSE.items()} == {
        name: images[name] for name in ("prometheus", "grafana")
    }


def test_containers_mount_folders_that_exist_and_listen_on_this_machine_alone():
    for service in COMPOSE.values():
        sources = [volume.partition(":")[0] for volume in service["volumes"]]
        folders = [monitor.ROOT / "monitoring" / source for source in sources if source.startswith("./")]
        assert folders
        assert all(folder.is_dir() for folder in folders)
    assert "--web.listen-address=127.0.0.1:9090" in COMPOSE["prometheus"]["command"]
    assert COMPOSE["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"


def test_grafana_gets_the_variables_of_its_provisioning_and_no_login():
    environment = COMPOSE["grafana"]["environment"]
    files = list((monitor.ROOT / "monitoring" / "grafana" / "provisioning").rglob("*.yml"))
    assert {file.parent.name for file in files} == {"datasources", "dashboards"}
    variables = {name for file in files for name in re.findall(r"\$(\w+)", file.read_text())}
    assert variables == {"PROMETHEUS_URL", "SCRAPE_INTERVAL", "DASHBOARDS"}
    assert variables <= environment.keys()
    assert f"./grafana/dashboards:{environment['DASHBOARDS']}:ro" in COMPOSE["grafana"]["volumes"]
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
