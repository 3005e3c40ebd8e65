"""The documentation: each command that it shows works, each link leads to a file, and its diagram is current."""

import importlib.util
import re
import runpy
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.__main__ import main, parser
from cli.compiled import catalog, parameters
from cli.compiled.spec import Specification, load
from cli.output import summary
from cli.records.artifacts import REPORT
from cli.records.runs import Run, StepRecord
from cli.settings import read_settings

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^ *```(?:bash|console)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^ *((?:make|toolchain)(?: .*)?)$", re.MULTILINE)
REPOSITORY = "https://github.com/toolchain/toolchain/blob/main/"  # how a page of the site links to a file beside docs/
EXAMPLES = "\n## Add a step\n"  # the sections of CONTRIBUTING.md that test_contributing.py runs
QUICK = {"list", "compile", "runs", "doctor"}  # commands that are run for real, not only read
PLACEHOLDERS = ("NAME", "RUN", "MODEL", "KEY=VALUE")


def commands() -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for block in BLOCK.findall(text.partition(EXAMPLES)[0]):
            found += [(page.name, command.partition("  #")[0].strip()) for command in COMMAND.findall(block)]
    return sorted(set(found))


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled")


def specification(name: str, compiled: Path) -> Specification:
    return load(catalog.find(name), compiled)


def argv_of(command: str) -> list[str]:
    return shlex.split(command)


def test_there_are_commands_to_check():
    assert len(commands()) > 100


@pytest.mark.parametrize(("page", "command"), [pair for pair in commands() if pair[1].startswith("make")])
def test_a_make_command_is_valid(page: str, command: str, compiled: Path):
    argv = argv_of(command)[1:]
    targets = [argument for argument in argv if "=" not in argument]
    variables = dict(argument.split("=", 1) for argument in argv if "=" in argument)
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{target}:", text, re.MULTILINE) for target in targets), f"{page}: {command}"
    if "PIPELINE" in variables:
        known = specification(variables["PIPELINE"], compiled).parameters
        assert parameters.gather(variables.get("PARAMS", "").split(), None, known)


@pytest.mark.parametrize(("page", "command"), [pair for pair in commands() if pair[1].startswith("toolchain")])
def test_a_toolchain_command_is_valid(
    page: str, command: str, compiled: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    argv = argv_of(command)[1:]
    if "--help" in argv:
        with pytest.raises(SystemExit, match=r"^0$"):
            parser().parse_args(argv)
        return
    args = parser().parse_args(argv)
    if args.command == "submit" and args.pipeline not in PLACEHOLDERS:
        values = [pair for pair in args.parameters if pair not in PLACEHOLDERS]
        assert parameters.gather(values, None, specification(args.pipeline, compiled).parameters)
    if args.command in QUICK and not set(argv) & set(PLACEHOLDERS):
        monkeypatch.setenv("TOOLCHAIN_RUNS", str(tmp_path / "runs"))
        monkeypatch.chdir(tmp_path)
        assert main(argv) == 0


def test_make_lists_its_targets():
    listed = subprocess.run(["make", "-s", "-C", str(ROOT)], capture_output=True, text=True, check=True).stdout
    for target in ("setup", "submit", "test", "lint", "docs", "report", "mlflow", "monitor", "bench", "compile"):
        assert re.search(rf"^make {target} +\S+ \S+", listed, re.MULTILINE), f"make lists no {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_link_leads_to_a_file(page: Path):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)", text):
        if target.startswith(REPOSITORY):
            assert (ROOT / target.removeprefix(REPOSITORY)).exists(), target
        elif not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target


@pytest.fixture(scope="session")
def diagram() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "diagram.py"))


def test_the_diagram_is_current(diagram: dict[str, Any]):
    assert diagram["FILE"].read_text(encoding="utf-8") == diagram["draw"](), "run make docs"


def test_the_diagram_names_modules_that_exist(diagram: dict[str, Any]):
    for box in (box for row in diagram["ROWS"] for box in row.boxes):
        for module in box.modules:
            assert importlib.util.find_spec(f"toolchain.{module}"), box


def variant_of(line: str) -> dict[str, Any]:
    """Return the entry of report.json from which a line of a run's summary was printed."""
    name, accuracy, agreement, p50, speedup, megabytes, gate = re.split(r" {2,}", line.strip())
    ratio, low, high = re.findall(r"[\d.]+", speedup)
    return {
        "name": name.removesuffix(" ◀"),
        "accuracy": float(accuracy),
        "agreement": float(agreement),
        "p50_ms": float(p50),
        "speedup": float(ratio),
        "speedup_low": float(low),
        "speedup_high": float(high),
        "size_bytes": float(megabytes) * 1e6,
        "accurate": gate.startswith(("accurate", "reference")),
        "faster": gate.endswith(", faster"),
    }


def test_the_readme_shows_what_a_run_prints(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    (shown,) = re.findall(r"```text\n(bert_finetune-.*?)\nReport:", PAGES[0].read_text(encoding="utf-8"), re.DOTALL)
    first, _, *variants, verdict = shown.splitlines()
    name, seconds, steps = re.fullmatch(
        r"(\S+): succeeded in ([\d.]+) s, (\d+) steps, 0 of them cached", first
    ).groups()  # type: ignore[union-attr]
    reason, winner = re.fullmatch(r"Verdict: ((\S+) is selected: .*)", verdict).groups()  # type: ignore[union-attr]
    report = {
        "variants": [variant_of(line) for line in variants],
        "verdict": {"winner": winner, "reason": reason, "promotable": True},
    }
    monkeypatch.setattr(summary, "read_report", lambda run, kind=REPORT: report if kind == REPORT else None)
    run = Run(name, "bert_finetune", Path("runs"), {}, [StepRecord("data.ingest", "data.ingest", "")] * int(steps))
    summary.summary(replace(run, seconds=float(seconds)), read_settings())
    assert capsys.readouterr().out.strip().splitlines() == shown.splitlines()
