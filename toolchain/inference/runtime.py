"""Load a variant of a model in ONNX Runtime or OpenVINO, and run it."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from toolchain import text_repair
from toolchain.artifacts.model import Model
from toolchain.errors import ArtifactError, ServiceError
from toolchain.frameworks.length_batches import pad
from toolchain.hardware import gpu

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Encoder

PADDING = ("[PAD]", "<pad>")  # usual padding tokens, the most frequent first
CUDA = "CUDAExecutionProvider"  # of onnxruntime-gpu; the package for CPUs lacks it

Ids = NDArray[np.int64]
Feeds = Mapping[str, NDArray[Any]]  # one batch: token ids and mask, or images
Logits = NDArray[np.float32]


class Session(Protocol):
    """A loaded variant."""

    def run(self, feeds: Feeds) -> Logits:
        """Return the first output: a classifier's logits, float32 of shape (rows, labels)."""
        ...

    def outputs(self, feeds: Feeds) -> list[NDArray[Any]]:
        """Return all outputs, in the signature's order: a detector has three."""
        ...


def open_session(model: Model, threads: int = 1, streams: int = 1) -> Session:
    """Load ``model`` with ``threads`` threads for one inference, to be called from ``streams`` threads.

    One thread in each of many streams has the highest throughput: no thread waits for another within a layer, which
    costs most on shared cores.

    Raises:
        ArtifactError: no installed runtime runs the model's back end.
        ServiceError: the installed runtime needs a GPU, and this process has none.
    """
    backends: dict[str, Callable[[Path, int, int], Session]] = {
        "onnxruntime": OnnxRuntimeSession,
        "openvino": OpenVinoSession,
    }
    if model.signature.backend not in backends:
        raise ArtifactError(f"{model.path} runs on {model.signature.backend!r}; supported: {', '.join(backends)}")
    return backends[model.signature.backend](model.weights, threads, streams)


class OnnxRuntimeSession:
    """A graph loaded in ONNX Runtime, on a GPU with the package for GPUs, otherwise on the CPU.

    Any number of threads may call it at the same time.
    """

    def __init__(self, weights: Path, threads: int, streams: int = 1) -> None:
        import onnxruntime

        providers = [name for name in (CUDA, "CPUExecutionProvider") if name in onnxruntime.get_available_providers()]
        if CUDA in providers:
            gpu.find_driver()  # ONNX Runtime would use the CPU without a message, at a tenth of the speed
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3  # errors; warnings are about missing optimizations
        options.add_session_config_entry("session.force_spinning_stop", "1")  # idle threads free their cores
        with _faults_named(weights, "ONNX Runtime"):
            self._session = onnxruntime.InferenceSession(str(weights), options, providers=providers)
        if CUDA in providers and CUDA not in self._session.get_providers():
            raise ServiceError(
                "ONNX Runtime cannot use this machine's GPU; python -m toolchain.hardware.doctor shows the reason"
            )
        self._inputs = [value.name for value in self._session.get_inputs()]
        self._weights = weights

    def run(self, feeds: Feeds) -> Logits:
        return np.asarray(self.outputs(feeds)[0], np.float32)

    def outputs(self, feeds: Feeds) -> list[NDArray[Any]]:
        with _faults_named(self._weights, "ONNX Runtime"):
            return list(self._session.run(None, {name: feeds[name] for name in self._inputs}))


class OpenVinoSession:
    """A graph loaded in OpenVINO, on its CPU plug-in; each calling thread has its own request."""

    def __init__(self, weights: Path, threads: int, streams: int = 1) -> None:
        import openvino

        settings = {
            "INFERENCE_NUM_THREADS": threads * streams,
            "NUM_STREAMS": streams,
            "INFERENCE_PRECISION_HINT": "f32",  # not bfloat16, the default on some processors
            "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
        }
        with _faults_named(weights, "OpenVINO"):
            self._compiled = openvino.Core().compile_model(str(weights), "CPU", settings)
        self._inputs = [value.get_any_name() for value in self._compiled.inputs]
        self._weights = weights
        self._own = threading.local()

    def run(self, feeds: Feeds) -> Logits:
        return np.asarray(self.outputs(feeds)[0], np.float32)

    def outputs(self, feeds: Feeds) -> list[NDArray[Any]]:
        with _faults_named(self._weights, "OpenVINO"):
            if not hasattr(self._own, "request"):
                self._own.request = self._compiled.create_infer_request()
            results = self._own.request.infer({name: feeds[name] for name in self._inputs}, share_inputs=True)
            return [np.array(results[index]) for index in range(len(results))]


@contextmanager
def _faults_named(weights: Path, runtime: str) -> Iterator[None]:
    """Turn an exception of ``runtime`` into one line; its exceptions have no common base but Exception."""
    try:
        yield
    except Exception as error:
        first = (str(error).strip() or repr(error)).splitlines()[0]
        raise ArtifactError(f"{weights} does not run in {runtime}: {first}") from error


class Tokenizer:
    """Convert texts into a model's input, with the tokenizer in the model's folder.

    Texts are repaired first if the model was trained on repaired texts.
    """

    def __init__(self, model: Model) -> None:
        from tokenizers import Tokenizer as Encoder

        file = model.path / "tokenizer.json"
        if not file.is_file():
            raise ArtifactError(f"{model.path} has no tokenizer.json; save the tokenizer with the weights")
        self._encoder = Encoder.from_file(str(file))
        self._encoder.enable_truncation(model.signature.max_tokens)
        self._encoder.no_padding()
        if model.signature.text_repair not in ("", text_repair.VERSION):
            found, known = model.signature.text_repair, text_repair.VERSION
            raise ArtifactError(f"{model.path} needs text repair {found!r}, this release has {known!r}; use its own")
        self._repairs = bool(model.signature.text_repair)
        self.pad_id = _pad_id(self._encoder, model.path / "tokenizer_config.json")

    def read(self, text: str) -> str:
        """Return ``text`` as the model reads it: repaired if the training texts were."""
        return text_repair.repair(text)[0] if self._repairs else text

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, special tokens included, truncated to the model's length."""
        return [encoding.ids for encoding in self._encoder.encode_batch([self.read(text) for text in texts])]

    def feeds(self, texts: Sequence[str], tokens: int | None = None) -> dict[str, Ids]:
        """Return int64 input_ids, attention_mask and token_type_ids of shape (rows, tokens), padded to the longest."""
        return pad(self.ids(texts), self.pad_id, tokens)


def _pad_id(encoder: "Encoder", settings: Path) -> int:
    """Return the id of the padding token that ``settings`` names, otherwise of a usual padding token.

    It is not always 0: RoBERTa counts positions from its padding token's id, which is 1.
    """
    named = json.loads(settings.read_text(encoding="utf-8")).get("pad_token") if settings.is_file() else None
    name = named.get("content") if isinstance(named, dict) else named
    found = [encoder.token_to_id(token) for token in (name, *PADDING) if token]
    return next((token for token in found if token is not None), 0)
