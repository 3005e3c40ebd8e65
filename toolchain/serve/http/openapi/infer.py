"""Describe inference by the Open Inference Protocol: its request, its response, and an example."""

import math

from toolchain.serve.http.inference_protocol import describe
from toolchain.serve.http.openapi.responses import JSON, STRING, Schema, object_schema
from toolchain.serve.versions.version import Served, example_rows

MAX_EXAMPLE_NUMBERS = 1000  # of an example's tensor


def infer_body(served: Served) -> Schema:
    tensor = describe(served)["inputs"][0]
    sizes = [{"type": "integer", "minimum": 1, "maximum": served.settings.max_request_rows}]
    sizes[0] |= {"maximum": 1} if tensor["shape"][0] == 1 else {}
    sizes += [{"type": "integer", "minimum": size, "maximum": size} for size in tensor["shape"][1:]]
    shape = {"type": "array", "prefixItems": sizes, "minItems": len(sizes), "maxItems": len(sizes)}
    name, datatype = ({"type": "string", "enum": [tensor[key]]} for key in ("name", "datatype"))
    expected = object_schema({"name": name, "datatype": datatype, "shape": shape, "data": _infer_data(served)})
    output = object_schema({"name": {"type": "string", "enum": [one["name"] for one in describe(served)["outputs"]]}})
    properties = {
        "id": STRING,
        "inputs": {"type": "array", "items": expected, "minItems": 1, "maxItems": 1},
        "outputs": {
            "type": "array",
            "items": output,
            "description": "Names of the output tensors to return; default: all",
        },
    }
    content: Schema = {"schema": {"type": "object", "required": ["inputs"], "properties": properties}}
    if example := _infer_example(served, tensor):
        content["example"] = example
    return {"required": True, "content": {JSON: content}}


def _infer_data(served: Served) -> Schema:
    """Return the schema of a tensor's values, whose number must match the shape."""
    if served.takes_texts:
        text = {"type": "string", "minLength": 1, "maxLength": served.settings.max_text_characters, "pattern": r"\S"}
        return {"type": "array", "items": text, "minItems": 1, "maxItems": served.settings.max_request_rows}
    return {"type": "array", "minItems": 1, "description": "Whole numbers from 0 to 255, flat or nested like the shape"}


def _infer_example(served: Served, tensor: Schema) -> Schema | None:
    rows = example_rows(served)
    if texts := [row.text for row in rows if row.text]:
        return {"inputs": [{**tensor, "shape": [len(texts)], "data": texts}]}
    size = [1, *tensor["shape"][1:]]
    if served.takes_texts or not rows or math.prod(size) > MAX_EXAMPLE_NUMBERS:
        return None
    pixels = served.predictor.prepare([rows[0].value])[0].data
    return {"inputs": [{**tensor, "shape": size, "data": pixels.ravel().tolist()}]}


def infer_response() -> Schema:
    shape = {"type": "array", "items": {"type": "integer"}}
    tensor = object_schema({"name": STRING, "datatype": STRING, "shape": shape, "data": {"type": "array"}})
    properties = {"model_name": STRING, "model_version": STRING, "id": STRING}
    outputs = {"type": "array", "items": tensor}
    return object_schema({"model_name": STRING, "model_version": STRING, "outputs": outputs}) | {
        "properties": {**properties, "outputs": outputs}
    }


def tensor_error(served: Served) -> str:
    return "the shape has 2 rows, the data 1" if served.takes_texts else "a pixel must be a whole number from 0 to 255"
