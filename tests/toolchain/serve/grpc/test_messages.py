import struct

import numpy as np
import pytest
from open_inference.grpc.protocol import InferTensorContents, ModelInferRequest

from toolchain.serve.grpc.messages import body_of, metadata_of, response_of
from toolchain.serve.problems import Problem

Tensor = ModelInferRequest.InferInputTensor


def texts(*contents: bytes, raw: bytes | None = None) -> ModelInferRequest:
    listed = None if raw is not None else InferTensorContents(bytes_contents=contents)
    tensor = Tensor(name="text", datatype="BYTES", shape=[len(contents) or 1], contents=listed)
    return ModelInferRequest(inputs=[tensor], raw_input_contents=[] if raw is None else [raw])


def test_texts_are_read_from_lists_and_from_bytes():
    raw = struct.pack("<I", 5) + "süß".encode() + struct.pack("<I", 0)
    assert body_of(texts(b"good", "süß".encode()))["inputs"][0]["data"] == ["good", "süß"]
    assert body_of(texts(raw=raw))["inputs"][0]["data"] == ["süß", ""]


def test_pixels_are_an_array_of_bytes():
    tensor = Tensor(name="image", datatype="UINT8", shape=[1, 3])
    found = body_of(ModelInferRequest(inputs=[tensor], raw_input_contents=[b"\x00\x01\xff"]))["inputs"][0]
    assert found["data"].tolist() == [0, 1, 255]
    assert found["shape"] == [1, 3]


@pytest.mark.parametrize("raw", [b"\x05\0\0\0good", b"\x05\0\0", b"\0\0\0\0\1"])
def test_bytes_that_are_cut_off_are_not_valid(raw: bytes):
    with pytest.raises(Problem) as caught:
        body_of(texts(raw=raw))
    assert caught.value.status == 422


def test_a_text_that_is_not_utf_8_is_named_by_its_position():
    with pytest.raises(Problem) as caught:
        body_of(texts(b"good", b"\xff"))
    assert caught.value.pointer == "/inputs/0/data/1"


def test_tensors_come_one_way_only():
    request = texts(b"good")
    request.raw_input_contents.append(b"")
    with pytest.raises(Problem):
        body_of(request)


BODY = {
    "model_name": "reviews",
    "model_version": "3",
    "outputs": [
        {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["good", "süß"]},
        {"name": "score", "datatype": "FP32", "shape": [2], "data": [0.5, 1.0]},
    ],
}


def test_a_response_has_its_tensors_in_the_form_of_the_request():
    listed = response_of(BODY, False, "an-id")
    assert list(listed.outputs[0].contents.bytes_contents) == [b"good", "süß".encode()]
    assert list(listed.outputs[1].contents.fp32_contents) == [0.5, 1.0]
    packed = response_of(BODY, True, "an-id")
    label, score = packed.raw_output_contents
    assert label == b"\4\0\0\0good\5\0\0\0" + "süß".encode()
    assert np.frombuffer(score, "<f4").tolist() == [0.5, 1.0]
    assert (packed.id, packed.model_name, packed.model_version) == ("an-id", "reviews", "3")


def test_metadata_has_the_tensors_of_both_sides():
    tensor = {"name": "text", "datatype": "BYTES", "shape": [-1]}
    found = metadata_of({"name": "reviews", "versions": ["3"], "platform": "onnx", "inputs": [tensor], "outputs": []})
    assert (found.inputs[0].name, list(found.inputs[0].shape), len(found.outputs)) == ("text", [-1], 0)
