import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from toolchain.artifacts.expected import Expected, Row, read_expected, write_expected
from toolchain.artifacts.measurement import new_measurement, open_measurement
from toolchain.artifacts.model import Model, Signature, Tensor, new_model, open_model
from toolchain.artifacts.provenance import Work
from toolchain.artifacts.variants import open_variants
from toolchain.errors import ArtifactError, ConfigError, DataError
from toolchain.evaluate import accuracy
from toolchain.evaluate.platform_parity import Config, run
from toolchain.evaluate.platform_parity.comparison import compare
from toolchain.evaluate.platform_parity.predicting import as_json, from_json, predict
from toolchain.hardware import emulator
from toolchain.inference.tasks import ImageClassification, ObjectDetection

ROOT = Path(__file__).parents[3]
EMULATED = ROOT / ".venv-arm64" / "environment.json"
NOWHERE = "nowhere/environment.json"


@dataclass(frozen=True)
class Evaluated:
    variants: Path
    accuracy: Path
    verdict: Path

    @property
    def inputs(self) -> tuple[Path, Path, Path]:
        return self.variants, self.accuracy, self.verdict


@pytest.fixture(scope="module")
def evaluated(new_toys: Callable, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """Three variants that were measured, of which "wide" was judged the winner."""
    folder = tmp_path_factory.mktemp("evaluated")
    paths = Evaluated(folder / "variants", folder / "accuracy", folder / "verdict")
    with new_toys(paths.variants) as toys:
        toys.add("fp32")
        toys.add("wide", width=128)
        toys.add("deep", extra=1)
    accuracy.run(paths.variants, dataset, paths.accuracy, accuracy.Config(resamples=100))
    found = open_measurement(paths.accuracy, "accuracy")
    with new_measurement(paths.verdict, "verdict", Work("evaluate.gate", None, accuracy=found)) as writer:
        writer.data = {"winner": "wide", "variants": [{"name": name} for name in ("fp32", "wide", "deep")]}
    return paths


@pytest.fixture
def arm64_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that this machine is an arm64, so that its Python runs the check."""
    monkeypatch.setattr(emulator.platform, "machine", lambda: "aarch64")


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulator.platform, "machine", lambda: "x86_64")


def row(*scores: float) -> Row:
    return Row(text="a film", scores=scores)


def described(task: type[ImageClassification] | type[ObjectDetection], tmp_path: Path) -> Model:
    """Return a model with two classes, of which only the description is there."""
    inputs = (Tensor("image", "uint8", (1, 90, 90, 3)),)
    signature = Signature(
        task=task.name,
        framework="onnx",
        variant="fp32",
        backend="onnxruntime",
        weights="model.onnx",
        labels=("a", "b"),
        inputs=inputs,
    )
    with new_model(tmp_path / "model", signature, Work("export.onnx", None)) as writer:
        (writer.folder / "model.onnx").write_bytes(b"graph")
    return open_model(tmp_path / "model")


def expected(*rows: Row) -> Expected:
    return Expected("digest", "avx2", rows)


def test_labels_and_scores_are_held_against_each_recorded_row(tmp_path: Path):
    recorded = expected(row(0.9, 0.1), row(0.51, 0.49), row(0.7, 0.3))
    predicted = [row(0.89, 0.11), row(0.495, 0.505), row(0.6, 0.4)]
    found = compare(recorded, predicted, described(ImageClassification, tmp_path))
    assert (found["rows"], found["matching_labels"]) == (3, 2)
    assert found["matching_scores"] == 1, "the second has another label, the third is .1 apart"
    assert found["max_difference"] == pytest.approx(0.1)


def test_boxes_match_by_label_and_position_and_their_scores_are_compared(tmp_path: Path):
    detector = described(ObjectDetection, tmp_path)
    box, other = (10.0, 10.0, 30.0, 30.0), (60.0, 60.0, 90.0, 90.0)
    recorded = expected(Row(image="x", scores=(0.8, 0.2), boxes=(box, other), labels=(1, 0)))

    def compared(boxes: list[tuple[float, ...]], scores: list[float], labels: list[int]) -> tuple[int, int, float]:
        prediction = Row(image="x", scores=tuple(scores), boxes=tuple(boxes), labels=tuple(labels))
        found = compare(recorded, [prediction], detector)
        return found["matching_labels"], found["matching_scores"], found["max_difference"]

    assert compared([(11, 10, 30, 30)], [0.79], [1]) == (1, 1, pytest.approx(0.01)), "the unsure box counts for nothing"
    assert compared([(11, 10, 30, 30)], [0.75], [1]) == (1, 0, pytest.approx(0.05))
    assert compared([(11, 10, 30, 30)], [0.8], [0])[:2] == (0, 0), "another label"
    assert compared([(50, 10, 70, 30)], [0.8], [1])[:2] == (0, 0), "another position"
    assert compared([], [], [])[:2] == (0, 0), "nothing found"


def test_predictions_come_back_as_they_were_given(evaluated: Evaluated):
    model, recorded = evaluated.variants / "wide", evaluated.accuracy / "expected" / "wide"
    found = from_json(as_json(predict(model, recorded)))
    stored = read_expected(recorded)
    assert stored is not None
    assert np.array([row.scores for row in found.rows]) == pytest.approx(
        np.array([row.scores for row in stored.rows]), abs=1e-5
    )
    assert found.versions["onnxruntime"]


def test_what_is_no_prediction_is_rejected():
    for line in ("", "Segmentation fault", "[]", '{"rows": []}'):
        with pytest.raises(ArtifactError, match="output is not valid"):
            from_json(line)


@pytest.mark.usefixtures("arm64_machine")
def test_on_arm64_itself_the_winner_and_fp32_run_in_this_python(evaluated: Evaluated, tmp_path: Path):
    result = run(*evaluated.inputs, tmp_path / "found", Config(environment=NOWHERE))
    found = open_measurement(tmp_path / "found", "platform_parity").data
    assert list(found["variants"]) == ["wide", "fp32"]
    assert (result.variants, result.rows, result.matching_labels, result.matching_scores) == (2, 32, 32, 32)
    assert result.max_difference < 1e-5
    assert found["runner"] == "this machine's own processor"
    assert found["variants"]["wide"]["summary"].startswith("16 of 16 recorded rows have the same label, 16 with scores")
    assert found["variants"]["wide"]["recorded_on"]


@pytest.mark.usefixtures("arm64_machine")
def test_every_variant_is_tried_when_that_is_requested(evaluated: Evaluated, tmp_path: Path):
    assert run(*evaluated.inputs, tmp_path / "found", Config(all_variants=True)).variants == 3


@pytest.mark.usefixtures("elsewhere")
def test_where_there_is_no_arm64_python_the_measurement_logs_it(
    evaluated: Evaluated, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    result = run(*evaluated.inputs, tmp_path / "found", Config(environment=NOWHERE))
    skip_reason = open_measurement(tmp_path / "found", "platform_parity").data["skip_reason"]
    assert result.variants == 0
    assert skip_reason == "there is no arm64 Python at nowhere: make arm64 makes one"
    assert capsys.readouterr().out.strip() == f"platform parity on arm64 is skipped: {skip_reason}"


def test_nothing_is_tried_when_no_architecture_is_named(evaluated: Evaluated, tmp_path: Path):
    run(*evaluated.inputs, tmp_path / "found", Config(architecture=""))
    assert open_measurement(tmp_path / "found", "platform_parity").data["skip_reason"] == "architecture is empty"


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import os, signal; print('qemu: uncaught', file=os.sys.stderr); os.kill(os.getpid(), 11)", "it ended with"),
        ("import sys; sys.exit('model.onnx does not run in ONNX Runtime: no kernel')", "does not run in ONNX Runtime"),
        ("import time; time.sleep(60)", "it did not end within 1 s"),
        ("print('hello')", "the output is not valid"),
    ],
)
def test_a_variant_that_does_not_run_there_is_reported_and_the_rest_goes_on(
    program: str, message: str, evaluated: Evaluated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    broken = emulator.Python("a broken emulator", (sys.executable, "-c", program))
    monkeypatch.setattr(emulator, "find", lambda _: broken)
    result = run(*evaluated.inputs, tmp_path / "found", Config(timeout_s=1))
    found = open_measurement(tmp_path / "found", "platform_parity").data["variants"]
    assert result.variants == 2
    assert result.rows == 0
    assert all(entry["error"].startswith("it does not run: ") for entry in found.values())
    assert message.replace("it ended with", "qemu: uncaught") in found["wide"]["summary"]


def test_the_program_for_the_other_architecture_imports_only_what_is_installed_there():
    """Also indirectly: the Python there has the WHEELS of cli.setup.arm64 alone."""
    absent = ("pyarrow", "pandas", "scipy", "sklearn", "mlflow", "torch", "boto3", "pycocotools")
    program = f"""import sys
sys.modules.update(dict.fromkeys({absent!r}))
import toolchain.evaluate.platform_parity.__main__"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_settings_that_cannot_work_are_rejected():
    with pytest.raises(ConfigError, match="architecture is 'sparc': choose one of arm64"):
        Config(architecture="sparc")
    with pytest.raises(ConfigError, match="timeout_s is 0"):
        Config(timeout_s=0)


def test_a_verdict_on_other_variants_is_rejected(evaluated: Evaluated, tmp_path: Path):
    measured = open_measurement(evaluated.accuracy, "accuracy")
    with new_measurement(tmp_path / "verdict", "verdict", Work("evaluate.gate", None, accuracy=measured)) as writer:
        writer.data = {"winner": "small", "variants": [{"name": "small"}]}
    with pytest.raises(DataError, match="does not judge these variants"):
        run(evaluated.variants, evaluated.accuracy, tmp_path / "verdict", tmp_path / "found", Config())


def test_rows_recorded_from_no_variant_are_reported(tmp_path: Path, evaluated: Evaluated):
    digest = open_variants(evaluated.variants).reference.digest
    write_expected(tmp_path, Expected(digest, "avx2", (row(0.5, 0.5),)))
    with pytest.raises(ArtifactError, match="no expected predictions"):
        predict(evaluated.variants / "fp32", tmp_path / "empty")


@pytest.mark.slow
@pytest.mark.skipif(not EMULATED.is_file(), reason="make arm64 makes this Python")
def test_the_emulated_arm64_predicts_as_this_machine_does(evaluated: Evaluated, tmp_path: Path):
    result = run(*evaluated.inputs, tmp_path / "found", Config(environment=str(EMULATED)))
    found = open_measurement(tmp_path / "found", "platform_parity").data
    assert (result.rows, result.matching_labels, result.matching_scores) == (32, 32, 32)
    assert result.max_difference < 1e-4
    assert found["processor"] == {"name": "ARM Neoverse-N1", "kind": "neon-dotprod"}
