import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from cli.compiled import cache_keys
from cli.compiled.spec import Task
from cli.settings import Settings
from components import images
from tests.support.pipeline_specs import spec, task

pytestmark = pytest.mark.machine


CHAIN = (
    task("one", parameters={"n": "n"}),
    task("two", "data.two", inputs={"a": ("one", "out")}, parameters={"m": "m"}),
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A toolchain of two steps that share a ground-floor module."""
    data = tmp_path / "toolchain" / "data"
    data.mkdir(parents=True)
    (tmp_path / "toolchain" / "floor.py").write_text("A = 1\n")
    (tmp_path / "toolchain" / "__init__.py").touch()
    (data / "__init__.py").touch()
    (data / "one.py").write_text("def run():\n    from toolchain.floor import A\n    return A\n")
    (data / "two.py").write_text("import json\n")
    monkeypatch.setattr(cache_keys, "ROOT", tmp_path)
    return tmp_path


def made(
    tmp_path: Path, tasks: tuple[Task, ...] = CHAIN, salt: str = "", uri: str = "sqlite:///a", **values: object
) -> dict[str, str]:
    return cache_keys.local_keys(spec(*tasks), {"n": 1, "m": 1, **values}, Settings(tmp_path, "", "", "", uri), salt)


def test_nothing_changed_nothing_reruns(root: Path):
    assert made(root) == made(root, salt="other")


def test_a_parameter_reruns_its_task_and_what_follows(root: Path):
    before, after = made(root), made(root, n=2)
    assert before["one"] != after["one"]
    assert before["two"] != after["two"]


def test_a_parameter_leaves_what_came_before_alone(root: Path):
    before, after = made(root), made(root, m=2)
    assert before["one"] == after["one"]
    assert before["two"] != after["two"]


def test_a_change_in_a_steps_code_reruns_it(root: Path):
    before = made(root)
    (root / "toolchain/data/two.py").write_text("import re\n")
    after = made(root)
    assert before["one"] == after["one"]
    assert before["two"] != after["two"]


def test_a_change_in_a_module_that_a_step_imports_reruns_it(root: Path):
    before = made(root)
    (root / "toolchain/floor.py").write_text("A = 2\n")
    assert made(root)["one"] != before["one"]


def test_a_change_in_a_module_that_no_step_imports_reruns_nothing(root: Path):
    before = made(root)
    (root / "toolchain/other.py").write_text("B = 1\n")
    assert made(root) == before


def test_a_changed_file_behind_a_path_reruns_its_task(root: Path):
    source = root / "rows.csv"
    source.write_text("text\na\n")
    before = made(root, n=str(source))
    source.write_text("text\nb\n")
    assert made(root, n=str(source))["one"] != before["one"]


def test_a_changed_folder_behind_a_path_reruns_its_task(root: Path):
    folder = root / "model"
    folder.mkdir()
    (folder / "weights").write_text("1")
    before = made(root, n=str(folder))
    (folder / "weights").write_text("12")
    assert made(root, n=str(folder))["one"] != before["one"]


def test_a_task_that_must_not_be_cached_never_is(root: Path):
    never = (task("one", cacheable=False), CHAIN[1])
    assert made(root, never, salt="a") != made(root, never, salt="b")


def test_another_registry_reruns_the_steps_that_write_to_it(root: Path):
    shutil.copytree(root / "toolchain/data", root / "toolchain/release")
    tasks = (CHAIN[0], task("three", "release.one", inputs={"a": ("one", "out")}))
    before, after = made(root, tasks), made(root, tasks, uri="http://mlflow:5000")
    assert before["one"] == after["one"]
    assert before["three"] != after["three"]


BROUGHT = f"s3://toolchain/sources/{'a' * 64}/rows.csv"


def on_cluster(tasks: tuple[Task, ...] = CHAIN, salt: str = "", day: int = 1, **values: object) -> dict[str, str]:
    return cache_keys.cluster_keys(spec(*tasks), {"n": BROUGHT, "m": 1, **values}, salt, date(2026, 11, day))


def test_on_a_cluster_what_was_brought_by_its_content_is_not_read_again():
    assert on_cluster(salt="first") == on_cluster(salt="second", day=2)


def test_on_a_cluster_a_file_elsewhere_is_read_again_and_all_that_follows_runs():
    first, second = (on_cluster(salt=salt, n="s3://warehouse/rows.csv") for salt in ("first", "second"))
    assert not set(first.values()) & set(second.values())


def test_on_a_cluster_another_image_reruns_its_task_and_what_follows():
    changed = (CHAIN[0], replace(CHAIN[1], image="ghcr.io/toolchain/base:0.1.0-ba9876543210"))
    assert on_cluster()["one"] == on_cluster(changed)["one"]
    assert on_cluster()["two"] != on_cluster(changed)["two"]


def test_on_a_cluster_an_edit_reruns_the_steps_that_import_it(root: Path):
    tasks = tuple(replace(one, image=images.BASE) for one in CHAIN)
    before = on_cluster(tasks)
    with (root / "toolchain/data/two.py").open("a") as file:
        file.write("# edited\n")
    after = on_cluster(tasks)
    assert before["one"] == after["one"]
    assert before["two"] != after["two"]


def test_on_a_cluster_other_libraries_rerun_all(root: Path, monkeypatch: pytest.MonkeyPatch):
    tasks = tuple(replace(one, image=images.BASE) for one in CHAIN)
    before = on_cluster(tasks)
    monkeypatch.setattr(images, "libraries_digest", lambda name: "another")
    assert not set(before.values()) & set(on_cluster(tasks).values())


def test_on_a_cluster_no_result_outlives_the_artifacts_of_its_run():
    first = cache_keys.cluster_keys(spec(*CHAIN), {"n": BROUGHT, "m": 1}, "", date(2026, 1, 1))
    assert not set(first.values()) & set(on_cluster().values())


def test_what_is_never_cached_may_name_a_folder_in_s3(root: Path):
    """Asking what is at an address takes a file there, and a prefix is none."""
    watch = (task("one", parameters={"samples": "samples"}, cacheable=False),)
    known = made(root, watch, salt="a", samples="s3://bucket/samples")
    assert known != made(root, watch, salt="a", samples="s3://bucket/others")
    assert known != made(root, watch, salt="b", samples="s3://bucket/samples")
