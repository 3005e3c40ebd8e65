"""Plans made of cache entries that are written here as KFP writes them."""

import hashlib
import json
from pathlib import Path

import pytest

from cli.compiled.plan import entry_file, make_plan, without_cache
from tests.support.pipeline_specs import spec, task

TASK = task("one")
SPEC = spec(TASK, task("two", image="ghcr.io/toolchain/train:0.1.0-abcdef012345"))
KEYS = {"one": "k1", "two": "k2"}


def write_entry(cache: Path, **outputs: tuple[Path, str]) -> Path:
    entry = entry_file(TASK, "k1", cache)
    content = {name: {"uri": str(path), "schema_title": title} for name, (path, title) in outputs.items()}
    cache.mkdir(exist_ok=True)
    entry.write_text(json.dumps(content))
    return entry


def test_an_entry_is_named_by_the_component_and_the_key(tmp_path: Path):
    assert entry_file(TASK, "k1", tmp_path).stem == hashlib.sha256(b"comp-one\0k1").hexdigest()


def test_a_task_with_all_outputs_is_cached(tmp_path: Path):
    (tmp_path / "dataset").mkdir()
    write_entry(tmp_path / "cache", dataset=(tmp_path / "dataset", "system.Dataset"))
    plan = make_plan(SPEC, {}, KEYS, tmp_path / "cache")
    assert plan.results == {"one": {"dataset": str(tmp_path / "dataset")}}
    assert not plan.complete
    assert plan.extras == {"train"}, "only the second task must run"


def test_a_task_without_one_of_its_outputs_runs_again(tmp_path: Path):
    write_entry(tmp_path / "cache", dataset=(tmp_path / "missing", "system.Dataset"))
    assert make_plan(SPEC, {}, KEYS, tmp_path / "cache").results == {}


@pytest.mark.parametrize("content", [{}, {"dataset": {"uri": 5, "schema_title": "system.Dataset"}}, {"dataset": "x"}])
def test_a_task_whose_entry_lacks_an_output_runs_again(tmp_path: Path, content: dict[str, object]):
    one = task("one", outputs={"dataset": "system.Dataset"})
    entry = entry_file(one, "k1", tmp_path)
    entry.write_text(json.dumps(content))
    assert make_plan(spec(one), {}, KEYS, tmp_path).results == {}
    assert not entry.exists(), "Kubeflow Pipelines would read it"


def test_the_file_of_metrics_is_created_for_kfp(tmp_path: Path):
    write_entry(tmp_path / "cache", metrics=(tmp_path / "metrics", "system.Metrics"))
    assert "one" in make_plan(SPEC, {}, KEYS, tmp_path / "cache").results
    assert (tmp_path / "metrics").read_bytes() == b""


def test_without_the_cache_every_entry_is_removed_and_results_stay(tmp_path: Path):
    (tmp_path / "dataset").mkdir()
    entry = write_entry(tmp_path / "cache", dataset=(tmp_path / "dataset", "system.Dataset"))
    plan = without_cache(make_plan(SPEC, {}, KEYS, tmp_path / "cache"), tmp_path / "cache")
    assert plan.results == {}
    assert not entry.exists()
    assert (tmp_path / "dataset").exists()
