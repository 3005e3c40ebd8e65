"""The wheel outside the checkout: installed in an environment of its own, run in an empty folder."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.support.checkout import copy_sources

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
ROWS = 100
WORDS = {"good": "a fine and pleasant film", "bad": "a dull and tiresome film"}


@pytest.fixture(scope="module")
def toolchain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the command of an installed wheel; the libraries come from the environment of the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    _pip("wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(copy_sources(folder / "sources")))
    environment = folder / "environment"
    venv.create(environment)
    python = environment / "bin" / "python"
    (wheel,) = folder.glob("*.whl")
    _pip("--python", str(python), "install", "--no-deps", str(wheel))
    libraries = sysconfig.get_path("purelib", vars={"base": str(environment), "platbase": str(environment)})
    (Path(libraries) / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    return environment / "bin" / "toolchain"


def _pip(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *words], check=True)


def _run(folder: Path, *words: str | Path) -> "subprocess.CompletedProcess[str]":
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(words, cwd=folder, env=clean, capture_output=True, text=True, check=False, timeout=600)


def test_the_code_comes_from_the_wheel(toolchain: Path, tmp_path: Path):
    done = _run(tmp_path, toolchain.parent / "python", "-c", "import cli; print(cli.__file__)")
    assert str(ROOT) not in done.stdout
    assert done.stdout.startswith(str(toolchain.parents[1])), done.stderr


def test_a_model_is_trained_and_gated_in_an_empty_folder(toolchain: Path, tmp_path: Path):
    rows = [f"{text} {i},{label}" for i in range(ROWS // 2) for label, text in WORDS.items()]
    (tmp_path / "my.csv").write_text("\n".join(["text,label", *rows]))
    done = _run(
        tmp_path, toolchain, "submit", "bert_finetune", "-p", "source=my.csv", "-p", "epochs=1", "-p", "min_rows=5"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"my.csv", "runs"}
    assert "bert_finetune" in _run(tmp_path, toolchain, "runs").stdout


def test_what_needs_a_checkout_is_rejected_in_one_line(toolchain: Path, tmp_path: Path):
    done = _run(tmp_path, toolchain, "images")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "clone the repository" in done.stderr


def test_schedules_are_read_from_the_working_directory(toolchain: Path, tmp_path: Path):
    folder = tmp_path / "manifests" / "schedules"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("{name: mine, pipeline: prepare, cron: 0 2 * * *, zone: UTC}")
    assert "mine" in _run(tmp_path, toolchain, "schedule", "list").stdout
