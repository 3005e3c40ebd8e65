import sys
from pathlib import Path

import pytest
from onnx import TensorProto, helper
from tokenizers import Tokenizer, models

from toolchain.artifacts.model import Model, Signature, new_model, open_model
from toolchain.artifacts.provenance import Work
from toolchain.errors import ArtifactError
from toolchain.evaluate.latency.cold_start import cold_start, peak_memory


def echo(folder: Path, weights: bytes | None = None) -> Model:
    """A model that returns its input."""
    signature = Signature(
        task="text-classification", framework="onnx", variant="fp32", backend="onnxruntime", weights="model.onnx"
    )
    values = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "tokens"])]
    cast = helper.make_node("Cast", ["input_ids"], ["logits"], to=TensorProto.FLOAT)
    graph = helper.make_graph([cast], "echo", values, outputs)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with new_model(folder, signature, Work("export.onnx", None)) as writer:
        (writer.folder / "model.onnx").write_bytes(weights or made.SerializeToString())
        Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]")).save(str(writer.folder / "tokenizer.json"))
    return open_model(folder)


def test_a_fresh_process_predicts_and_shows_its_cost(tmp_path: Path):
    found = cold_start(echo(tmp_path / "fp32"), "any 'text' \n at all", threads=1)
    assert 1 < found.milliseconds < 60_000
    assert 20e6 < found.peak_memory_bytes < 400e6


@pytest.mark.skipif(sys.platform != "linux", reason="getrusage alone is read elsewhere")
def test_what_this_process_holds_is_not_counted_as_the_fresh_ones(tmp_path: Path):
    ballast = bytearray(600_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    assert peak_memory() > 600e6
    assert cold_start(echo(tmp_path / "fp32"), "text", threads=1).peak_memory_bytes < 400e6


def test_shows_in_one_line_why_there_is_no_prediction(tmp_path: Path):
    broken = echo(tmp_path / "fp32", b"no graph")
    with pytest.raises(ArtifactError, match=r"fp32 does not run in a fresh process: /.*does not run in ONNX") as caught:
        cold_start(broken, "text", threads=1)
    assert "\n" not in str(caught.value)
