"""What ``make monitor`` writes, starts and refuses; tests/monitoring lets it watch real servers."""

import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from shutil import which

import pytest
import yaml

from pipelines.engine import monitor

needs_prometheus = pytest.mark.skipif(not which("prometheus"), reason="needs Prometheus: apt-get install prometheus")
Refused = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Return a function that tries to watch, and returns the one line that says why not."""
    monkeypatch.setenv("TOOLCHAIN_RUNS", str(tmp_path / "runs"))

    def run(*words: str) -> str:
        assert monitor.main(list(words)) == 1
        error = capsys.readouterr().err
        assert len(error.splitlines()) == 1
        return error

    return run


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("address", ["http://127.0.0.1:8080", "8080", "a b:1", "127.0.0.1:", "--port:1"])
def test_what_is_no_address_is_refused(address: str, refused: Refused):
    said = refused("--", address)
    assert f"{address!r} is no address of a server: give HOST:PORT" in said


def test_no_time_between_looks_is_refused(refused: Refused):
    assert "--every is 0: give whole seconds" in refused("--every", "0")


def test_without_prometheus_it_says_how_to_install_it(refused: Refused, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert "Prometheus is not installed: apt-get install prometheus" in refused()


@needs_prometheus
def test_a_port_that_is_taken_is_refused_before_anything_starts(refused: Refused, tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refused("--port", str(port))
    assert f"Prometheus cannot listen at port {port}" in said
    assert "name another by PROMETHEUS_PORT=" in said
    assert not (tmp_path / "runs").exists()


@needs_prometheus
def test_a_program_that_does_not_start_is_told_with_its_last_words(refused: Refused, tmp_path: Path):
    (tmp_path / "runs" / "monitoring").mkdir(parents=True)
    (tmp_path / "runs" / "monitoring" / "figures").write_text("a file where Prometheus wants its folder")
    said = refused("--port", str(free_port()), "--grafana-port", str(free_port()))
    assert "Prometheus did not start: " in said
    assert ".go:" not in said  # the last line of its stack tells nobody anything
    assert "prometheus.log" in said


@pytest.mark.skipif(not which("promtool"), reason="needs promtool: apt-get install prometheus")
def test_the_configuration_that_is_written_is_valid_and_names_the_servers(tmp_path: Path):
    monitor.write_configuration(tmp_path, ["127.0.0.1:8080", "[::1]:8081"], 2, 9101)
    file = tmp_path / "prometheus.yml"
    done = subprocess.run(["promtool", "check", "config", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    written = yaml.safe_load(file.read_text())
    assert written["scrape_configs"][0]["static_configs"] == [{"targets": ["127.0.0.1:8080", "[::1]:8081"]}]
    assert written["scrape_configs"][0]["job_name"] == "toolchain-serving"  # which the rules name
    assert written["global"]["scrape_interval"] == "2s"
    assert written["scrape_configs"][1]["static_configs"][0]["targets"] == ["127.0.0.1:9101"]


def test_grafana_gets_all_that_its_provisioning_asks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    unpacked = tmp_path / "grafana-12"
    for file in ("bin/grafana", "conf/defaults.ini"):
        (unpacked / file).parent.mkdir(parents=True)
        (unpacked / file).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(unpacked / "bin"))
    (program,) = monitor.grafana(tmp_path, 3000, "http://127.0.0.1:9090", 5)
    home = "/usr/share/grafana" if Path("/usr/share/grafana/conf/defaults.ini").is_file() else str(unpacked)
    assert program.command == [str(unpacked / "bin" / "grafana"), "server", "--homepath", home]
    provisioning = Path(program.environment["GF_PATHS_PROVISIONING"])
    files = list(provisioning.rglob("*.yml"))
    assert {file.parent.name for file in files} == {"datasources", "dashboards"}
    wanted = {name for file in files for name in re.findall(r"\$(\w+)", file.read_text())}
    assert wanted == {"PROMETHEUS_URL", "SCRAPE_INTERVAL", "DASHBOARDS"}
    assert wanted <= program.environment.keys()
    assert program.environment["PROMETHEUS_URL"] == "http://127.0.0.1:9090"
    assert program.environment["SCRAPE_INTERVAL"] == "5s"
    names = {file.stem for file in Path(program.environment["DASHBOARDS"]).glob("*.json")}
    assert {"service", "model-quality", "canary", "training-runs", "workflows"} <= names
    assert program.environment["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"


def test_nobody_logs_in_to_the_grafana_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its database may still hold the administrator that an older start made, with Grafana's own password."""
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    first, second = (monitor.grafana(tmp_path, 3000, "http://127.0.0.1:9090", 5)[0].environment for _ in range(2))
    assert (first["GF_AUTH_BASIC_ENABLED"], first["GF_AUTH_DISABLE_LOGIN_FORM"]) == ("false", "true")
    assert first["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert len(first["GF_SECURITY_ADMIN_PASSWORD"]) >= 32
    assert first["GF_SECURITY_ADMIN_PASSWORD"] != second["GF_SECURITY_ADMIN_PASSWORD"]


def test_without_grafana_nothing_of_it_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert monitor.grafana(tmp_path, 3000, "http://127.0.0.1:9090", 5) == []


def test_dashboards_are_told_by_their_addresses_the_service_first():
    first, second, *_ = monitor.dashboard_paths()
    assert (first, second) == ("/d/toolchain-service", "/d/toolchain-canary")
