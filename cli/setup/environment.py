"""Install this project with pinned versions into the environment of the Python that runs this file.

``make setup`` runs it before anything is installed, so it imports the standard library only. uv installs in a fraction
of pip's time; pip is the fallback, for example where the index accepts pip's way of authentication only.
"""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.request import urlopen  # the door to HTTP is not installed yet

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = ("-c", "constraints.txt")
UV = "uv"
BUILD_TOOLS = ("pip", "setuptools", UV)
INDEX_TIMEOUT_S = 3  # DNS included; a slower index is not worth its smaller wheels
SETTINGS = {  # pip's settings, and the variables in which uv takes them
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
}
SETTING = re.compile(r"^\S*\.([a-z-]+)='(.*)'$", re.MULTILINE)  # a line of `pip config list`


def main(torch_index: str) -> None:
    """Install everything; ``torch_index`` is the index of PyTorch's wheels without CUDA."""
    _pip("install", "--quiet", "--upgrade", *CONSTRAINTS, *BUILD_TOOLS)
    environment = uv_environment(_pip_settings(), os.environ)
    if not _has_gpu() and _responds(f"{torch_index}/torch/"):
        print(f"PyTorch: CPU wheels of {torch_index}", flush=True)
        _install(environment, "--no-deps", "--index-url", torch_index, *_pins("torch", "torchvision"))
    else:
        print("PyTorch: the wheels of the package index", flush=True)
    _install(environment, "--no-build-isolation", *CONSTRAINTS, "-e", ".[dev]")
    _install(environment, "--no-deps", "--require-hashes", "-r", "data.txt")


def uv_environment(pip_settings: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return ``environment`` with pip's settings, the output of ``pip config list``, as uv's variables."""
    found = {SETTINGS[name]: value for name, value in SETTING.findall(pip_settings) if name in SETTINGS}
    joined = {name: value.replace("\\n", " ").strip() for name, value in found.items()}
    links = joined.get("UV_FIND_LINKS", "").split()
    joined["UV_FIND_LINKS"] = ",".join(links)  # the only variable with commas between its values
    return {**{name: value for name, value in joined.items() if value}, **environment}


def _pip_settings() -> str:
    command = [sys.executable, "-m", "pip", "config", "list"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _install(environment: Mapping[str, str], *arguments: str) -> None:
    """Install with uv, which shows its progress; with pip if that fails."""
    command = [sys.executable, "-m", UV, "pip", "install", "--python", sys.executable, *arguments]
    if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode != 0:
        print("uv failed; installing with pip (a few minutes)", flush=True)
        _pip("install", *arguments)


def _pip(*arguments: str) -> None:
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    subprocess.run([sys.executable, "-m", "pip", *arguments], cwd=ROOT, env=environment, check=True)


def _pins(*names: str) -> Sequence[str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.partition("==")[0] in names]


def _has_gpu() -> bool:
    return shutil.which("nvidia-smi") is not None or Path("/dev/nvidia0").exists()


def _responds(url: str) -> bool:
    """Return whether ``url`` responds in time; a thread bounds the time of name resolution too."""
    responded = threading.Event()

    def request() -> None:
        try:
            with urlopen(url, timeout=INDEX_TIMEOUT_S) as response:
                if response.status == 200:
                    responded.set()
        except OSError:
            return

    threading.Thread(target=request, daemon=True).start()
    return responded.wait(INDEX_TIMEOUT_S)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
