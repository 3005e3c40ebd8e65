"""Workflows run code that nobody can change meanwhile: actions are pinned by commit, with their version beside."""

import re
from pathlib import Path

import pytest
import yaml

from cli.compiled import catalog
from cli.compiled.spec import load

WORKFLOWS = sorted((Path(__file__).parents[1] / ".github" / "workflows").glob("*.y*ml"))
USES = re.compile(r"^\s*(?:- )?uses:\s*(\S+)(?:\s+#\s*(.*))?$", re.MULTILINE)
PINNED = re.compile(r"[\w-]+/[\w./-]+@[0-9a-f]{40}")


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_an_action_is_pinned_by_its_commit_and_shows_its_version(workflow: Path) -> None:
    uses = USES.findall(workflow.read_text(encoding="utf-8"))
    assert uses
    for action, comment in uses:
        assert PINNED.fullmatch(action), action
        assert re.match(r"v\d+\.\d+\.\d+", comment), f"{action} # {comment}"


def test_the_reusable_workflow_sets_parameters_of_its_pipeline(tmp_path: Path) -> None:
    text = (WORKFLOWS[0].parent / "model-ci.yaml").read_text(encoding="utf-8")
    inputs = yaml.load(text, yaml.BaseLoader)["on"]["workflow_call"]["inputs"]
    known = load(catalog.find(inputs["pipeline"]["default"]), tmp_path).parameters
    named = re.findall(r'-p "(\w+)=', text) + re.findall(r"(\w+)=\d", inputs["params"]["default"])
    named += re.findall(r"(\w+)=\d", re.findall(r"^# +params: (.*)$", text, re.MULTILINE)[0])
    assert len(named) == 8
    assert set(named) <= set(known)
