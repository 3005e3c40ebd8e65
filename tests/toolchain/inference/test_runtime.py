from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from tokenizers import Tokenizer as Encoder
from tokenizers import models, pre_tokenizers

from toolchain import text_repair
from toolchain.artifacts.model import Model, Signature, new_model, open_model
from toolchain.artifacts.provenance import Work
from toolchain.errors import ArtifactError, ServiceError
from toolchain.frameworks.length_batches import pad
from toolchain.inference.batch_prediction import predict
from toolchain.inference.runtime import Tokenizer, open_session
from toolchain.inference.text_input import TextInput

WORDS = ["[UNK]", "[PAD]", "good", "bad", "film"]  # the padding is not the first on purpose


def graph() -> onnx.ModelProto:
    """Logits (tokens in the mask, sum of the ids in the mask): any slip of padding, mask or order shows."""
    nodes = [
        helper.make_node("Mul", ["input_ids", "attention_mask"], ["seen"]),
        helper.make_node("ReduceSum", ["attention_mask", "axis"], ["count"], keepdims=1),
        helper.make_node("ReduceSum", ["seen", "axis"], ["total"], keepdims=1),
        helper.make_node("Concat", ["count", "total"], ["both"], axis=1),
        helper.make_node("Cast", ["both"], ["logits"], to=TensorProto.FLOAT),
    ]
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, ["b", "t"]) for n in ("input_ids", "attention_mask")]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", 2])
    axis = helper.make_tensor("axis", TensorProto.INT64, [1], [1])
    made = helper.make_graph(nodes, "counter", inputs, [output], [axis])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def counter(folder: Path, backend: str = "onnxruntime", tokenizer: bool = True) -> Model:
    weights = {"onnxruntime": "model.onnx", "openvino": "model.xml"}.get(backend, "model.bin")
    signature = Signature(
        task="text-classification", framework="onnx", variant="fp32", backend=backend, weights=weights, max_tokens=6
    )
    with new_model(folder, signature, Work("export.onnx", None)) as writer:
        onnx.save(graph(), writer.folder / "model.onnx")
        if backend == "openvino":
            openvino.save_model(openvino.convert_model(writer.folder / "model.onnx"), writer.folder / "model.xml")
        (writer.folder / "model.bin").touch()
        if tokenizer:
            encoder = Encoder(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
            encoder.pre_tokenizer = pre_tokenizers.Whitespace()
            encoder.save(str(writer.folder / "tokenizer.json"))
    return open_model(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return counter(tmp_path_factory.mktemp("model") / "fp32")


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("threads", [1, 2])
def test_both_back_ends_predict_equally(backend: str, threads: int, tmp_path: Path):
    made = counter(tmp_path / "fp32", backend)
    logits = open_session(made, threads).run(pad([[2, 3], [4]], 1))
    assert logits.dtype == np.float32
    assert logits.tolist() == [[2, 5], [1, 4]]


def test_a_prediction_is_not_overwritten_by_the_next(tmp_path: Path):
    for backend in ("onnxruntime", "openvino"):
        session = open_session(counter(tmp_path / backend, backend))
        first = session.run(pad([[2, 3]], 1))
        session.run(pad([[4, 4]], 1))
        assert first.tolist() == [[2, 5]]


def test_pads_to_the_longest_row_and_masks_what_it_added():
    feeds = pad([[2, 3, 4], [2]], 1)
    assert feeds["input_ids"].tolist() == [[2, 3, 4], [2, 1, 1]]
    assert feeds["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert feeds["token_type_ids"].tolist() == [[0, 0, 0], [0, 0, 0]]
    assert {array.dtype for array in feeds.values()} == {np.dtype(np.int64)}


def test_pads_or_cuts_to_a_fixed_width():
    assert pad([[2, 3, 4], [2]], 1, tokens=2)["input_ids"].tolist() == [[2, 3], [2, 1]]
    assert pad([[2]], 1, tokens=4)["attention_mask"].tolist() == [[1, 0, 0, 0]]


def test_the_tokenizer_knows_the_models_padding_and_length(model: Model):
    tokenizer = Tokenizer(model)
    assert tokenizer.pad_id == 1
    assert tokenizer.ids(["good film", "film " * 20]) == [[2, 4], [4] * 6]
    assert tokenizer.feeds(["good film", "bad"])["input_ids"].tolist() == [[2, 4], [3, 1]]


def repairing(folder: Path, version: str) -> Model:
    """Return a copy of the counter's model that needs its texts repaired."""
    counter(folder / "plain")
    signature = replace(open_model(folder / "plain").signature, text_repair=version)
    with new_model(folder / "repairing", signature, Work("export.onnx", None)) as writer:
        writer.keep(open_model(folder / "plain"), "model.onnx", "model.bin", "tokenizer.json")
    return open_model(folder / "repairing")


def test_texts_are_repaired_for_a_model_that_learned_from_repaired_ones(model: Model, tmp_path: Path):
    damaged = ["go&#111;d<br />film"]
    assert Tokenizer(repairing(tmp_path, text_repair.VERSION)).ids(damaged) == Tokenizer(model).ids(["good film"])
    assert Tokenizer(model).ids(damaged) != Tokenizer(model).ids(["good film"])


def test_a_repair_of_another_release_is_rejected(tmp_path: Path):
    with pytest.raises(ArtifactError, match="needs text repair '0'"):
        Tokenizer(repairing(tmp_path, "0"))


@given(st.lists(st.lists(st.sampled_from(WORDS[2:]), max_size=6), min_size=1, max_size=12), st.integers(1, 5))
def test_predictions_come_back_in_order_however_they_are_batched(model: Model, texts: list[list[str]], rows: int):
    logits = predict(open_session(model), TextInput(model), [" ".join(words) for words in texts], rows)
    assert logits.tolist() == [[len(words), sum(WORDS.index(word) for word in words)] for words in texts]


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_streams_predict_side_by_side_and_equally(backend: str, tmp_path: Path):
    made = counter(tmp_path / "fp32", backend)
    texts = ["good " * (position % 6 + 1) for position in range(200)]
    alone = predict(open_session(made), TextInput(made), texts, batch_size=3)
    together = predict(open_session(made, streams=2), TextInput(made), texts, batch_size=3, streams=2)
    assert (
        together.tolist() == alone.tolist() == [[position % 6 + 1, 2 * (position % 6 + 1)] for position in range(200)]
    )


def test_an_empty_text_is_served_too(model: Model):
    assert predict(open_session(model), TextInput(model), ["", "good"]).tolist() == [[0, 0], [1, 2]]


def test_rejects_a_back_end_that_nothing_here_runs(tmp_path: Path):
    with pytest.raises(ArtifactError, match="runs on 'pytorch'"):
        open_session(counter(tmp_path / "fp32", "pytorch"))


def test_rejects_a_model_without_a_tokenizer(tmp_path: Path):
    with pytest.raises(ArtifactError, match=r"has no tokenizer\.json"):
        Tokenizer(counter(tmp_path / "fp32", tokenizer=False))


def test_a_request_that_does_not_fit_is_one_line(model: Model):
    with pytest.raises(ArtifactError, match=r"model\.onnx does not run in ONNX Runtime") as caught:
        open_session(model).run({name: array[0] for name, array in pad([[2]], 1).items()})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_weights_that_are_none_are_one_line(backend: str, tmp_path: Path):
    signature = Signature(task="t", framework="onnx", variant="x", backend=backend, weights="model.xml")
    with new_model(tmp_path / "x", signature, Work("export.onnx", None)) as writer:
        (writer.folder / "model.xml").write_text("no graph")
    with pytest.raises(ArtifactError, match=r"model\.xml does not run in") as caught:
        open_session(open_model(tmp_path / "x"))
    assert "\n" not in str(caught.value)


def test_the_package_for_gpus_rejects_a_machine_without_one(model: Model, monkeypatch: pytest.MonkeyPatch):
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: both)
    monkeypatch.setattr("toolchain.hardware.gpu.ctypes.CDLL", lambda name: (_ for _ in ()).throw(OSError(name)))
    with pytest.raises(ServiceError, match=r"(?i)driver"):
        open_session(model)
