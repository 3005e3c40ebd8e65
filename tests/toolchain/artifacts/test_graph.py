import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from toolchain.artifacts import graph
from toolchain.errors import ArtifactError

WEIGHTS = np.arange(1024, dtype=np.float32).reshape(4, 256)


@pytest.fixture
def model() -> Any:
    """A product with ``WEIGHTS``."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 4])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 256])]
    node = helper.make_node("MatMul", ["x", "weights"], ["y"])
    made = helper.make_graph([node], "product", inputs, outputs, [numpy_helper.from_array(WEIGHTS, "weights")])
    return helper.make_model(made)


def weights_of(path: Path) -> Any:
    return numpy_helper.to_array(graph.load_graph(path).graph.initializer[0])


def test_a_graph_is_one_file_with_its_properties(model: Any, tmp_path: Path):
    helper.set_model_props(model, {"kept": "1", "version": "1"})
    graph.save_graph(model, tmp_path / "model.onnx", {"version": "2"})
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert np.array_equal(weights_of(tmp_path / "model.onnx"), WEIGHTS)
    found = onnx.load(tmp_path / "model.onnx").metadata_props
    assert {entry.key: entry.value for entry in found} == {"kept": "1", "version": "2"}


def test_large_weights_are_in_a_second_file_also_behind_hard_links(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(graph, "MAX_FILE_BYTES", WEIGHTS.nbytes - 1)
    assert graph.needs_two_files(model)
    graph.save_graph(model, tmp_path / "model.onnx", {})
    assert (tmp_path / "model.onnx.data").stat().st_size >= WEIGHTS.nbytes
    os.link(tmp_path / "model.onnx.data", tmp_path / "another name")
    assert np.array_equal(weights_of(tmp_path / "model.onnx"), WEIGHTS)


def test_a_graph_without_its_weights_and_a_file_of_others_are_named(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(graph, "MAX_FILE_BYTES", 1)
    graph.save_graph(model, tmp_path / "model.onnx", {})
    (tmp_path / "model.onnx.data").unlink()
    with pytest.raises(ArtifactError, match="the weights of"):
        graph.load_graph(tmp_path / "model.onnx")
    (tmp_path / "other.onnx").write_bytes(b"text")
    with pytest.raises(ArtifactError, match=r"other\.onnx"):
        graph.load_graph(tmp_path / "other.onnx")
