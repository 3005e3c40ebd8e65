"""Makes an arm64 Python on a machine of another kind, in a folder of its own: what ``make arm64`` runs.

Debian's packages are fetched by apt-get and unpacked by dpkg, wheels come by pip: nothing is installed on the machine,
and no rights of root are needed.
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
DEBIAN = ("python3", "libstdc++6")  # for arm64, with all that they rest on
QEMU = "qemu-user-static"  # for this machine; from Debian 13 on it rests on qemu-user, which is static by then
WHEELS = ("numpy", "onnxruntime", "openvino", "pillow", "pyyaml", "rich", "tokenizers")  # what answering imports
GLIBC = range(17, 42)  # minor versions that wheels ask for; pip takes no "or older", so each is named
TRIED = "import numpy, onnxruntime, openvino, PIL, tokenizers, platform; print(platform.python_version())"
SECONDS_TO_TRY = 120.0


def main() -> int:
    """Make it unless it is there; return the exit status."""
    try:
        make(ROOT / FOLDER)
    except ToolchainError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def make(target: Path) -> None:
    """Make the folder ``target``, unless an arm64 Python is there or this machine is one.

    Raises:
        ConfigError: apt-get or dpkg is missing.
        ServiceError: a package source does not answer or has nothing for arm64, or what came does not run.
    """
    if platform.machine() in emulator.ARM64:
        log_info("this machine's processor is an arm64: nothing needs to be emulated")
        return
    if (target / emulator.DESCRIPTION).is_file():
        log_info(f"{target} is there; remove it to make it again")
        return
    for missing in (name for name in ("apt-get", "dpkg") if shutil.which(name) is None):
        raise ConfigError(f"{missing} is not here: an arm64 Python is made of Debian's packages, on Debian")
    shutil.rmtree(target, ignore_errors=True)
    with new_folder(target) as folder:
        version = _unpack_debian(folder)
        python = _python(folder / emulator.ROOT)
        _install_wheels(folder / emulator.SITE, python.name.removeprefix("python"))
        inner = str(python.relative_to(folder / emulator.ROOT))
        runs = emulator.emulated(folder, inner, version).run(["-c", TRIED], SECONDS_TO_TRY).strip()
        about = {"format": emulator.FORMAT, "version": 1, "python": inner, "qemu": version}
        write_json(folder / emulator.DESCRIPTION, about)
    log_info(f"made {target}: Python {runs} on QEMU {version}; the next run of a pipeline tries its winner there")


def _unpack_debian(folder: Path) -> str:
    """Put Debian's Python for arm64 and QEMU into ``folder``, and return QEMU's version."""
    here = _run("dpkg", "--print-architecture").strip()
    with TemporaryDirectory(dir=folder) as kept:
        apt = _apt(Path(kept), here)
        log_info("fetching Debian's Python for arm64, and QEMU")
        subprocess.run([*apt, "update"], capture_output=True, check=False)  # a third source may have nothing for arm64
        _run(*apt, "-y", "--no-install-recommends", "--download-only", "install", *DEBIAN, f"{QEMU}:{here}")
        for package in sorted((Path(kept) / "cache" / "archives").glob("*.deb")):
            place = "qemu" if package.stem.endswith(f"_{here}") else emulator.ROOT
            _run("dpkg", "-x", str(package), str(folder / place))
    root = folder / emulator.ROOT
    if not (root / "lib").exists():  # from Debian 13 on a package of its own makes this link
        (root / "lib").symlink_to("usr/lib")
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc" / "cpuinfo").write_text(emulator.CPUINFO, encoding="utf-8")
    program = next(folder / name for name in emulator.EMULATORS if (folder / name).is_file())
    for other in (path for path in program.parent.iterdir() if path != program):  # for processors that nobody asks for
        other.unlink()
    return _run(str(program), "--version").split()[2]


def _apt(folder: Path, here: str) -> list[str]:
    """Return apt-get as it works in ``folder`` alone, for arm64 and for ``here``, this machine's architecture."""
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "state" / "status").touch()  # nothing is installed: all that a package rests on is fetched
    options = (
        "APT::Architecture=arm64",
        "APT::Architectures::=arm64",
        f"APT::Architectures::={here}",
        f"Dir::State={folder / 'state'}",
        f"Dir::State::status={folder / 'state' / 'status'}",
        f"Dir::Cache={folder / 'cache'}",
        "Debug::NoLocking=1",
        "APT::Sandbox::User=root",  # the folder is its owner's alone
    )
    return ["apt-get", "-qq", *(word for option in options for word in ("-o", option))]


def _python(root: Path) -> Path:
    """Return the program python3.N in ``root``."""
    return next(path for path in sorted((root / "usr" / "bin").glob("python3.*")) if path.suffix[1:].isdigit())


def _install_wheels(site: Path, version: str) -> None:
    """Put WHEELS into ``site``, built for arm64 and for Python ``version``, as they are pinned."""
    log_info("fetching ONNX Runtime, OpenVINO and tokenizers for arm64")
    platforms = ["manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in GLIBC)]
    named = [word for name in platforms for word in ("--platform", name)]
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", str(site))
    pins = ("--constraint", str(ROOT / "constraints.txt"))
    _run(*pip, *pins, "--only-binary=:all:", "--python-version", version, *named, *WHEELS)


def _run(*command: str) -> str:
    """Run ``command`` and return what it printed; its last line of complaint is raised as ServiceError."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise ServiceError(f"{command[0]} fails: {said[-1].strip() if said else 'it does not say why'}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
