import argparse
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.__main__ import COMMANDS, GROUPS, main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOOLCHAIN_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("KFP_ENDPOINT", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path / "runs"


def test_help_imports_nothing_heavy():
    code = (
        "import sys, runpy; sys.argv = ['toolchain', '--help']\n"
        "try: runpy.run_module('cli', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "found = {'kfp', 'torch', 'mlflow', 'pandas', 'yaml', 'rich'} & sys.modules.keys()\n"
        "assert not found, found"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_lists_every_command_in_its_group(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert re.findall(r"^(\w+):$", shown, re.MULTILINE) == list(GROUPS)
    assert re.findall(r"^  ([\w-]+)  ", shown, re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_handler_takes_the_options_of_its_command_by_name(name: str):
    module = COMMANDS[name]
    command = argparse.ArgumentParser()
    module.add_arguments(command)
    options = set(destinations(command))
    parameters = inspect.signature(module.run).parameters
    assert options == parameters.keys() - {"top"}
    assert all(one.annotation is not inspect.Parameter.empty for one in parameters.values())


def destinations(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from destinations(inner)
        if action.dest != "help":
            yield action.dest


@pytest.mark.parametrize("name", COMMANDS)
def test_each_option_has_a_sentence_of_help(name: str):
    command = argparse.ArgumentParser()
    COMMANDS[name].add_arguments(command)
    plain = [action for action in command._actions if not isinstance(action, argparse._SubParsersAction)]
    assert all(re.match(r"[A-Z]|s3|coco|gRPC|YAML|HTTP|show", action.help or "") for action in plain), name
    assert COMMANDS[name].SUMMARY.endswith(".")


def test_list_names_every_pipeline(capsys: pytest.CaptureFixture[str]):
    assert main(["list"]) == 0
    assert "bert_finetune" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["submit", "bert_finetun"], "did you mean 'bert_finetune'"),
        (["submit", "bert_finetune", "-p", "epoch=1"], "did you mean 'epochs'"),
        (["submit", "bert_finetune", "-p", "epochs=x"], "epochs takes a whole number"),
        (["compile", "all"], "-o DIRECTORY"),
        (["show"], "no runs"),
        (["show", "nothing"], "no runs"),
    ],
)
def test_bad_usage_is_one_line_and_2(words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1


def test_an_unknown_command_is_2():
    with pytest.raises(SystemExit) as ended:
        main(["fly"])
    assert ended.value.code == 2


def test_compile_writes_what_a_cluster_runs(tmp_path: Path):
    assert main(["compile", "all", "-o", str(tmp_path / "yaml")]) == 0
    assert "schemaVersion" in (tmp_path / "yaml" / "bert_finetune.yaml").read_text()


@pytest.mark.parametrize("output", ["/", "", "."])
def test_compile_writes_no_file_over_a_folder(output: str, capsys: pytest.CaptureFixture[str]):
    assert main(["compile", "prepare", "-o", output]) == 2
    assert "is a folder" in capsys.readouterr().err


def test_doctor_shows_engine_and_processor(capsys: pytest.CaptureFixture[str]):
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert "engine" in printed
    assert "cores" in printed


@pytest.mark.parametrize("words", [["list"], ["doctor"]])
def test_a_reader_that_has_seen_enough_is_no_error(words: list[str]):
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run([sys.executable, "-m", "cli", *words], stdout=writing, stderr=subprocess.PIPE, cwd=ROOT)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_an_encoding_without_the_characters_is_no_error():
    code = "from cli.__main__ import main; import sys; main(['list']); print('a → b')"
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "a ? b" in done.stdout


def test_a_closed_output_is_no_error():
    done = subprocess.run(["sh", "-c", f"{sys.executable} -m cli list >&-"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
