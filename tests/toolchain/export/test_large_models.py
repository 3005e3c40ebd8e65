"""Models whose weights are more than one file of protobuf holds; here they are tiny, and so is what a file may hold."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from toolchain.artifacts import graph
from toolchain.artifacts.dataset import open_dataset
from toolchain.artifacts.graph import load_graph, save_graph
from toolchain.artifacts.model import Model, open_model
from toolchain.artifacts.variants import Variants, open_variants
from toolchain.errors import ArtifactError
from toolchain.evaluate.latency.cold_start import cold_start
from toolchain.export.onnx import Config, run
from toolchain.export.torchserve import Config as Archive
from toolchain.export.torchserve import run as archive
from toolchain.inference.batch_prediction import predict
from toolchain.inference.runtime import OnnxRuntimeSession, open_session
from toolchain.inference.tasks import task_of
from toolchain.optimize.quantize import IMAGE_METHODS, METHODS
from toolchain.optimize.quantize import Config as Quantization
from toolchain.optimize.quantize import run as quantize

DATA = "model.onnx.data"


@pytest.fixture(scope="module", autouse=True)
def a_file_holds_little() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "MAX_FILE_BYTES", 10_000)
        yield


@pytest.fixture(scope="module")
def large(classifier: Path, reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> Variants:
    target = tmp_path_factory.mktemp("large") / "variants"
    run([classifier], reviews, target, Config())
    return open_variants(target)


@pytest.fixture(scope="module")
def quantized(large: Variants, reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> Variants:
    target = tmp_path_factory.mktemp("large") / "quantized"
    quantize(large.path, reviews, target, Quantization(methods=list(METHODS), calibration_rows=16))
    return open_variants(target)


def logits_of(model: Model, dataset: Path) -> np.ndarray:
    preprocessor = task_of(model).input
    values = open_dataset(dataset).table("test").column(preprocessor.column).to_pylist()
    return predict(open_session(model), preprocessor, values)


def test_external_weights_are_stored_with_the_graph_and_count(large: Variants, classifier: Path):
    model = large.reference
    sizes = {name: (model.path / name).stat().st_size for name in ("model.onnx", DATA)}
    assert sizes[DATA] > sizes["model.onnx"]
    assert model.size_bytes == sum(sizes.values())
    assert DATA in model.files
    assert model.notes["export.onnx"]["max_difference"] < 1e-4


def test_two_files_predict_as_one(large: Variants, classifier: Path, reviews: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(graph, "MAX_FILE_BYTES", 2**30)
    run([classifier], reviews, tmp_path / "one", Config())
    one = open_variants(tmp_path / "one").reference
    assert not (one.path / DATA).exists()
    np.testing.assert_array_equal(logits_of(large.reference, reviews), logits_of(one, reviews))


def test_every_conversion_makes_the_same_of_two_files_as_of_one(
    quantized: Variants, classifier: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(graph, "MAX_FILE_BYTES", 2**30)
    run([classifier], reviews, tmp_path / "one", Config())
    quantize(tmp_path / "one", reviews, tmp_path / "int8", Quantization(methods=list(METHODS), calibration_rows=16))
    for name, model in open_variants(tmp_path / "int8").models.items():
        assert DATA not in model.files
        np.testing.assert_allclose(logits_of(quantized.models[name], reviews), logits_of(model, reviews), atol=1e-5)


@pytest.mark.parametrize("method", ["int8-dynamic", "int8-static"])
def test_what_is_still_large_afterwards_is_two_files_again(method: str, quantized: Variants):
    assert DATA in quantized.models[method].files


def test_a_convolutional_network_takes_two_files_all_the_way(digit_network: Path, digits: Path, tmp_path: Path):
    run([digit_network], digits, tmp_path / "large", Config())
    quantize(tmp_path / "large", digits, tmp_path / "int8", Quantization(methods=list(IMAGE_METHODS)))
    models = open_variants(tmp_path / "int8").models
    assert DATA in models["fp32"].files
    expected = logits_of(models["fp32"], digits).argmax(1)
    assert all((logits_of(model, digits).argmax(1) == expected).mean() > 0.9 for model in models.values())


def test_fused_attention_takes_two_files(classifier: Path, reviews: Path, tmp_path: Path):
    assert run([classifier], reviews, tmp_path / "out", Config(fuse_attention=True)).max_difference < 1e-4
    assert {DATA, "plain.onnx.data"} <= set(open_variants(tmp_path / "out").reference.files)


def test_it_starts_cold_and_travels_to_torchserve(large: Variants, tmp_path: Path):
    import zipfile

    assert cold_start(large.reference, "a fine film", 1).milliseconds > 0
    archive(large.path, tmp_path / "archive", Archive(name="large", variant="fp32"))
    (found,) = (tmp_path / "archive").rglob("*.mar")
    assert any(name.endswith(DATA) for name in zipfile.ZipFile(found).namelist())


def test_a_changed_file_of_weights_is_noticed(large: Variants, tmp_path: Path):
    import shutil

    copied = Path(shutil.copytree(large.reference.path, tmp_path / "copied"))
    content = bytearray((copied / DATA).read_bytes())
    content[1000] ^= 1
    (copied / DATA).write_bytes(content)
    with pytest.raises(ArtifactError, match=f"was changed after it was written: {DATA}"):
        open_model(copied)


def test_a_graph_is_written_over_another_one(large: Variants, tmp_path: Path):
    for _ in range(2):
        save_graph(load_graph(large.reference.weights), tmp_path / "model.onnx", {"variant": "again"})
    assert (tmp_path / DATA).stat().st_size == (large.reference.path / DATA).stat().st_size
    about = {entry.key: entry.value for entry in load_graph(tmp_path / "model.onnx").metadata_props}
    assert about["variant"] == "again"


def test_constants_of_nodes_are_read_from_the_second_file_too(large: Variants, tmp_path: Path):
    model = load_graph(large.reference.weights)  # ONNX Runtime's tools write constants of nodes there, we do not
    onnx.save(
        model,
        tmp_path / "theirs.onnx",
        save_as_external_data=True,
        location="theirs.data",
        size_threshold=0,
        convert_attribute=True,
    )
    save_graph(load_graph(tmp_path / "theirs.onnx"), tmp_path / "ours.onnx", {})
    (tmp_path / "theirs.data").unlink()
    preprocessor = task_of(large.reference).input
    feeds = preprocessor.stack(preprocessor.prepare(["a fine film", "a dull and endless one"]))
    graphs = (tmp_path / "ours.onnx", large.reference.weights)
    ours, expected = (OnnxRuntimeSession(file, threads=1).run(feeds) for file in graphs)
    np.testing.assert_array_equal(ours, expected)


def test_weights_that_are_not_there_or_elsewhere_are_rejected(large: Variants, tmp_path: Path):
    lone = tmp_path / "model.onnx"
    lone.write_bytes(large.reference.weights.read_bytes())
    with pytest.raises(ArtifactError, match=r"the weights of .* cannot be read: .*No such file"):
        load_graph(lone)
    lone.write_bytes(lone.read_bytes().replace(DATA.encode(), b"../" + DATA.encode()[3:]))
    with pytest.raises(ArtifactError, match="is outside of its folder"):
        load_graph(lone)


def test_it_travels_through_mlflow_and_is_served(
    large: Variants, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from fastapi.testclient import TestClient

    from toolchain.serve.http.application import build
    from toolchain.serve.settings import Settings
    from toolchain.serve.versions.router import static_router
    from toolchain.serve.versions.version import load
    from toolchain.services.mlflow import Tracker

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    tracker = Tracker()
    run_id = tracker.create_run("large", "large", {}, 0)
    tracker.upload(run_id, large.reference.path, "variants/fp32")
    fetched = tracker.download(run_id, "variants/fp32", tmp_path / "fetched")
    assert open_model(fetched).digest == large.reference.digest
    served = load(Settings(model=fetched, name="large", version="1"))
    with TestClient(build(static_router(served)), "http://127.0.0.1") as client:
        response = client.post("/predict", json={"texts": ["a fine film"]})
    assert response.status_code == 200, response.text
