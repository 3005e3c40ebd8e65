"""Describe inference by the Open Inference Protocol: its request, its response, and an example."""

from toolchain.serve.http.inference_protocol import describe
from toolchain.serve.http.openapi.responses import JSON, STRING, Schema, object_schema
from toolchain.serve.versions.version import LoadedVersion, example_rows


def infer_body(served: LoadedVersion) -> Schema:
    tensor = describe(served)["inputs"][0]
    sizes = [{"type": "integer", "minimum": 1, "maximum": served.settings.max_request_rows}]
    sizes[0] |= {"maximum": 1} if tensor["shape"][0] == 1 else {}
    sizes += [{"type": "integer", "minimum": size, "maximum": size} for size in tensor["shape"][1:]]
    shape = {"type": "array", "prefixItems": sizes, "minItems": len(sizes), "maxItems": len(sizes)}
    name, datatype = ({"type": "string", "enum": [tensor[key]]} for key in ("name", "datatype"))
    data = served.task.input.tensor_schema(served.settings.limits)
    expected = object_schema({"name": name, "datatype": datatype, "shape": shape, "data": data})
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


def _infer_example(served: LoadedVersion, tensor: Schema) -> Schema | None:
    values = [row.value for row in example_rows(served)]
    example = served.task.input.tensor_example(values, tensor["shape"])
    return {"inputs": [{**tensor, "shape": example[0], "data": example[1]}]} if example else None


def infer_response() -> Schema:
    shape = {"type": "array", "items": {"type": "integer"}}
    tensor = object_schema({"name": STRING, "datatype": STRING, "shape": shape, "data": {"type": "array"}})
    properties = {"model_name": STRING, "model_version": STRING, "id": STRING}
    outputs = {"type": "array", "items": tensor}
    return object_schema({"model_name": STRING, "model_version": STRING, "outputs": outputs}) | {
        "properties": {**properties, "outputs": outputs}
    }
