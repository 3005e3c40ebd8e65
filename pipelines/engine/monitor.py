"""Watch model servers and runs from this machine: what ``make monitor`` runs.

Starts Prometheus, and Grafana where it is installed, on 127.0.0.1 with the rules and dashboards of monitoring/, and
ends them with itself. What they keep, and what they print, is in the folder of the runs.
"""

import argparse
import json
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from pipelines.engine import exporter
from pipelines.engine.cost import read_prices
from pipelines.engine.doctor import is_answering
from pipelines.engine.settings import ROOT, Settings, read_settings, step_environment
from toolchain.artifacts.folder import write_file
from toolchain.errors import ConfigError, ServiceError, ToolchainError
from toolchain.progress import say

MONITORING = ROOT / "monitoring"
DASHBOARDS = MONITORING / "grafana" / "dashboards"
HOST = "127.0.0.1"
ADDRESS = re.compile(r"\w[\w.-]*:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}")
ERROR = re.compile(r"\berr(or)?\b|^panic:", re.IGNORECASE)  # a line of a log that tells of one
KEPT = "15d"  # of figures: Prometheus' own default, a few MB for a server
SECONDS_TO_START = 60  # Grafana makes its database when it first starts
SECONDS_TO_END = 20  # Prometheus writes what it holds in memory
SECONDS_BETWEEN_LOOKS = 0.2


@dataclass(frozen=True)
class Program:
    """A server that is started, and ended, here."""

    name: str
    command: Sequence[str]
    address: str  # where a person opens it
    health: str  # the path that answers once it is up
    environment: Mapping[str, str] = field(default_factory=dict)  # besides this process's own


def main(words: list[str] | None = None) -> int:
    """Watch by the command line's words; return the exit status."""
    parser = argparse.ArgumentParser(description="Watch model servers by Prometheus, and Grafana where installed.")
    parser.add_argument(
        "servers", nargs="*", default=[f"{HOST}:8080"], metavar="HOST:PORT", help="default: %(default)s"
    )
    parser.add_argument("--port", type=int, default=9090, help="Prometheus'; default: %(default)s")
    parser.add_argument("--grafana-port", type=int, default=3000, help="default: %(default)s")
    parser.add_argument("--every", type=int, default=5, metavar="SECONDS", help="how often it looks (%(default)s)")
    given = parser.parse_args(words)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        monitor(given.servers, given.port, given.grafana_port, given.every, read_settings())
    except ToolchainError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("ended")
    return 0


def monitor(servers: Sequence[str], port: int, grafana_port: int, seconds: int, settings: Settings) -> None:
    """Watch ``servers`` (HOST:PORT), asking each every so many ``seconds``, until Ctrl-C.

    Raises:
        ConfigError: Prometheus is not installed, a port is taken, or an address is none.
        ServiceError: a program does not start, or ends by itself.
    """
    for server in servers:
        if not ADDRESS.fullmatch(server):
            raise ConfigError(f"{server!r} is no address of a server: give HOST:PORT, 127.0.0.1:8080 say")
    if seconds < 1:
        raise ConfigError(f"--every is {seconds}: give whole seconds, 5 is usual")
    folder = settings.runs / "monitoring"
    programs = [prometheus(folder, port), *grafana(folder, grafana_port, f"http://{HOST}:{port}", seconds)]
    for program in programs:
        _check_free(program)
    environment = step_environment(settings)
    with ExitStack() as stack:
        runs_port = stack.enter_context(exporter.serving(settings.runs, read_prices(), HOST))
        write_configuration(folder, servers, seconds, runs_port)
        processes = [(program, stack.enter_context(_running(program, folder, environment))) for program in programs]
        _tell(programs, servers)
        _wait(processes, folder)


def write_configuration(folder: Path, servers: Sequence[str], seconds: int, runs_port: int) -> None:
    """Write Prometheus' configuration into ``folder``: that of monitoring/, for these servers and the runs' figures."""
    import yaml

    folder.mkdir(parents=True, exist_ok=True)
    found = yaml.safe_load((MONITORING / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    found["global"] = {"scrape_interval": f"{seconds}s", "scrape_timeout": f"{seconds}s"}
    found["global"]["evaluation_interval"] = f"{seconds}s"
    found["rule_files"] = [str(MONITORING / "prometheus" / "rules.yml")]
    found["scrape_configs"][0]["static_configs"] = [{"targets": list(servers)}]
    runs = {"targets": [f"{HOST}:{runs_port}"], "labels": {"instance": "runs"}}  # each time at another port
    found["scrape_configs"].append({"job_name": "toolchain-runs", "static_configs": [runs]})
    write_file(folder / "prometheus.yml", yaml.safe_dump(found).encode())


def prometheus(folder: Path, port: int) -> Program:
    """Return Prometheus, which keeps its figures in ``folder``."""
    path = shutil.which("prometheus")
    if not path:
        raise ConfigError("Prometheus is not installed: apt-get install prometheus, or brew install prometheus")
    options = {
        "config.file": folder / "prometheus.yml",
        "storage.tsdb.path": folder / "figures",
        "storage.tsdb.retention.time": KEPT,
        "web.listen-address": f"{HOST}:{port}",
    }
    command = [path, *(f"--{name}={value}" for name, value in options.items())]
    return Program("Prometheus", command, f"http://{HOST}:{port}", "/-/ready")


def grafana(folder: Path, port: int, source: str, seconds: int) -> list[Program]:
    """Return Grafana, which shows all who ask what Prometheus at ``source`` holds; [] where it is not installed."""
    path = shutil.which("grafana") or shutil.which("grafana-server")
    if not path:
        return []
    environment = {
        "PROMETHEUS_URL": source,
        "SCRAPE_INTERVAL": f"{seconds}s",
        "DASHBOARDS": str(DASHBOARDS),
        "GF_PATHS_PROVISIONING": str(MONITORING / "grafana" / "provisioning"),
        "GF_PATHS_DATA": str(folder / "grafana"),
        "GF_PATHS_LOGS": str(folder / "grafana"),
        "GF_SERVER_HTTP_ADDR": HOST,
        "GF_SERVER_HTTP_PORT": str(port),
        "GF_AUTH_ANONYMOUS_ENABLED": "true",  # it listens on this machine only, and the role may only look
        "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
        "GF_AUTH_BASIC_ENABLED": "false",  # nobody logs in: Grafana's own password would be "admin"
        "GF_AUTH_DISABLE_LOGIN_FORM": "true",
        "GF_SECURITY_ADMIN_PASSWORD": secrets.token_urlsafe(24),
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
    }
    verb = ["server"] if Path(path).name == "grafana" else []
    command = [path, *verb, *(["--homepath", str(home)] if (home := _home(Path(path))) else [])]
    return [Program("Grafana", command, f"http://{HOST}:{port}", "/api/health", environment)]


def dashboard_paths() -> list[str]:
    """Return the path in Grafana of each dashboard, the service's first."""
    files = sorted(DASHBOARDS.glob("*.json"), key=lambda file: (file.stem != "service", file.stem))
    boards = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return [f"/d/{board['uid']}" for board in boards]


def _home(path: Path) -> Path | None:
    """Return the folder of Grafana's own files: a package's, or that of an unpacked archive; None when it must know."""
    above = path.resolve().parents[1]
    places = (Path("/usr/share/grafana"), above, above / "share" / "grafana")
    return next((place for place in places if (place / "conf" / "defaults.ini").is_file()), None)


def _check_free(program: Program) -> None:
    port = int(program.address.rsplit(":", 1)[1])
    option = "GRAFANA_PORT" if program.name == "Grafana" else "PROMETHEUS_PORT"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"{program.name} cannot listen at port {port}: {error}; name another by {option}="
            ) from error


@contextmanager
def _running(program: Program, folder: Path, environment: Mapping[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """Start ``program``, yield once it answers, and end it with the block."""
    with (folder / f"{program.name.lower()}.log").open("wb") as log:
        process = subprocess.Popen(
            program.command,
            env={**environment, **program.environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C comes to this process, which ends them in order
        )
    try:
        end = time.monotonic() + SECONDS_TO_START
        while not is_answering(program.address + program.health):
            if process.poll() is not None or time.monotonic() > end:
                raise ServiceError(f"{program.name} did not start: {_last_words(program, folder)}")
            time.sleep(SECONDS_BETWEEN_LOOKS)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _tell(programs: Sequence[Program], servers: Sequence[str]) -> None:
    for server in servers:
        if not is_answering(f"http://{server}/metrics"):
            say(f"{server} does not answer yet: python -m pipelines serve MODEL starts one, and it is asked until then")
    shown = {program.name: program.address for program in programs}
    say(f"watching {', '.join(servers)}; open")
    if "Grafana" in shown:
        for path in dashboard_paths():
            say(f"  {shown['Grafana']}{path}")
    say(f"  {shown['Prometheus']}   figures by query; under Alerts, what is wrong now")
    if "Grafana" not in shown:
        say("Grafana is not installed (grafana.com/grafana/download); without it, .venv/bin/python monitoring/draw.py")
        say("draws the dashboards, and docs/dashboards.md says how to bring them into a Grafana of your own")
    say("Ctrl-C ends it")


def _wait(processes: Sequence[tuple[Program, "subprocess.Popen[bytes]"]], folder: Path) -> None:
    """Return never: raise when one of ``processes`` ends by itself, or at Ctrl-C."""
    while True:
        for program, process in processes:
            if process.poll() is not None:
                raise ServiceError(f"{program.name} ended by itself: {_last_words(program, folder)}")
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _last_words(program: Program, folder: Path) -> str:
    """Return the last line of its log that tells of an error, or the last of all."""
    file = folder / f"{program.name.lower()}.log"
    lines = file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    telling = [line for line in lines if ERROR.search(line)]
    return f"{(telling or lines or ['it printed nothing'])[-1].strip()} ({file})"


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
