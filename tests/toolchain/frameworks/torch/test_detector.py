import json
from copy import copy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolchain.artifacts.model import Signature, new_model, open_model
from toolchain.artifacts.provenance import Work
from toolchain.errors import ArtifactError, ConfigError
from toolchain.frameworks.torch.detector import BASES, LITE0, Architecture, build_detector, load_detector, save_detector

SSDLITE = "ssdlite320_mobilenet_v3_large"
SMALL = {LITE0: 128, SSDLITE: 128, "retinanet_resnet50_fpn_v2": 64}  # pixels, by base: one of each family


@cache
def drawn(base: str) -> Any:
    """Return a detector with random weights that sees differences: its norms know their inputs, no scores are equal."""
    import torch

    torch.manual_seed(0)
    detector = build_detector(Architecture(base=base, classes=2, image_size=SMALL[base]))
    detector.train()
    with torch.no_grad():
        for module in detector.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None
        for weight in detector.network.head.parameters():
            if weight.ndim > 1:
                torch.nn.init.normal_(weight, std=0.08)
        pixels = torch.randn(4, 3, SMALL[base], SMALL[base])
        detector.network.head(list(detector.network.backbone(pixels).values()))
    return detector.eval()


def lively(base: str = LITE0, **settings: Any) -> Any:
    """Return the drawn detector, which shares its weights, with other settings."""
    detector = copy(drawn(base))
    detector.architecture = replace(detector.architecture, **settings)
    return detector


def noise(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (1, size, size, 3), dtype=np.uint8)


def predict(detector: Any, image: np.ndarray) -> list[np.ndarray]:
    import torch

    with torch.inference_mode():
        return [part.numpy() for part in detector(torch.from_numpy(image))]


def decided(found: list[np.ndarray], overlap: float) -> list[np.ndarray]:
    """Leave out boxes that share ``overlap`` with a better one of their class to the last digits: they may go or stay.

    Boxes clipped at the image's edge often share exactly a half.
    """
    import torch
    from torchvision.ops import box_iou

    boxes, scores, labels = found
    shared = box_iou(torch.from_numpy(boxes), torch.from_numpy(boxes)).numpy()
    better = (labels[:, None] == labels[None]) & (scores[:, None] < scores[None])
    tied = (better & (np.abs(shared - overlap) < 1e-4)).any(axis=1)
    return [part[~tied] for part in found]


def assert_same(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """Two boxes whose scores are equal but for the last digits may have swapped."""
    (boxes, scores, labels), (expected_boxes, expected_scores, expected_labels) = found, expected
    np.testing.assert_allclose(scores, expected_scores, atol=1e-4)
    apart = np.abs(boxes[:, None] - expected_boxes[None]).max(axis=2) + 1000 * (
        labels[:, None] != expected_labels[None]
    )
    assert apart.min(axis=0).max() < 0.05, "in pixels"
    assert apart.min(axis=1).max() < 0.05


def exported(detector: Any, file: Path) -> Path:
    import torch

    names, size = ["boxes", "scores", "labels"], detector.architecture.image_size
    torch.onnx.export(
        detector,
        (torch.from_numpy(noise(size)),),
        file,
        dynamo=False,
        opset_version=17,
        input_names=["image"],
        output_names=names,
        dynamic_axes={name: {0: "objects"} for name in names},
    )
    return file


def saved(detector: Any, folder: Path, labels: tuple[str, ...] = ("a", "b")) -> Path:
    architecture = detector.architecture
    signature = Signature(
        task="object-detection",
        framework="pytorch",
        variant="fp32",
        backend="pytorch",
        weights="model.safetensors",
        labels=labels,
        inputs=architecture.inputs(),
        outputs=architecture.outputs(),
    )
    with new_model(folder, signature, Work("train.torch_detector", None)) as writer:
        save_detector(detector, writer.folder)
    return folder


# --- predictions ---


@pytest.mark.parametrize("base", SMALL)
def test_predicts_boxes_in_the_pixels_of_its_input_best_first(base: str):
    detector = lively(base, score_threshold=0.0, max_detections=50)
    boxes, scores, labels = predict(detector, noise(SMALL[base]))
    assert (boxes.dtype, scores.dtype, labels.dtype) == (np.float32, np.float32, np.int64)
    assert 0 < len(boxes) <= 50
    assert boxes.shape == (len(scores), 4)
    assert boxes.min() >= 0
    assert boxes.max() <= SMALL[base]
    assert (np.diff(scores) <= 0).all()
    assert set(labels) <= {0, 1}


def test_predicts_what_torchvisions_post_processing_does():
    import torch

    detector = lively(score_threshold=0.2, nms_threshold=0.6, max_detections=100)
    network, image = detector.network, noise(128)
    network.score_thresh, network.nms_thresh, network.detections_per_img = 0.2, 0.6, 100
    with torch.inference_mode():
        (expected,) = network([torch.from_numpy(image[0]).permute(2, 0, 1) / 255])
    there = (expected["boxes"][:, 2:] > expected["boxes"][:, :2]).all(1)  # it returns boxes without area, too
    expected = {name: values[there] for name, values in expected.items()}
    boxes, scores, labels = predict(detector, image)
    np.testing.assert_allclose(scores, expected["scores"], atol=1e-5)
    np.testing.assert_allclose(boxes, expected["boxes"], atol=1e-3)
    assert labels.tolist() == expected["labels"].tolist()


def test_boxes_of_one_class_share_no_more_than_the_overlap_and_those_of_two_classes_may():
    import torch
    from torchvision.ops import box_iou

    boxes, _, labels = predict(lively(score_threshold=0.0, nms_threshold=0.3), noise(128))
    shares = box_iou(torch.from_numpy(boxes), torch.from_numpy(boxes)).numpy() - 2 * np.eye(len(boxes))
    same = labels[:, None] == labels[None]
    assert shares[same].max() <= 0.3 + 1e-6
    assert shares[~same].max() > 0.3


def test_an_image_in_which_nothing_is_found_has_no_boxes():
    boxes, scores, labels = predict(lively(score_threshold=0.999), noise(128))
    assert (boxes.shape, scores.shape, labels.shape) == ((0, 4), (0,), (0,))


# --- as ONNX ---


@pytest.mark.parametrize("base", SMALL)
def test_onnx_runtime_and_openvino_predict_as_pytorch_does(base: str, tmp_path: Path):
    import onnxruntime
    import openvino

    detector = lively(base, score_threshold=0.0)
    file = exported(detector, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(file)
    compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for seed in range(3):
        image = noise(SMALL[base], seed)
        expected = predict(detector, image)
        by_openvino = compiled([image])
        for found in (
            session.run(None, {"image": image}),
            [by_openvino[name] for name in ("boxes", "scores", "labels")],
        ):
            assert_same(*(decided(one, detector.architecture.nms_threshold) for one in (found, expected)))


def test_an_exported_detector_that_finds_nothing_returns_no_boxes(tmp_path: Path):
    import onnxruntime
    import openvino

    file = exported(lively(score_threshold=0.999), tmp_path / "model.onnx")
    found = onnxruntime.InferenceSession(file).run(None, {"image": noise(128)})
    by_openvino = openvino.Core().compile_model(file, "CPU")([noise(128)])
    assert [part.shape for part in found] == [(0, 4), (0,), (0,)]
    assert [by_openvino[name].shape[0] for name in ("boxes", "scores", "labels")] == [0, 0, 0]


def test_static_int8_of_the_convolutions_leaves_the_post_processing_as_it_is(tmp_path: Path):
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Noise(CalibrationDataReader):
        def __init__(self) -> None:
            self.images = iter(range(4))

        def get_next(self) -> dict[str, np.ndarray] | None:
            seed = next(self.images, None)
            return None if seed is None else {"image": noise(128, seed)}

    detector = lively(score_threshold=0.0, max_detections=20)
    file = exported(detector, tmp_path / "model.onnx")
    quantize_static(
        file,
        tmp_path / "int8.onnx",
        Noise(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv"],
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    boxes, scores, _ = onnxruntime.InferenceSession(tmp_path / "int8.onnx").run(None, {"image": noise(128, 9)})
    expected = predict(detector, noise(128, 9))
    assert (tmp_path / "int8.onnx").stat().st_size < 0.4 * file.stat().st_size
    assert len(boxes) == 20
    assert abs(scores - expected[1]).mean() < 0.1, "of random weights, which lose most"


# --- saved and loaded ---


@pytest.mark.parametrize("base", SMALL)
def test_a_loaded_detector_predicts_as_the_saved_one(base: str, tmp_path: Path):
    detector = lively(base, score_threshold=0.0, max_detections=40, nms_threshold=0.4)
    loaded = load_detector(open_model(saved(detector, tmp_path / "model")))
    assert loaded.architecture == detector.architecture
    for one, other in zip(predict(loaded, noise(SMALL[base])), predict(detector, noise(SMALL[base])), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_signature_shows_what_goes_in_and_comes_out(tmp_path: Path):
    model = open_model(saved(lively(), tmp_path / "model"))
    (image,) = model.signature.inputs
    assert (image.name, image.dtype, image.shape) == ("image", "uint8", (1, 128, 128, 3))
    assert [tensor.name for tensor in model.signature.outputs] == ["boxes", "scores", "labels"]


def test_labels_that_are_not_the_detectors_are_rejected(tmp_path: Path):
    with pytest.raises(ArtifactError, match="names 3 labels but its detector has 2"):
        load_detector(open_model(saved(lively(), tmp_path / "model", ("a", "b", "c"))))


def test_weights_of_another_architecture_are_rejected_in_one_line(tmp_path: Path):
    detector = lively()
    detector.architecture = replace(detector.architecture, base=SSDLITE)
    with pytest.raises(ArtifactError, match="holds no detector that PyTorch can load") as caught:
        load_detector(open_model(saved(detector, tmp_path / "model")))
    assert "\n" not in str(caught.value)


def test_a_damaged_description_is_rejected(tmp_path: Path):
    def damage(folder: Path) -> None:
        file = folder / "detector.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "image_size": 100}))

    detector = lively()
    signature = open_model(saved(detector, tmp_path / "whole")).signature
    with new_model(tmp_path / "model", signature, Work("train.torch_detector", None)) as writer:
        save_detector(detector, writer.folder)
        damage(writer.folder)
    with pytest.raises(ArtifactError, match=r"detector\.json is damaged: image_size is 100"):
        load_detector(open_model(tmp_path / "model"))


# --- settings ---


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {"base": "ssdlite320_mobilenet"},
            r"there is no detector 'ssdlite320_mobilenet'; similar ones are ssdlite320_mob",
        ),
        ({"base": "fasterrcnn_resnet50_fpn"}, "similar ones are (fcos|retinanet)_resnet50_fpn"),
        ({"image_size": 100}, "image_size is 100 pixels; a detector takes a multiple of 32 from 64 on"),
        ({"image_size": 32}, "image_size is 32"),
        ({"classes": 0}, "classes is 0"),
        ({"score_threshold": 1.0}, r"score_threshold is 1\.0"),
        ({"nms_threshold": 0.0}, r"nms_threshold is 0\.0"),
        ({"max_detections": 0}, "max_detections is 0"),
    ],
)
def test_settings_that_cannot_work_are_rejected(settings: dict[str, Any], line: str):
    with pytest.raises(ConfigError, match=line):
        Architecture(**{"base": LITE0, "classes": 2, "image_size": 128, **settings})


def test_every_base_is_one_that_can_be_built():
    from torchvision.models import detection

    assert LITE0 in BASES
    assert all(hasattr(detection, base) for base in BASES if base != LITE0)
