from pathlib import Path

import pytest

from toolchain.artifacts.measurement import new_measurement, open_measurement
from toolchain.artifacts.provenance import Work
from toolchain.errors import ArtifactError


def write(target: Path, value: float = 0.86, content: str = "row") -> None:
    with new_measurement(target, "accuracy", Work("evaluate.accuracy", None)) as writer:
        writer.data = {"accuracy": value}
        (writer.folder / "deeper").mkdir()
        (writer.folder / "deeper" / "rows.csv").write_text(content)


def test_what_was_measured_comes_back_with_its_files(tmp_path: Path):
    write(tmp_path / "measured")
    found = open_measurement(tmp_path / "measured", "accuracy")
    assert (found.kind, found.data) == ("accuracy", {"accuracy": 0.86})
    assert (found.path / "deeper" / "rows.csv").read_text() == "row"
    assert found.lineage[-1].digest == found.digest


def test_the_digest_is_that_of_metrics_and_files(tmp_path: Path):
    for name, change in {"a": {}, "b": {}, "c": {"value": 0.9}, "d": {"content": "other"}}.items():
        write(tmp_path / name, **change)
    a, b, c, d = (open_measurement(tmp_path / name, "accuracy").digest for name in "abcd")
    assert a == b
    assert len({a, c, d}) == 3


def test_rejects_another_kind(tmp_path: Path):
    write(tmp_path / "measured")
    with pytest.raises(ArtifactError, match="holds 'accuracy', this step needs 'latency'"):
        open_measurement(tmp_path / "measured", "latency")


def test_rejects_a_changed_or_missing_file(tmp_path: Path):
    write(tmp_path / "measured")
    file = tmp_path / "measured" / "deeper" / "rows.csv"
    file.write_text("better")
    with pytest.raises(ArtifactError, match="was changed after it was written; measure again"):
        open_measurement(tmp_path / "measured", "accuracy")
    file.unlink()
    with pytest.raises(ArtifactError, match=r"is incomplete: deeper/rows\.csv missing; measure again"):
        open_measurement(tmp_path / "measured", "accuracy")


def test_rejects_a_changed_metric(tmp_path: Path):
    write(tmp_path / "measured")
    file = tmp_path / "measured" / "measurement.json"
    file.write_text(file.read_text().replace("0.86", "0.99"))
    with pytest.raises(ArtifactError, match="was changed after it was written; measure again"):
        open_measurement(tmp_path / "measured", "accuracy")


def test_keys_that_are_numbers_come_back_as_json_has_them(tmp_path: Path):
    with new_measurement(tmp_path / "measured", "checks", Work("data.validate", None)) as writer:
        writer.data = {"balance": {10: 1, 9: (2, 3)}}
    assert open_measurement(tmp_path / "measured", "checks").data == {"balance": {"10": 1, "9": [2, 3]}}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nothing_is_left_of_metrics_that_are_no_numbers(value: float, tmp_path: Path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write(tmp_path / "measured", value)
    assert list(tmp_path.iterdir()) == []
