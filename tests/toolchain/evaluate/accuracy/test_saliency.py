from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pytest
from onnx import TensorProto, helper, numpy_helper

from toolchain.artifacts.dataset import Dataset, new_dataset, open_dataset
from toolchain.artifacts.model import Model, Signature, Tensor, new_model, open_model
from toolchain.artifacts.provenance import Work
from toolchain.data.images import SCHEMA
from toolchain.evaluate.accuracy.saliency import PARTS, cover, explain_worst
from toolchain.image_decoding import encode

SIDE = 14  # two pixels a part


@pytest.fixture
def corner(tmp_path: Path) -> Model:
    """Return a classifier whose second logit is the brightness of the left upper four pixels, 0..1, times 8."""
    weight = np.zeros((SIDE * SIDE, 2), np.float32)
    weight.reshape(SIDE, SIDE, 2)[:2, :2, 1] = 8 / 255 / 4
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["float"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weight"], ["logits"]),
        ],
        "corner",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", SIDE, SIDE, 1])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(weight, "weight")],
    )
    signature = Signature(
        task="image-classification",
        framework="onnx",
        variant="fp32",
        backend="onnxruntime",
        weights="model.onnx",
        labels=("dark", "bright"),
        inputs=(Tensor("image", "uint8", ("batch", SIDE, SIDE, 1)),),
    )
    with new_model(tmp_path / "corner", signature, Work("export.onnx", None)) as writer:
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, writer.folder / "model.onnx")
    return open_model(tmp_path / "corner")


def write_images(path: Path, brightness: list[int]) -> Dataset:
    rows = []
    for row, value in enumerate(brightness):
        pixels = np.zeros((SIDE, SIDE, 1), np.uint8)
        pixels[:2, :2] = value
        image = {"bytes": encode(pixels), "path": f"{row}.png"}
        rows.append({"row": 10 + row, "image": image, "width": SIDE, "height": SIDE, "label": 0})
    with new_dataset(path, SCHEMA, Work("data.split", None), ("dark", "bright")) as writer:
        writer.write("test", pa.Table.from_pylist(rows, SCHEMA))
    return open_dataset(path)


def test_the_prediction_rests_on_the_part_that_makes_it(corner: Model, tmp_path: Path):
    data = write_images(tmp_path / "data", [255, 0, 200])
    logits = np.array([[0, 8], [0, 0], [0, 6.27]], np.float32)
    (surest, next_one) = explain_worst(corner, data, "test", logits, np.zeros(3, np.int64))
    assert (surest["row"], next_one["row"]) == (10, 12), "the second image is predicted correctly"
    parts = np.array(surest["parts"])
    assert parts.shape == (PARTS, PARTS)
    assert parts[0, 0] == parts.max() > 0.3
    rest = parts.copy()
    rest[0, 0] = 0
    assert np.abs(rest).max() < 0.001


def test_nothing_is_explained_where_all_is_right(corner: Model, tmp_path: Path):
    data = write_images(tmp_path / "data", [0, 0])
    assert explain_worst(corner, data, "test", np.array([[1, 0], [1, 0]], np.float32), np.zeros(2, np.int64)) == []


@pytest.mark.parametrize("shape", [(14, 14, 1), (30, 17, 3), (3, 5, 1)])
def test_the_parts_cover_the_whole_image(shape: tuple[int, int, int]):
    pixels = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    pixels[0, 0] = 0
    changed = np.any([copy != pixels for copy in cover(pixels)], axis=0)
    mean = pixels.reshape(-1, shape[2]).mean(axis=0).round()
    assert np.array_equal(changed, pixels != mean), "all that is not the mean colour already"
