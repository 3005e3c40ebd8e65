"""What goes to a cluster does what was compiled, with labels and keys, in fewer words."""

import ast

import pytest
import yaml

from cli.compiled import catalog
from cli.compiled.spec import compile_pipeline
from cli.compiled.transform import label, transform


@pytest.fixture(scope="module")
def compiled() -> str:
    return compile_pipeline(catalog.find("prepare"))


def documents(text: str) -> list[dict]:
    return list(yaml.safe_load_all(text))


def sources(text: str) -> dict[str, str]:
    executors = documents(text)[0]["deploymentSpec"]["executors"]
    return {name: executor["container"]["command"][3] for name, executor in executors.items()}


def test_every_step_pod_is_labelled_with_its_run_and_owner(compiled: str):
    sent = documents(transform(compiled, {"toolchain/run": "r-1", "toolchain/owner": "ada@x"}))
    executors = sent[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert {"exec-ingest", "exec-clean", "exec-split", "exec-validate", "exec-report"} == executors.keys()
    for executor in executors.values():
        assert executor["podMetadata"]["labels"].items() >= {"toolchain/run": "r-1", "toolchain/owner": "ada-x"}.items()


@pytest.mark.parametrize(
    ("text", "expected"), [("Ada Lovelace", "Ada-Lovelace"), ("-x-", "x"), ("é", ""), ("a" * 99, "a" * 63)]
)
def test_a_label_holds_what_kubernetes_takes(text: str, expected: str):
    assert label(text) == expected


def test_tasks_get_the_keys_that_are_given(compiled: str):
    tasks = documents(transform(compiled, {}, {"ingest": "k1", "clean": "k2"}))[0]["root"]["dag"]["tasks"]
    assert [tasks[name]["cachingOptions"].get("cacheKey") for name in ("ingest", "clean", "split")] == [
        "k1",
        "k2",
        None,
    ]


@pytest.mark.parametrize("name", [entry.name for entry in catalog.entries()])
def test_code_differs_from_what_was_compiled_in_its_docstring_alone(name: str):
    compiled = compile_pipeline(catalog.find(name))
    before, after = sources(compiled), sources(transform(compiled, {}))
    for executor, code in before.items():
        tree = ast.parse(code)
        function = next(node for node in tree.body if isinstance(node, ast.FunctionDef))
        function.body = function.body[1:]
        assert ast.dump(ast.parse(after[executor])) == ast.dump(tree)


def test_a_component_shows_its_types_and_defaults_still(compiled: str):
    before, after = (documents(text)[0] for text in (compiled, transform(compiled, {})))
    for name, component in before["components"].items():
        for parameter, definition in component["inputDefinitions"]["parameters"].items():
            told = {key: value for key, value in definition.items() if key != "description"}
            assert after["components"][name]["inputDefinitions"]["parameters"][parameter] == told
    assert after["root"] == before["root"]
