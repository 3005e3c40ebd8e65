from pathlib import Path

import pytest

from cli.compiled.parameters import gather, name_parameters
from cli.compiled.spec import Parameter
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
        ("rate=nan", "rate is not valid: nan"),
        ("rate=-inf", "rate is not valid: -inf"),
        ("methods=[NaN]", "methods is not valid: nan"),
        ("source=t\udcff", r"source is not valid: 't.udcff'"),
        ("epochs=9007199254740993", r"epochs is not valid: .* 2\^53"),
        ("methods=" + "[" * 40 + "]" * 40, "methods is not valid: .* levels"),
        ("methods=" + "[" * 100_000, "methods takes a JSON list"),
    ],
)
def test_a_bad_parameter_is_rejected_in_one_line(given: str, complaint: str):
    with pytest.raises(ConfigError, match=complaint) as refused:
        gather([given], None, KNOWN)
    assert "\n" not in str(refused.value)


def test_a_required_parameter_must_be_given():
    with pytest.raises(ConfigError, match="no value for model; give it with -p model="):
        gather([], None, {"model": Parameter("model", str, None, True)})


@pytest.mark.parametrize(
    "content",
    [
        "epochs: [",
        "just words",
        "epochs: two",
        "methods: [2026-01-01]",
        "methods: &a [*a]",
        "methods: [{1: a}]",
        "methods: [!!binary aGk=]",
        "methods: " + "[" * 100_000,
        "epochs: 0x" + "f" * 9000,
        "{~: x}",
        "1: 2",
        "epochs: 1\nepochs: 2",
    ],
    ids=lambda content: content[:20],
)
def test_a_bad_file_is_rejected_in_one_line(tmp_path: Path, content: str):
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


def test_a_setting_that_the_pipeline_calls_otherwise_is_named_as_its_parameter():
    own = {"method": "prune_method", "seed": "seed", "rows": "training_rows"}
    assert name_parameters("method is 'foo'; choose one of a, b", own) == (
        "method (parameter prune_method) is 'foo'; choose one of a, b"
    )
    assert name_parameters("too few: set rows", own) == "too few: set rows (parameter training_rows)"
    assert name_parameters("a method that is no good; seed is -1", own) == "a method that is no good; seed is -1"


@pytest.mark.parametrize("text", ["{negative:[1,2]}", "[positive]"])
def test_json_whose_quotation_marks_a_shell_took_shows_how_to_write_it(text: str):
    with pytest.raises(ConfigError, match="quotation marks are lost: write -p 'labels="):
        gather([f"labels={text}"], None, {"labels": Parameter("labels", dict if text[0] == "{" else list, {}, False)})
