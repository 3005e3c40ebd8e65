from pathlib import Path

import pytest

from pipelines.engine.parameters import gather
from pipelines.engine.specification import Parameter
from toolchain.errors import ConfigError

KNOWN = {
    parameter.name: parameter
    for parameter in [
        Parameter("source", str, "samples/a.csv", False),
        Parameter("epochs", int, 2, False),
        Parameter("rate", float, 0.1, False),
        Parameter("freeze", bool, True, False),
        Parameter("methods", list, ["a"], False),
    ]
}


def test_defaults_stand_where_nothing_is_given():
    assert gather([], None, KNOWN)["epochs"] == 2


def test_each_kind_is_read_as_people_write_it():
    given = ["epochs=3", "rate=1", "freeze=no", 'methods=["x","y"]', "source=a=b"]
    assert gather(given, None, KNOWN) == {
        "source": "a=b",
        "epochs": 3,
        "rate": 1.0,
        "freeze": False,
        "methods": ["x", "y"],
    }


def test_command_line_goes_before_the_file(tmp_path: Path):
    file = tmp_path / "params.yaml"
    file.write_text("epochs: 5\nrate: 2\n")
    values = gather(["epochs=3"], file, KNOWN)
    assert (values["epochs"], values["rate"]) == (3, 2.0)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("epoch=2", "no parameter 'epoch', did you mean 'epochs'"),
        ("epochs=two", "epochs takes a whole number, got 'two'"),
        ("epochs=2.5", "epochs takes a whole number, got '2.5'"),
        ("rate=fast", "rate takes a number, got 'fast'"),
        ("freeze=maybe", "freeze takes true or false, got 'maybe'"),
        ("methods=a,b", "methods takes a JSON list"),
        ('methods={"a": 1}', "methods takes a JSON list"),
        ("epochs", "KEY=VALUE, got 'epochs'"),
    ],
)
def test_a_bad_parameter_is_refused_in_one_line(given: str, complaint: str):
    with pytest.raises(ConfigError, match=complaint) as refused:
        gather([given], None, KNOWN)
    assert "\n" not in str(refused.value)


def test_a_required_parameter_must_be_given():
    with pytest.raises(ConfigError, match="no value for model; give it with -p model="):
        gather([], None, {"model": Parameter("model", str, None, True)})


@pytest.mark.parametrize("content", ["epochs: [", "just words", "epochs: two"])
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, content: str):
    file = tmp_path / "params.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError) as refused:
        gather([], file, KNOWN)
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        gather([], tmp_path / "none.yaml", KNOWN)


def test_half_of_a_surrogate_pair_becomes_the_replacement_character():
    assert gather([r'methods=["\ud83d"]'], None, KNOWN)["methods"] == ["\ufffd"]
