"""Measure and compare detectors by the steps, with graphs whose outputs are known."""

import io
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from toolchain.artifacts.dataset import new_dataset
from toolchain.artifacts.expected import read_expected
from toolchain.artifacts.image import OBJECTS_TYPE
from toolchain.artifacts.measurement import open_measurement
from toolchain.artifacts.model import Signature, Tensor
from toolchain.artifacts.provenance import Work
from toolchain.artifacts.variants import VariantsWriter, new_variants
from toolchain.errors import DataError
from toolchain.evaluate import accuracy, gate, latency, parity

SIDE = 32  # of the detector's input; the images are twice as wide
BOX = [8.0, 4.0, 24.0, 20.0]  # in the image, 64 x 32; in the detector's input 4 to 12 across
INPUT_BOX = [4.0, 4.0, 12.0, 20.0]


def constant_output(boxes: list[list[float]], scores: list[float], labels: list[int]) -> onnx.ModelProto:
    """Return a graph with the same output for every image."""
    constants = {
        "known_boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "known_scores": np.array(scores, np.float32),
        "known_labels": np.array(labels, np.int64),
    }
    graph = helper.make_graph(
        [
            *(helper.make_node("Identity", [name], [name.removeprefix("known_")]) for name in constants),
            helper.make_node("Shape", ["image"], ["shape"]),
        ],
        "known",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, SIDE, SIDE, 3])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("labels", TensorProto.INT64, None),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def add(writer: VariantsWriter, variant: str, graph: onnx.ModelProto, origin: str = "") -> None:
    signature = Signature(
        task="object-detection",
        framework="onnx",
        variant=variant,
        backend="onnxruntime",
        weights="model.onnx",
        origin=origin,
        labels=("cat", "dog"),
        inputs=(Tensor("image", "uint8", (1, SIDE, SIDE, 3)),),
    )
    with writer.new(signature, Work("export.onnx", None)) as model:
        onnx.save(graph, model.folder / "model.onnx")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return 20 images of 64 x 32 with a cat at one position; five have a dog, too."""
    path = tmp_path_factory.mktemp("detection") / "dataset"
    schema = pa.schema(
        [
            ("row", pa.int64()),
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("width", pa.int64()),
            ("height", pa.int64()),
            ("objects", OBJECTS_TYPE),
        ]
    )
    nothing = {"rotation": 0.0, "polygons": [], "mask": "", "attributes": "{}"}
    flags = dict.fromkeys(("crowd", "difficult", "truncated", "occluded"), False)
    rows = []
    for row in range(20):
        file = io.BytesIO()
        Image.new("RGB", (64, 32), (row, 0, 0)).save(file, "PNG")
        objects = [{"label": 0, "box": BOX, **nothing, **flags}]
        objects += [{"label": 1, "box": [40.0, 2.0, 60.0, 30.0], **nothing, **flags}] if row < 5 else []
        image = {"bytes": file.getvalue(), "path": f"{row}.png"}
        rows.append({"row": row, "image": image, "width": 64, "height": 32, "objects": objects})
    with new_dataset(path, schema, Work("data.split", None), ("cat", "dog")) as writer:
        writer.write("test", pa.Table.from_pylist(rows, schema))
    return path


@pytest.fixture(scope="module")
def measured(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measured")
    dog = [20.0, 2.0, 30.0, 30.0]
    with new_variants(folder / "variants", Work("optimize.quantize", None)) as writer:
        add(writer, "fp32", constant_output([INPUT_BOX, dog], [0.9, 0.2], [0, 1]))
        add(writer, "int8-minmax", constant_output([INPUT_BOX, dog], [0.8, 0.2], [0, 1]), "fp32")
        add(writer, "int8-entropy", constant_output([[0, 0, 2, 2]], [0.8], [0]), "fp32")
    accuracy.run(folder / "variants", dataset, folder / "accuracy", accuracy.Config(resamples=200))
    parity.run(folder / "accuracy", folder / "parity", parity.Config(resamples=200))
    return folder


def test_boxes_are_measured_in_the_image_not_in_the_detector_s_input(measured: Path):
    data = open_measurement(measured / "accuracy", "accuracy").data
    entry = data["variants"]["fp32"]
    # Cats: found in all images, AP 1. Dogs: predicted in all 20 with one score, present in the first 5: COCO's
    # precision at every recall is the best at or beyond it, so 1 when the first five rows come first.
    assert entry["per_class"][0]["ap50"] == pytest.approx(1.0)
    assert entry["per_class"][0]["recall"] == 1.0
    assert data["objects"] == 25
    assert data["rows"] == 20
    recorded = read_expected(measured / "accuracy" / "expected" / "fp32")
    assert recorded.threshold == data["threshold"]
    assert recorded.rows[0].scores == pytest.approx((0.9, 0.2))
    assert recorded.rows[0].labels == (0, 1)


def test_the_variant_that_finds_nothing_is_rejected_and_the_one_that_finds_the_same_is_safe(
    measured: Path, dataset: Path
):
    config = latency.Config(rounds=5, max_seconds=5.0, resamples=200)
    latency.run(measured / "variants", dataset, measured / "latency", config)
    timed = open_measurement(measured / "latency", "latency").data
    assert timed["scenarios"] == ["batch1"]
    paths = [measured / name for name in ("accuracy", "parity", "latency", "verdict")]
    gate.run(*paths, gate.Config(min_test_rows=10))
    judged = {entry["name"]: entry for entry in open_measurement(measured / "verdict", "verdict").data["variants"]}
    assert judged["int8-minmax"]["accurate"]
    assert not judged["int8-entropy"]["accurate"]
    reasons = " | ".join(judged["int8-entropy"]["reasons"])
    assert "agrees with fp32 on 0.0 % (interval 0.0 to 0.0) of the boxes, below the minimum of 97 %" in reasons
    assert "of mAP50 against fp32, above the maximum of 1" in reasons
    assert "mAP50" in judged["fp32"]["reasons"][0]


def test_a_dataset_of_other_classes_is_reported(measured: Path, tmp_path: Path, dataset: Path):
    with new_variants(tmp_path / "variants", Work("optimize.quantize", None)) as writer:
        add(writer, "fp32", constant_output([INPUT_BOX], [0.9], [0]))
    other = pa.schema([("row", pa.int64())])
    with new_dataset(tmp_path / "data", other, Work("data.split", None), ("bird",)) as rows:
        rows.write("test", pa.table({"row": [0]}, other))
    with pytest.raises(DataError, match="has the classes bird; the model has cat, dog"):
        accuracy.run(tmp_path / "variants", tmp_path / "data", tmp_path / "accuracy", accuracy.Config())
