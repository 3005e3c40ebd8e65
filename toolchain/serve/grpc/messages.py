"""Convert gRPC messages of the Open Inference Protocol to the JSON bodies of its HTTP form, and back.

Both forms share one implementation. Tensors are lists (``contents``) or bytes (``raw_input_contents``: little-endian
numbers, and texts prefixed by their length in four bytes). The response has the form of the request.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from open_inference.grpc.protocol import (
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataResponse,
)

from toolchain.serve.problems import Problem

LENGTH = struct.Struct("<I")  # of a text in raw contents, in bytes


def body_of(request: ModelInferRequest) -> dict[str, Any]:
    """Return the equivalent JSON body; texts as a list, pixels as an array.

    Raises:
        Problem: the tensors are given in both forms, one of them is truncated, or a text is not UTF-8.
    """
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise Problem(422, f"{len(request.inputs)} inputs have {len(raw)} raw_input_contents; send one for each input")
    if raw and any(tensor.HasField("contents") for tensor in request.inputs):
        raise Problem(422, "send tensors as contents or as raw_input_contents, not as both")
    inputs = [
        {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
            "data": _of_raw(tensor.datatype, raw[index]) if raw else _of_list(tensor.datatype, tensor.contents),
        }
        for index, tensor in enumerate(request.inputs)
    ]
    return {"inputs": inputs, "outputs": [{"name": output.name} for output in request.outputs]}


def response_of(body: dict[str, Any], raw: bool, id_: str) -> ModelInferResponse:
    """Return the message of the JSON response ``body``, its tensors as bytes when ``raw``."""
    outputs = body["outputs"]
    tensors = [
        ModelInferResponse.InferOutputTensor(
            name=tensor["name"],
            datatype=tensor["datatype"],
            shape=tensor["shape"],
            contents=None if raw else _listed(tensor),
        )
        for tensor in outputs
    ]
    return ModelInferResponse(
        model_name=body["model_name"],
        model_version=body["model_version"],
        id=id_,
        outputs=tensors,
        raw_output_contents=[_packed(tensor) for tensor in outputs] if raw else [],
    )


def metadata_of(described: dict[str, Any]) -> ModelMetadataResponse:
    """Return the message of the JSON metadata."""
    tensors = {
        side: [ModelMetadataResponse.TensorMetadata(**tensor) for tensor in described[side]]
        for side in ("inputs", "outputs")
    }
    return ModelMetadataResponse(**{**described, **tensors})


def _of_list(datatype: str, contents: InferTensorContents) -> Any:
    if datatype == "BYTES":
        return [_text(text, index) for index, text in enumerate(contents.bytes_contents)]
    return np.array(contents.uint_contents, np.uint32)


def _of_raw(datatype: str, content: bytes) -> Any:
    if datatype == "BYTES":
        return [_text(text, index) for index, text in enumerate(_split(content))]
    return np.frombuffer(content, np.uint8)


def _split(content: bytes) -> Iterator[bytes]:
    """Yield the elements of a raw BYTES tensor."""
    offset = 0
    while offset < len(content):
        begin = offset + LENGTH.size
        end = begin + (LENGTH.unpack_from(content, offset)[0] if begin <= len(content) else 0)
        if end > len(content) or begin > len(content):
            raise Problem(422, "raw_input_contents is truncated: each text is prefixed by its length in four bytes")
        yield content[begin:end]
        offset = end


def _text(content: bytes, index: int) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise Problem(422, f"text {index} is not UTF-8", f"/inputs/0/data/{index}") from error


def _listed(tensor: dict[str, Any]) -> InferTensorContents:
    if tensor["datatype"] == "BYTES":
        return InferTensorContents(bytes_contents=_encoded(tensor["data"]))
    return InferTensorContents(fp32_contents=tensor["data"])


def _packed(tensor: dict[str, Any]) -> bytes:
    if tensor["datatype"] == "BYTES":
        return b"".join(LENGTH.pack(len(one)) + one for one in _encoded(tensor["data"]))
    return np.asarray(tensor["data"], "<f4").tobytes()


def _encoded(texts: Sequence[str]) -> list[bytes]:
    return [text.encode() for text in texts]
