"""Create an emulated arm64 Python on a machine of another architecture: what ``make arm64`` runs.

apt-get downloads Debian's packages, dpkg unpacks them, and pip installs the wheels, all into one folder: nothing is
installed on the machine, and root is not needed.
"""

import platform
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from cli.settings import ROOT
from toolchain.artifacts.folder import new_folder, write_json
from toolchain.errors import ConfigError, ServiceError, ToolchainError
from toolchain.hardware import emulator
from toolchain.progress import log_info

FOLDER = ".venv-arm64"
DEBIAN = ("python3", "libstdc++6")  # for arm64, with their dependencies
QEMU = "qemu-user-static"  # for this machine; from Debian 13 on it depends on qemu-user, which is then static
WHEELS = ("numpy", "onnxruntime", "openvino", "pillow", "pyyaml", "rich", "tokenizers")  # imported by inference
GLIBC = range(17, 42)  # minor versions required by wheels; pip has no "or older", so each is listed
CHECK = "import numpy, onnxruntime, openvino, PIL, tokenizers, platform; print(platform.python_version())"
CHECK_TIMEOUT_S = 120.0


def main() -> int:
    """Create the environment unless it exists; return the exit status."""
    try:
        make(ROOT / FOLDER)
    except ToolchainError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def make(target: Path) -> None:
    """Create the folder ``target``, unless it has an arm64 Python or this machine is an arm64.

    Raises:
        ConfigError: apt-get or dpkg is missing.
        ServiceError: a package source does not respond or has no arm64 packages, or the result does not run.
    """
    if platform.machine() in emulator.ARM64:
        log_info("this machine is an arm64: no emulation is needed")
        return
    if (target / emulator.DESCRIPTION).is_file():
        log_info(f"{target} exists; remove it to create it again")
        return
    for missing in (name for name in ("apt-get", "dpkg") if shutil.which(name) is None):
        raise ConfigError(f"{missing} is not installed: make arm64 needs Debian")
    shutil.rmtree(target, ignore_errors=True)
    with new_folder(target) as folder:
        version = _unpack_debian(folder)
        python = _python(folder / emulator.ROOT)
        _install_wheels(folder / emulator.SITE, python.name.removeprefix("python"))
        inner = str(python.relative_to(folder / emulator.ROOT))
        runs = emulator.emulated(folder, inner, version).run(["-c", CHECK], CHECK_TIMEOUT_S).strip()
        about = {"format": emulator.FORMAT, "version": 1, "python": inner, "qemu": version}
        write_json(folder / emulator.DESCRIPTION, about)
    log_info(f"created {target}: Python {runs} on QEMU {version}; pipeline runs test the selected variant there")


def _unpack_debian(folder: Path) -> str:
    """Unpack Debian's Python for arm64 and QEMU into ``folder``, and return QEMU's version."""
    local = _run("dpkg", "--print-architecture").strip()
    with TemporaryDirectory(dir=folder) as downloads:
        apt = _apt(Path(downloads), local)
        log_info("downloading Debian's Python for arm64, and QEMU")
        subprocess.run([*apt, "update"], capture_output=True, check=False)  # a source may have no arm64 packages
        _run(*apt, "-y", "--no-install-recommends", "--download-only", "install", *DEBIAN, f"{QEMU}:{local}")
        for package in sorted((Path(downloads) / "cache" / "archives").glob("*.deb")):
            target = "qemu" if package.stem.endswith(f"_{local}") else emulator.ROOT
            _run("dpkg", "-x", str(package), str(folder / target))
    root = folder / emulator.ROOT
    if not (root / "lib").exists():  # from Debian 13 on a separate package creates this link
        (root / "lib").symlink_to("usr/lib")
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc" / "cpuinfo").write_text(emulator.CPUINFO, encoding="utf-8")
    program = next(folder / name for name in emulator.EMULATORS if (folder / name).is_file())
    for other in (path for path in program.parent.iterdir() if path != program):  # emulators of other processors
        other.unlink()
    return _run(str(program), "--version").split()[2]


def _apt(folder: Path, local: str) -> list[str]:
    """Return apt-get limited to ``folder``, for arm64 and ``local``, this machine's architecture."""
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "state" / "status").touch()  # no installed packages: all dependencies are downloaded
    options = (
        "APT::Architecture=arm64",
        "APT::Architectures::=arm64",
        f"APT::Architectures::={local}",
        f"Dir::State={folder / 'state'}",
        f"Dir::State::status={folder / 'state' / 'status'}",
        f"Dir::Cache={folder / 'cache'}",
        "Debug::NoLocking=1",
        "APT::Sandbox::User=root",  # only its owner can access the folder
    )
    return ["apt-get", "-qq", *(token for option in options for token in ("-o", option))]


def _python(root: Path) -> Path:
    """Return the program python3.N in ``root``."""
    return next(path for path in sorted((root / "usr" / "bin").glob("python3.*")) if path.suffix[1:].isdigit())


def _install_wheels(site: Path, version: str) -> None:
    """Install WHEELS, pinned, for arm64 and Python ``version`` into ``site``."""
    log_info("downloading ONNX Runtime, OpenVINO and tokenizers for arm64")
    platforms = ["manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in GLIBC)]
    options = [token for name in platforms for token in ("--platform", name)]
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", str(site))
    pins = ("--constraint", str(ROOT / "constraints.txt"))
    _run(*pip, *pins, "--only-binary=:all:", "--python-version", version, *options, *WHEELS)


def _run(*command: str) -> str:
    """Run ``command`` and return its output; ServiceError with its last line when it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise ServiceError(f"{command[0]} failed: {lines[-1].strip() if lines else f'exit status {done.returncode}'}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
