"""KFP's real client against a server that speaks just enough of KFP's API (conftest.py)."""

from pathlib import Path

import pytest

from cli.compiled.spec import compile_pipeline, read
from cli.records import runs
from cli.run import cluster
from cli.settings import Settings
from toolchain.errors import ConfigError, ServiceError

PIPELINE = """
pipelineInfo: {name: tidy}
root:
  dag: {tasks: {}}
  inputDefinitions: {parameters: {epochs: {parameterType: NUMBER_INTEGER, defaultValue: 2.0}}}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
"""


def settings(folder: Path, endpoint: str, token: str = "") -> Settings:
    return Settings(folder, endpoint, "", token, "", owner="ada")


def submit(folder: Path, endpoint: str, values: dict, token: str = "", text: str = PIPELINE) -> runs.Run:
    return cluster.submit("tidy", text, read(text), values, settings(folder, endpoint, token), cached=True)


def test_a_run_is_started_with_the_pipeline_and_its_parameters(tmp_path: Path, serve):
    server = serve()
    run = submit(tmp_path, server.endpoint, {"epochs": 3}, "secret")
    posted = server.posted["runs"]
    assert run.kfp_run_id == "r1"
    assert posted["display_name"] == run.id
    assert posted["pipeline_spec"]["pipelineInfo"]["name"] == "tidy"
    assert posted["runtime_config"]["parameters"] == {"epochs": 3}
    assert "Bearer secret" in server.tokens


def test_a_run_is_kept_among_the_runs_of_this_machine_as_one_of_the_cluster(tmp_path: Path, serve):
    run = submit(tmp_path, serve().endpoint, {"epochs": 3})
    kept = runs.find_run(tmp_path, run.id)
    assert (kept.engine, kept.kfp_run_id, kept.state) == (runs.CLUSTER, "r1", runs.RUNNING)


def test_a_rejection_names_the_setting_and_leaves_no_record(tmp_path: Path, serve):
    with pytest.raises(ServiceError, match="KFP_TOKEN") as refused:
        submit(tmp_path, serve(403).endpoint, {})
    assert "\n" not in str(refused.value)
    assert runs.all_runs(tmp_path) == []


def test_a_server_that_is_not_there_is_named_in_one_line(tmp_path: Path):
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1:9.*--engine local") as refused:
        submit(tmp_path, "http://127.0.0.1:9", {})
    assert "\n" not in str(refused.value)


def test_without_an_endpoint_and_a_kubeconfig_it_is_shown_what_to_set(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    with pytest.raises(ServiceError, match="KFP_ENDPOINT, or KUBECONFIG"):
        submit(tmp_path, "", {})


def test_settings_of_all_steps_are_checked_before_anything_is_sent(tmp_path: Path, serve, compiled: str):
    server = serve()
    values = {name: parameter.default for name, parameter in read(compiled).parameters.items()}
    with pytest.raises(ConfigError, match="test_fraction"):
        submit(tmp_path, server.endpoint, values | {"source": "s3://there/is.csv", "test_fraction": 2.0}, text=compiled)
    assert server.posted == {}


def test_an_unknown_size_is_rejected_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'small'"):
        cluster.size("smal")
    assert cluster.size("") == "medium"


@pytest.fixture(scope="module")
def compiled() -> str:
    from cli.compiled.catalog import find

    return compile_pipeline(find("prepare"))
