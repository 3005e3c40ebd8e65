"""Monitor model servers and pipeline runs with Prometheus on this machine: what ``make monitor`` runs.

Prometheus gets the rules of monitoring/ and stores its metrics in the folder of the runs. Grafana, with the dashboards,
is in monitoring/compose.yaml.
"""

import argparse
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from cli.records.cost import read_prices
from cli.settings import ROOT, Settings, read_settings, step_environment
from cli.setup import run_exporter
from cli.setup.doctor import is_reachable
from toolchain.artifacts.folder import write_file
from toolchain.errors import ConfigError, ServiceError, ToolchainError
from toolchain.progress import log_info

PROMETHEUS = ROOT / "monitoring" / "prometheus"
HOST = "127.0.0.1"
ADDRESS = re.compile(r"\w[\w.-]*:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}")
RETENTION = "15d"  # Prometheus' default; a few MB for each server
SHUTDOWN_TIMEOUT_S = 20  # Prometheus writes its memory to disk


def main(argv: list[str] | None = None) -> int:
    """Monitor by the command line's options; return the exit status."""
    parser = argparse.ArgumentParser(description="Monitor model servers and pipeline runs with Prometheus.")
    parser.add_argument(
        "servers", nargs="*", default=[f"{HOST}:8080"], metavar="HOST:PORT", help="default: %(default)s"
    )
    parser.add_argument("--port", type=int, default=9090, help="Prometheus' port; default: %(default)s")
    parser.add_argument("--scrape-interval", type=int, default=5, metavar="SECONDS", help="default: %(default)s")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        monitor(options.servers, options.port, options.scrape_interval, read_settings())
    except ToolchainError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        log_info("monitoring stopped")
    return 0


def monitor(servers: Sequence[str], port: int, interval_s: int, settings: Settings) -> None:
    """Monitor ``servers`` (HOST:PORT), each read every ``interval_s`` seconds, until Ctrl-C.

    Raises:
        ConfigError: Prometheus is not installed, or an option is not valid.
        ServiceError: Prometheus stopped.
    """
    for server in servers:
        if not ADDRESS.fullmatch(server):
            raise ConfigError(f"{server!r} is not an address: expected HOST:PORT, such as 127.0.0.1:8080")
    if interval_s < 1:
        raise ConfigError(f"--scrape-interval is {interval_s}: expected whole seconds, 1 or more")
    folder = settings.runs / "monitoring"
    command = prometheus(folder, port)
    with run_exporter.serving(settings.runs, read_prices(), HOST) as runs_port:
        write_configuration(folder, servers, interval_s, runs_port)
        _print_addresses(servers, port)
        status = _run_to_end(subprocess.Popen(command, env=step_environment(settings), start_new_session=True))
    raise ServiceError(f"Prometheus stopped with exit status {status}: see above; PROMETHEUS_PORT= sets another port")


def write_configuration(folder: Path, servers: Sequence[str], interval_s: int, runs_port: int) -> None:
    """Write Prometheus' configuration into ``folder``: that of monitoring/, for these servers and the exporter."""
    import yaml

    folder.mkdir(parents=True, exist_ok=True)
    content = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    names = ("scrape_interval", "scrape_timeout", "evaluation_interval")
    content["global"] = dict.fromkeys(names, f"{interval_s}s")
    content["rule_files"] = [str(PROMETHEUS / "rules.yml")]
    content["scrape_configs"][0]["static_configs"] = [{"targets": list(servers)}]
    runs = {"targets": [f"{HOST}:{runs_port}"], "labels": {"instance": "runs"}}  # the port differs each time
    content["scrape_configs"].append({"job_name": "toolchain-runs", "static_configs": [runs]})
    write_file(folder / "prometheus.yml", yaml.safe_dump(content).encode())


def prometheus(folder: Path, port: int) -> list[str]:
    """Return the command that starts Prometheus, with its configuration and metrics in ``folder``."""
    path = shutil.which("prometheus")
    if not path:
        raise ConfigError(
            "Prometheus is not installed: apt-get install prometheus, brew install prometheus, or run it in a container"
            " (docker compose -f monitoring/compose.yaml up)"
        )
    options = {
        "config.file": folder / "prometheus.yml",
        "storage.tsdb.path": folder / "metrics",
        "storage.tsdb.retention.time": RETENTION,
        "web.listen-address": f"{HOST}:{port}",
        "log.level": "warn",
    }
    return [path, *(f"--{name}={value}" for name, value in options.items())]


def _print_addresses(servers: Sequence[str], port: int) -> None:
    for server in servers:
        if not is_reachable(f"http://{server}/metrics"):
            log_info(f"{server} does not respond yet: toolchain serve MODEL starts a server")
    log_info(f"monitoring {', '.join(servers)}")
    log_info(f"  http://{HOST}:{port}   Prometheus: queries and alerts")
    log_info("  docker compose -f monitoring/compose.yaml up grafana   starts Grafana with the dashboards")
    log_info("Ctrl-C stops it")


def _run_to_end(process: "subprocess.Popen[bytes]") -> int:
    """Return the exit status of ``process``, which is stopped when this one is interrupted."""
    try:
        return process.wait()
    finally:
        process.terminate()
        try:
            process.wait(SHUTDOWN_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
