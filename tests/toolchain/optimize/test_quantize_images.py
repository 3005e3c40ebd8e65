"""INT8 of convolutional networks."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from toolchain.artifacts.dataset import open_dataset
from toolchain.artifacts.model import Model
from toolchain.artifacts.variants import Variants, open_variants
from toolchain.errors import ArtifactError, ConfigError
from toolchain.export.onnx import Config as ExportConfig
from toolchain.export.onnx import run as export
from toolchain.inference.batch_prediction import predict
from toolchain.inference.runtime import Logits, open_session
from toolchain.inference.tasks import task_of
from toolchain.optimize.quantize import IMAGE_METHODS, Config, run
from toolchain.optimize.quantize.convolutional import between_weights, quantize
from toolchain.optimize.quantize.graph import name_constants_directly


@pytest.fixture(scope="module")
def quantized(digit_network: Path, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Variants:
    folder = tmp_path_factory.mktemp("quantized")
    export([digit_network], digits, folder / "variants", ExportConfig())
    run(folder / "variants", digits, folder / "int8", Config(methods=list(IMAGE_METHODS), calibration_rows=32))
    return open_variants(folder / "int8")


def logits_of(model: Model, digits: Path) -> Logits:
    images = open_dataset(digits).table("test", ["image"]).column("image").to_pylist()
    return predict(open_session(model), task_of(model).input, images)


@pytest.mark.parametrize("method", IMAGE_METHODS)
def test_every_method_keeps_the_predictions(quantized: Variants, digits: Path, method: str):
    expected, found = logits_of(quantized.reference, digits), logits_of(quantized.models[method], digits)
    cosine = np.vdot(expected, found) / np.linalg.norm(expected) / np.linalg.norm(found)
    assert cosine > 0.98  # of a network that saw 120 digits twice; a wrong scale gives less than 0.9
    assert (expected.argmax(axis=1) == found.argmax(axis=1)).mean() > 0.95


@pytest.mark.parametrize("method", ["int8-minmax", "int8-entropy", "int8-openvino"])
def test_weights_take_a_quarter(quantized: Variants, method: str):
    assert quantized.models[method].size_bytes < 0.4 * quantized.reference.size_bytes


@pytest.mark.parametrize("method", ["int8-minmax", "int8-entropy"])
def test_weights_are_signed_by_channel_of_seven_bits_and_activations_unsigned(quantized: Variants, method: str):
    graph = onnx.load(quantized.models[method].weights).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weights = [value for value in constants.values() if value.dtype == np.int8 and value.ndim == 4]
    assert len(weights) == len([node for node in graph.node if node.op_type == "Conv"])
    assert all(np.abs(weight).max() <= 64 for weight in weights)
    dequantized = [node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in constants]
    assert any(constants[node.input[1]].ndim == 1 for node in dequantized), "a scale for each channel"
    zeros = {constants[node.input[2]].dtype for node in graph.node if node.op_type == "QuantizeLinear"}
    assert zeros == {np.dtype(np.uint8)}


def test_the_file_keeps_what_it_was_and_what_inference_needs(quantized: Variants):
    model = quantized.models["int8-minmax"]
    about = {entry.key: entry.value for entry in onnx.load(model.weights).metadata_props}
    assert (about["variant"], about["origin"], about["task"]) == ("int8-minmax", "fp32", "image-classification")
    assert (model.path / "architecture.json").is_file()


def test_a_method_for_texts_is_rejected(digit_network: Path, digits: Path, tmp_path: Path):
    export([digit_network], digits, tmp_path / "variants", ExportConfig())
    with pytest.raises(
        ConfigError, match="int8-dynamic is not for image-classification; set methods to some of int8-min"
    ):
        run(tmp_path / "variants", digits, tmp_path / "int8", Config(methods=["int8-dynamic", "int8-minmax"]))


def graph_of(*nodes: onnx.NodeProto, weights: tuple[str, ...] = ()) -> onnx.ModelProto:
    size = [1, 1, 4, 4]
    constants = [numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), name) for name in weights]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name in ("in", "out")]
    return helper.make_model(
        helper.make_graph(list(nodes), "graph", ends[:1], ends[1:], constants),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )


def test_what_comes_before_the_first_and_after_the_last_weights_stays_float():
    model = graph_of(
        helper.make_node("Add", ["in", "in"], ["a"], "normalise"),
        helper.make_node("Conv", ["a", "w1"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"], "between"),
        helper.make_node("Sigmoid", ["c"], ["c2"], "in-float"),
        helper.make_node("Conv", ["c2", "w2"], ["d"], "last"),
        helper.make_node("Relu", ["d"], ["e"], "decode"),
        helper.make_node("Add", ["e", "d"], ["out"], "decode-too"),
        weights=("w1", "w2"),
    )
    assert between_weights(model) == ["Conv_1", "between", "last"]


def test_a_constant_behind_a_copy_is_read_directly():
    model = graph_of(
        helper.make_node("Identity", ["w1"], ["copy"]),
        helper.make_node("Conv", ["in", "copy"], ["a"], "first"),
        helper.make_node("Identity", ["a"], ["out"], "kept"),
        weights=("w1",),
    )
    name_constants_directly(model)
    assert [(node.op_type, list(node.input)) for node in model.graph.node] == [
        ("Conv", ["in", "w1"]),
        ("Identity", ["a"]),
    ]
    assert between_weights(model) == ["first"]


def test_a_graph_without_weights_is_reported(tmp_path: Path):
    onnx.save(graph_of(helper.make_node("Relu", ["in"], ["out"], "relu")), tmp_path / "relu.onnx")
    with pytest.raises(ArtifactError, match="no layer with constant weights"):
        quantize(tmp_path / "relu.onnx", tmp_path / "int8.onnx", {}, [], 7, "minmax")
