"""Read and write ONNX graphs, in one file, or in two where the weights are too large for one.

A protobuf file, the format of ONNX, is limited to 2 GiB. Larger weights are in a second file in the same folder
("external data"), which ONNX Runtime and OpenVINO find by its name in the first one.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from toolchain.errors import ArtifactError

DATA = ".data"  # added to a graph's name: the file of its weights
MAX_FILE_BYTES = 2**31 - 2**26  # of weights in one file: protobuf's limit, less 64 MiB for the graph itself
MIN_TENSOR_BYTES = 1024  # smaller ones stay in the graph, where runtimes expect shapes and scalars


def load_graph(source: Path) -> Any:
    """Return the ONNX graph at ``source`` as a protobuf, with its weights.

    Raises:
        ArtifactError: it is not an ONNX graph, or its weights are missing.
    """
    import onnx

    try:
        model = onnx.load(source, load_external_data=False)
    except Exception as error:  # protobuf's DecodeError and onnx's errors have no common base
        raise ArtifactError(f"{source} is not an ONNX graph; export the model again") from error
    try:
        for tensor in _tensors(model.graph):
            if onnx.external_data_helper.uses_external_data(tensor):
                _read(tensor, source.parent)
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"the weights of {source} cannot be read: {error}; export the model again") from error
    return model


def _read(tensor: Any, folder: Path) -> None:
    """Give ``tensor`` its values from the file in ``folder`` that it names.

    onnx's loader rejects files with more than one hard link, and artifacts share their files by links.
    """
    location = {entry.key: entry.value for entry in tensor.external_data}
    if Path(location["location"]).name != location["location"]:
        raise ValueError(f"{location['location']} is outside of its folder")
    with (folder / location["location"]).open("rb") as file:
        file.seek(int(location.get("offset", 0)))
        tensor.raw_data = file.read(int(location.get("length", -1)))
    tensor.ClearField("data_location")
    tensor.ClearField("external_data")


def save_graph(model: Any, target: Path, properties: Mapping[str, str]) -> None:
    """Write ``model`` to ``target``; ``properties`` are added to its metadata, or replace entries.

    Afterwards ``model`` has no weights if the graph needs a second file.
    """
    import onnx

    known = {entry.key: entry.value for entry in model.metadata_props}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {**known, **properties})
    data = target.with_name(target.name + DATA)
    data.unlink(missing_ok=True)  # weights are appended to it
    onnx.save(
        model,
        target,
        save_as_external_data=needs_two_files(model),
        location=data.name,
        size_threshold=MIN_TENSOR_BYTES,
    )


def needs_two_files(model: Any) -> bool:
    """Return whether the weights of ``model`` are too large for one file."""
    return sum(len(tensor.raw_data) for tensor in _tensors(model.graph)) > MAX_FILE_BYTES


def _tensors(graph: Any) -> Iterator[Any]:
    """Yield every tensor in ``graph``: initializers, constants of nodes, and those of graphs within nodes."""
    yield from graph.initializer
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        yield from [attribute.t] if attribute.HasField("t") else attribute.tensors
        for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
            yield from _tensors(inner)
