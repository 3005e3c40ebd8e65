import inspect
from typing import Any

import pytest

from pipelines._parameters import REQUIRED, Arguments, expose, parameters


def read(table: object, source: str = "", rows: int = 100) -> dict[str, Any]:
    """Read rows.

    Args:
        table: Where the rows go.
        source: Location of the rows,
            a file or a folder.
        rows: Maximum number of rows.
    """
    return {"source": source, "rows": rows}


def fit(table: object, rows: int = 100, seed: int = 0) -> dict[str, Any]:
    """Fit a model.

    Args:
        rows: Number of rows of a batch.
        seed: Random seed.
    """
    return {"rows": rows, "seed": seed}


def build(*exposed: Any, defaults: dict[str, Any] | None = None) -> tuple[Any, list[dict[str, Any]]]:
    """Return a pipeline that runs ``read`` and ``fit``, and a list of the arguments that they get."""
    passed: list[dict[str, Any]] = []

    @parameters(*exposed, defaults=defaults)
    def example(arguments: Arguments) -> None:
        """Read rows and fit a model."""
        passed.extend([arguments.of(read), arguments.of(fit)])

    return example, passed


def test_a_pipeline_has_the_settings_of_its_steps_with_their_types_and_defaults():
    pipeline, _ = build(expose(read), expose(fit))
    signature = inspect.signature(pipeline)
    assert str(signature) == "(source: str = '', rows: int = 100, seed: int = 0)"
    assert pipeline.__name__ == "example"


def test_a_pipeline_has_the_descriptions_of_its_steps_each_on_one_line():
    pipeline, _ = build(expose(read), expose(fit))
    lines = inspect.getdoc(pipeline).splitlines()
    assert lines[0] == "Read rows and fit a model."
    assert lines[2:] == [
        "Args:",
        "    source: Location of the rows, a file or a folder.",
        "    rows: Maximum number of rows.",
        "    seed: Random seed.",
    ]


def test_each_step_gets_its_arguments_by_its_own_names():
    pipeline, passed = build(expose(read, hide=["source"]), expose(fit, rename={"rows": "batch_rows"}))
    pipeline("rows", "batch_rows", "seed")
    assert passed == [{"rows": "rows"}, {"rows": "batch_rows", "seed": "seed"}]


def test_a_step_that_is_not_exposed_gets_no_arguments():
    pipeline, passed = build(expose(fit))
    pipeline("rows", "seed")
    assert passed == [{}, {"rows": "rows", "seed": "seed"}]


def test_a_required_parameter_comes_first():
    pipeline, _ = build(expose(read), expose(fit), defaults={"seed": REQUIRED, "rows": 5})
    assert str(inspect.signature(pipeline)) == "(seed: int, source: str = '', rows: int = 5)"


def test_two_defaults_of_one_parameter_are_an_error_unless_the_pipeline_decides():
    def measure(rows: int = 7) -> None:
        """Measure.

        Args:
            rows: Rows.
        """

    with pytest.raises(ValueError, match="rows"):
        parameters(expose(read), expose(measure))
    parameters(expose(read), expose(measure), defaults={"rows": 7})


@pytest.mark.parametrize("wrong", [{"hide": ["folds"]}, {"rename": {"folds": "k"}}])
def test_a_setting_that_does_not_exist_is_an_error(wrong: dict[str, Any]):
    with pytest.raises(ValueError, match="read has no setting folds"):
        expose(read, **wrong)


def test_a_default_of_an_unknown_parameter_is_an_error():
    with pytest.raises(ValueError, match="folds"):
        parameters(expose(read), defaults={"folds": 5})


def test_settings_of_a_step_that_does_not_run_are_an_error():
    @parameters(expose(read), expose(fit))
    def example(arguments: Arguments) -> None:
        """Only read."""
        arguments.of(read)

    with pytest.raises(ValueError, match="fit"):
        example("source", "rows", "seed")
