from functools import cache

import pytest

from cli.compiled.catalog import entries
from cli.setup.components import settings_of, steps
from cli.setup.parameter_reference import PAGE, _escape, generate


@cache
def page() -> str:
    return generate()


def section(heading: str) -> list[str]:
    """Return the lines under ``heading``."""
    return page().partition(f"\n### {heading}\n")[2].partition("\n#")[0].splitlines()


def row(heading: str, name: str) -> str:
    (found,) = [line for line in section(heading) if line.startswith(f"| `{name}` |")]
    return found


def test_the_page_is_current():
    assert PAGE.read_text(encoding="utf-8") == page(), "run: make components"


@pytest.mark.parametrize("step", steps())
def test_a_step_has_a_row_for_each_setting(step: str):
    assert [line.split("`")[1] for line in section(step) if line.startswith("| `")] == [
        s.name for s in settings_of(step)
    ]


@pytest.mark.parametrize("pipeline", [entry.name for entry in entries()])
def test_a_pipeline_has_a_summary_and_parameters(pipeline: str):
    assert section(pipeline)[1].endswith(".")
    assert any(line.startswith("| `") for line in section(pipeline))


def test_a_parameter_names_each_step_that_it_feeds_and_the_setting_with_another_name():
    seed, epochs = row("bert_finetune", "seed"), row("bert_finetune", "distillation_epochs")
    assert "[data.split](#datasplit)" in seed
    assert "[train.torch_text](#traintorch_text)" in seed
    assert epochs.endswith("[optimize.prune](#optimizeprune) (`epochs`) |")


def test_a_default_of_the_pipeline_is_marked_and_a_required_parameter_has_none():
    assert '| `"skip"` \\* |' in row("bert_finetune", "unprunable")
    assert "| `2` |" in row("bert_finetune", "epochs")
    assert "| required |" in row("drift", "model")


def test_characters_of_markdown_are_escaped():
    assert _escape(r'["*"] | \ <b>') == r'["\*"] \| \\ \<b>'
