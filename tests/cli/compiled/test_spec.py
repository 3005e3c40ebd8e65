"""Specifications read from a pipeline's YAML that is written here, in the form of KFP's compiler."""

import pytest
import yaml

from cli.compiled.spec import Parameter, documents, read
from toolchain.errors import ConfigError

SOURCE = {"componentInputParameter": "source"}


def component(executor: str, **parameters: dict) -> dict:
    return {
        "executorLabel": executor,
        "inputDefinitions": {"parameters": parameters},
        "outputDefinitions": {"artifacts": {"dataset": {"artifactType": {"schemaTitle": "system.Dataset"}}}},
    }


def pipeline(**changes: dict) -> str:
    ingest = {"componentRef": {"name": "comp-ingest"}, "inputs": {"parameters": {"source": SOURCE}}}
    split = {
        "componentRef": {"name": "comp-split"},
        "cachingOptions": {"enableCache": True},
        "inputs": {
            "artifacts": {
                "dataset": {"taskOutputArtifact": {"producerTask": "ingest", "outputArtifactKey": "dataset"}}
            },
            "parameters": {"seed": {"runtimeValue": {"constant": 7}}, "gpus": {"runtimeValue": {"constant": 1}}},
        },
    }
    seed = {"parameterType": "NUMBER_INTEGER", "defaultValue": 1.0}
    containers = {
        name: {"container": {"image": f"r/{name}:1", "command": [f"from toolchain.data.{name} import run"]}}
        for name in ("ingest", "split")
    }
    content = {
        "pipelineInfo": {"name": "tidy"},
        "root": {
            "dag": {"tasks": {"split": split, "ingest": ingest, **changes}},
            "inputDefinitions": {
                "parameters": {"source": {"parameterType": "STRING"}, "rows": {**seed, "defaultValue": 3.0}}
            },
        },
        "components": {
            "comp-ingest": component("ingest", source={"parameterType": "STRING"}),
            "comp-split": component("split", seed=seed),
        },
        "deploymentSpec": {"executors": containers},
    }
    return yaml.safe_dump(content)


def test_tasks_come_in_the_order_of_their_inputs():
    found = read(pipeline())
    assert [task.name for task in found.tasks] == ["ingest", "split"]
    ingest, split = found.tasks
    assert (split.inputs, split.after) == ({"dataset": ("ingest", "dataset")}, ("ingest",))
    assert (ingest.parameters, ingest.constants) == ({"source": "source"}, {})
    assert (split.cacheable, ingest.cacheable) == (True, False)


def test_arguments_that_a_component_does_not_declare_are_left_out():
    assert read(pipeline()).tasks[1].constants == {"seed": 7}


def test_a_step_is_known_by_its_import():
    assert [(task.step, task.is_step, task.image) for task in read(pipeline()).tasks] == [
        ("data.ingest", True, "r/ingest:1"),
        ("data.split", True, "r/split:1"),
    ]


def test_parameters_have_a_type_and_are_required_without_a_default():
    assert read(pipeline()).parameters == {
        "source": Parameter("source", str, None, required=True),
        "rows": Parameter("rows", int, 3, required=False),
    }


def test_loops_are_not_supported():
    with pytest.raises(ConfigError, match="many"):
        read(pipeline(many={"iterator": {}}))


def test_the_pipeline_is_the_first_document():
    assert len(list(documents(f"{pipeline()}---\nplatforms: {{}}\n"))) == 2
    assert read(f"{pipeline()}---\nplatforms: {{}}\n").name == "tidy"
