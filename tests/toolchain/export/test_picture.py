"""Picture classifiers and detectors as ONNX graphs."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from toolchain.artifacts.dataset import open_dataset
from toolchain.artifacts.model import Signature, new_model, open_model
from toolchain.artifacts.provenance import Work
from toolchain.artifacts.variants import Variants, open_variants
from toolchain.errors import ConfigError
from toolchain.export.onnx import Config, form_of, run
from toolchain.export.onnx.image import _max_box_difference
from toolchain.frameworks.torch.detector import Architecture, build_detector, save_detector
from toolchain.frameworks.torch.image_classifier import load_network
from toolchain.inference.runtime import open_session
from toolchain.inference.tasks import task_of


@pytest.fixture(scope="module")
def exported(digit_network: Path, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Variants:
    path = tmp_path_factory.mktemp("exported") / "variants"
    assert run([digit_network, digit_network], digits, path, Config()).variants == ("fp32",)
    return open_variants(path)


def test_the_graph_takes_raw_pixels_of_any_number_of_images_and_predicts_as_pytorch(
    exported: Variants, digit_network: Path, digits: Path
):
    import torch

    images = open_dataset(digits).table("test", ["image"]).column("image").to_pylist()
    preprocessor, session = task_of(exported.reference).input, open_session(exported.reference)
    feeds = preprocessor.stack(preprocessor.prepare(images))
    assert feeds["image"].dtype == np.uint8
    assert feeds["image"].shape == (40, 28, 28, 1)
    with torch.inference_mode():
        expected = load_network(open_model(digit_network))(torch.from_numpy(feeds["image"])).numpy()
    assert np.abs(session.run(feeds) - expected).max() < 1e-4
    one = {"image": feeds["image"][:1]}
    assert np.abs(session.run(one) - expected[:1]).max() < 1e-4


def test_the_file_shows_what_it_is(exported: Variants):
    about = {entry.key: entry.value for entry in onnx.load(exported.reference.weights).metadata_props}
    assert about["task"] == "image-classification"
    assert about["inputs"] == '{"image": ["uint8", "batch", 28, 28, 1]}'
    assert about["labels"] == '["0", "1"]'


def test_normalisation_is_fused_and_no_batch_normalisation_is_left(exported: Variants):
    kinds = {node.op_type for node in onnx.load(exported.reference.weights).graph.node}
    assert "Conv" in kinds
    assert "BatchNormalization" not in kinds


def test_attention_cannot_be_fused_in_an_image_classifier(digit_network: Path, digits: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="fuse_attention needs"):
        run([digit_network], digits, tmp_path / "variants", Config(fuse_attention=True))


@pytest.mark.slow
def test_a_detector_predicts_as_pytorch(digits: Path, tmp_path: Path):
    import torch

    torch.manual_seed(0)
    detector = build_detector(
        Architecture(base="fcos:efficientnet-lite0", classes=2, image_size=64, score_threshold=0.0)
    )
    architecture = detector.architecture
    signature = Signature(
        task="object-detection",
        framework="pytorch",
        variant="fp32",
        backend="pytorch",
        weights="model.safetensors",
        labels=("0", "1"),
        inputs=architecture.inputs(),
        outputs=architecture.outputs(),
    )
    with new_model(tmp_path / "detector", signature, Work("train.torch_detector", None)) as writer:
        save_detector(detector, writer.folder)
    result = run([tmp_path / "detector"], digits, tmp_path / "variants", Config(parity_rows=4))
    assert result.max_difference < 1e-3
    model = open_variants(tmp_path / "variants").reference
    preprocessor = task_of(model).input
    value = open_dataset(digits).table("test", ["image"]).column("image").to_pylist()[:1]
    found = open_session(model).outputs(preprocessor.stack(preprocessor.prepare(value)))
    assert [part.ndim for part in found] == [2, 1, 1]
    assert form_of(open_model(tmp_path / "detector")).compared.startswith("scores and boxes")


def test_boxes_are_compared_in_any_order_and_by_their_scores():
    boxes, scores = np.array([[0, 0, 10, 10], [20, 20, 30, 30]], np.float32), np.array([0.9, 0.9], np.float32)
    ours = [boxes, scores, np.zeros(2)]
    assert _max_box_difference(ours, [boxes[::-1], scores, np.zeros(2)], 100, 0.05) == 0
    moved = boxes + np.array([[0, 0, 5, 0], [0, 0, 0, 0]], np.float32)
    assert _max_box_difference(ours, [moved, scores, np.zeros(2)], 100, 0.05) == pytest.approx(0.05)
    extra = [np.vstack([boxes, [[50, 50, 60, 60]]]), np.append(scores, 0.052), np.zeros(3)]
    three = [np.vstack([boxes, [[70, 70, 80, 80]]]), np.append(scores, 0.051), np.zeros(3)]
    assert _max_box_difference(extra, three, 100, 0.05) == pytest.approx(0.002, abs=1e-6), (
        "both are hardly above the lowest score"
    )
    assert (
        _max_box_difference([boxes[:0], scores[:0], np.zeros(0)], [boxes[:0], scores[:0], np.zeros(0)], 100, 0.05) == 0
    )
