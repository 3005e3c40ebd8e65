import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.records.runs import CLUSTER, Run, StepRecord, new_run
from cli.run import lineage
from cli.settings import Settings
from toolchain.artifacts.provenance import Provenance
from toolchain.errors import ConfigError, ServiceError, ToolchainError


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path, endpoint="", namespace="", token="", tracking_uri=f"sqlite:///{tmp_path}/none.db")


@pytest.fixture
def run(settings: Settings) -> Run:
    return new_run("tidy", settings.runs, {}, [StepRecord("ingest", "data.ingest", "k")])


def test_a_run_without_variants_has_no_lineage(run: Run, settings: Settings):
    with pytest.raises(ToolchainError, match=run.id):
        lineage.find_lineages(run.id, None, settings)


def test_without_a_target_the_latest_run_with_variants_is_shown(settings: Settings):
    made, _ = (new_run("tidy", settings.runs, {}, [StepRecord("t", "any.step", "")]) for _ in range(2))
    made.engine, made.steps[0].outputs = CLUSTER, {"variants": str(made.folder / "made")}
    with pytest.raises(ConfigError, match="toolchain submit"):
        lineage.find_lineages(None, None, settings)
    made.save()
    (made.folder / "made").mkdir()
    content = {"digest": "d", "lineage": [], "variants": {}, "format": "toolchain.variants"}
    (made.folder / "made" / "variants.json").write_text(json.dumps(content))
    assert lineage.find_lineages(None, None, settings).title == made.id


def test_a_name_that_is_neither_a_run_nor_a_model_is_named(settings: Settings):
    with pytest.raises(ConfigError, match="'reviews'"):
        lineage.find_lineages("reviews", None, settings)


@pytest.mark.parametrize(
    ("status", "content", "reason"), [(503, "{}", "503"), (200, "{}", "/readyz"), (200, "[]", "/readyz")]
)
def test_a_server_that_is_not_ready_or_another_is_named(
    status: int, content: str, reason: str, answering: Callable[..., str], settings: Settings
):
    address = answering(status, content)
    with pytest.raises(ServiceError, match=reason):
        lineage.find_lineages(address, "local", settings)


def test_a_missing_server_is_named(settings: Settings):
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1:9"):
        lineage.find_lineages("http://127.0.0.1:9", "local", settings)


def test_the_tree_has_each_ancestor_once_below_what_was_made_from_it(capsys: pytest.CaptureFixture[str]):
    entries = (entry("1", "data.ingest"), entry("2", "data.split", "1"), entry("3", "train.torch_text", "2"))
    lineage.print_tree(lineage.Lineages("reviews", {"fp32": entries}))
    shown = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    steps = [step for line in shown for step in ("train.torch_text", "data.split", "data.ingest") if step in line]
    assert steps == ["train.torch_text", "data.split", "data.ingest"]
    assert lineage.to_json(lineage.Lineages("reviews", {"fp32": entries}))["target"] == "reviews"


def entry(digit: str, step: str, *parents: str) -> Provenance:
    return Provenance(step, "any", digit * 64, {f"input{one}": one * 64 for one in parents}, {})
