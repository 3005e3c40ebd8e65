"""Real models that are small enough to make in a moment, each with what it answered when it was evaluated.

The text model counts words; its logits are exactly that: positive words less negative ones. The picture model looks at
the mean brightness; the detector finds one box, whose place in the picture is known.
"""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from starlette.testclient import TestClient
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.support.model_server import Running, begin, command, ready
from toolchain.artifacts.expected import Expected, Row, encode_image, write_expected
from toolchain.artifacts.model import Signature, Tensor, new_model, open_model
from toolchain.artifacts.provenance import Work
from toolchain.hardware.cpu import describe
from toolchain.image_decoding import encode
from toolchain.inference.predictor import Predictor
from toolchain.lifecycle.routing import FILE, RoutingConfig, Target, as_bytes
from toolchain.serve.http.application import build
from toolchain.serve.settings import Settings
from toolchain.serve.versions.router import static_router
from toolchain.serve.versions.version import Served, load
from toolchain.text_repair import VERSION

GOOD, BAD = ("good", "great", "fine"), ("bad", "poor", "dull")
WORDS = {"[PAD]": 0, "[UNK]": 1, **{word: place for place, word in enumerate((*GOOD, *BAD), 2)}}
LABELS = ("negative", "positive")
RECORDED = ("a good film", "bad and dull", "great great fine film", "poor")


def value(name: str, kind: int, shape: list[Any]) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def constant(name: str, numbers: Any) -> Any:
    return numpy_helper.from_array(np.asarray(numbers), name)


def save(graph: Any, path: Path, opset: int = 17) -> None:
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)


def word_counter(path: Path, opset: int = 17, weight: float = 1.0) -> None:
    """Write the graph: each word adds ``weight`` to a class's logit."""
    weights = np.zeros((len(WORDS), 2), np.float32)
    for word in GOOD:
        weights[WORDS[word], 1] = weight
    for word in BAD:
        weights[WORDS[word], 0] = weight
    nodes = [
        helper.make_node("Gather", ["weights", "input_ids"], ["each"]),
        helper.make_node("ReduceSum", ["each", "axis"], ["logits"], keepdims=0),
    ]
    inputs = [value("input_ids", TensorProto.INT64, ["batch", "tokens"])]
    outputs = [value("logits", TensorProto.FLOAT, ["batch", 2])]
    constants = [constant("weights", weights), constant("axis", np.array([1], np.int64))]
    save(helper.make_graph(nodes, "words", inputs, outputs, constants), path, opset)


def brightness(path: Path) -> None:
    """Write the graph: the mean of all pixels, 0..1, less a half, is the logit of "bright"; its negative of "dark"."""
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Div", ["mean", "full"], ["share"]),
        helper.make_node("Sub", ["share", "half"], ["bright"]),
        helper.make_node("Unsqueeze", ["bright", "last"], ["column"]),
        helper.make_node("MatMul", ["column", "signs"], ["logits"]),
    ]
    inputs = [value("image", TensorProto.UINT8, ["batch", 8, 8, 3])]
    outputs = [value("logits", TensorProto.FLOAT, ["batch", 2])]
    numbers = {"full": 255.0, "half": 0.5, "signs": [[-1.0, 1.0]]}
    constants = [constant(name, np.array(number, np.float32)) for name, number in numbers.items()]
    constants.append(constant("last", np.array([1], np.int64)))
    save(helper.make_graph(nodes, "brightness", inputs, outputs, constants), path)


def one_box(path: Path) -> None:
    """Write the graph: the left upper quarter of every picture, with score 0.9, and all of it with 0.1."""
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["pixels"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "nothing"], ["zero"]),
        helper.make_node("Add", ["found_boxes", "zero"], ["boxes"]),
        helper.make_node("Identity", ["found_scores"], ["scores"]),
        helper.make_node("Identity", ["found_labels"], ["labels"]),
    ]
    inputs = [value("image", TensorProto.UINT8, ["batch", 8, 8, 3])]
    outputs = [
        value("boxes", TensorProto.FLOAT, [2, 4]),
        value("scores", TensorProto.FLOAT, [2]),
        value("labels", TensorProto.INT64, [2]),
    ]
    constants = [
        constant("nothing", np.float32(0)),
        constant("found_boxes", np.array([[0, 0, 8, 8], [0, 0, 4, 4]], np.float32)),
        constant("found_scores", np.array([0.1, 0.9], np.float32)),
        constant("found_labels", np.array([1, 0], np.int64)),
    ]
    save(helper.make_graph(nodes, "box", inputs, outputs, constants), path)


def write_model(
    target: Path,
    task: str,
    make: Callable[[Path], None],
    labels: tuple[str, ...] = LABELS,
    work: Work | None = None,
    vocabulary: dict[str, int] = WORDS,
    text_repair: str = "",
) -> Path:
    texts = task == "text-classification"
    tensor = (
        Tensor("input_ids", "int64", ("batch", "tokens")) if texts else Tensor("image", "uint8", ("batch", 8, 8, 3))
    )
    signature = Signature(
        task=task,
        framework="onnx",
        variant="fp32",
        backend="onnxruntime",
        weights="model.onnx",
        labels=labels,
        text_repair=text_repair,
        inputs=(tensor,),
    )
    with new_model(target, signature, work or Work("export.onnx", None)) as writer:
        make(writer.folder / "model.onnx")
        if texts:
            tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
            split_at_spaces = vocabulary is not WORDS
            tokenizer.pre_tokenizer = (
                pre_tokenizers.WhitespaceSplit() if split_at_spaces else pre_tokenizers.Whitespace()
            )
            tokenizer.save(str(writer.folder / "tokenizer.json"))
    return target


def picture(level: int, width: int = 8, height: int = 8) -> bytes:
    return encode(np.full((height, width, 3), level, np.uint8))


def record(folder: Path, rows: list[Row], threshold: float = 0.5) -> None:
    write_expected(folder, Expected(open_model(folder).digest, describe().kind, tuple(rows), threshold))


# Texts as transport leaves them, each with its repaired form, of which a model knows one word.
DAMAGED = {
    "It&#39;s": "It's",
    "so<br />fine": "so fine",
    "cafÃ©": "café",
    "&lt;3 cafÃƒÂ©": "<3 café",
}
KNOWN = ("[PAD]", "[UNK]", "It's", "fine", "café", "poor", "bad", "dull")  # the first three words are good ones


def write_repaired(target: Path, text_repair: str = VERSION) -> Path:
    """Write a word counter that learned from repaired texts, and records it (or not, as models before that did)."""
    vocabulary = {word: place for place, word in enumerate(KNOWN)}
    return write_model(target, "text-classification", word_counter, vocabulary=vocabulary, text_repair=text_repair)


def write_words(target: Path, weight: float = 1.0) -> Path:
    """Write a word counter, with answers that are worked out here: softmax of the weighted counts."""
    folder = write_model(target, "text-classification", partial(word_counter, weight=weight))
    rows = []
    for text in RECORDED:
        counts = [weight * sum(word in kind for word in text.split()) for kind in (BAD, GOOD)]
        shares = np.exp(counts) / np.exp(counts).sum()
        rows.append(Row(text=text, scores=tuple(shares.tolist())))
    record(folder, rows)
    return folder


@pytest.fixture
def words(tmp_path: Path) -> Path:
    return write_words(tmp_path / "words")


WEIGHTS = {"1": 1.0, "2": 2.0, "3": 3.0, "4": -1.0}  # of the versions of "reviews"; the last says the contrary


@pytest.fixture(scope="session")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of the versions of a model, by number."""
    place = tmp_path_factory.mktemp("versions")
    return {number: write_words(place / number, weight) for number, weight in WEIGHTS.items()}


def target_of(versions: dict[str, Path], number: str) -> Target:
    return Target(version=number, digest=open_model(versions[number]).digest, variant="fp32")


def routing_of(
    versions: dict[str, Path], stable: str, canary: str = "", percent: float = 0, shadow: str = ""
) -> RoutingConfig:
    on_trial = {role: target_of(versions, one) for role, one in (("canary", canary), ("shadow", shadow)) if one}
    return RoutingConfig(model="reviews", stable=target_of(versions, stable), percent=percent, **on_trial)  # type: ignore[arg-type]


def publish_versions(repository: Path, routing: RoutingConfig, versions: dict[str, Path]) -> None:
    """Publish ``routing``: models first, the document last."""
    repository.mkdir(exist_ok=True)
    for target in routing.targets.values():
        if not (repository / target.digest).exists():
            shutil.copytree(versions[target.version], repository / target.digest)
    (repository / ".new").write_bytes(as_bytes(routing))
    (repository / ".new").replace(repository / FILE)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = write_model(tmp_path / "brightness", "image-classification", brightness, ("dark", "bright"))
    rows = []
    for level in (0, 255):
        odds = np.exp([0.5 - level / 255, level / 255 - 0.5])
        rows.append(Row(image=encode_image(picture(level)), scores=tuple((odds / odds.sum()).tolist())))
    record(folder, rows)
    return folder


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    folder = write_model(tmp_path / "box", "object-detection", one_box, ("thing", "whole"))
    file = encode_image(picture(128, width=20, height=10))
    record(folder, [Row(image=file, scores=(0.9, 0.1), boxes=((0, 0, 10, 5), (0, 0, 20, 10)), labels=(0, 1))])
    return folder


@pytest.fixture
def serving() -> Iterator[Callable[..., TestClient]]:
    """Return a function that serves a model's folder within this process, and gives a client of it."""
    clients: list[TestClient] = []

    def start(folder: Path, tokens: tuple[str, ...] = (), **settings: Any) -> TestClient:
        served = load(Settings(model=folder, name="reviews", version="3", **settings))
        client = TestClient(build(static_router(served), tokens), "http://127.0.0.1", raise_server_exceptions=False)
        client.__enter__()
        client.app_state["served"] = served
        clients.append(client)
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    """Return a function that starts the program with a model's folder, as a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def run(folder: Path, *words: str, port: int = 0, **environment: str) -> Running:
        started.append(begin(command(folder, "--port", str(port), *words), **environment))
        return ready(started[-1])

    yield run
    for process in started:
        process.kill()
        process.communicate()


def served_by(client: TestClient) -> Served:
    found: Served = client.app_state["served"]
    return found


def problem(answer: Any) -> dict[str, Any]:
    """Return the problem that ``answer`` tells, after a check that it is one and shows no inside."""
    assert answer.headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = json.loads(answer.text)
    assert {"type", "title", "status", "detail"} <= told.keys()
    assert told["status"] == answer.status_code
    assert "Traceback" not in answer.text
    assert ".py" not in answer.text
    assert "/tmp" not in answer.text
    return told


def predictor_of(folder: Path) -> Predictor:
    return Predictor(open_model(folder))


def slow_counter(path: Path) -> None:
    """Write the word counter behind a product of large matrices, which takes a good part of a second."""
    weights = np.zeros((len(WORDS), 2), np.float32)
    nodes = [
        helper.make_node("Gather", ["weights", "input_ids"], ["each"]),
        helper.make_node("ReduceSum", ["each", "axis"], ["counts"], keepdims=0),
        helper.make_node("ReduceSum", ["each"], ["total"], keepdims=0),
        helper.make_node("Expand", ["total", "size"], ["matrix"]),
        *(helper.make_node("MatMul", [f"m{i}" if i else "matrix", "other"], [f"m{i + 1}"]) for i in range(8)),
        helper.make_node("ReduceSum", ["m8"], ["nothing"], keepdims=0),
        helper.make_node("Add", ["counts", "nothing"], ["logits"]),
    ]
    inputs = [value("input_ids", TensorProto.INT64, ["batch", "tokens"])]
    outputs = [value("logits", TensorProto.FLOAT, ["batch", 2])]
    constants = [constant("weights", weights), constant("axis", np.array([1], np.int64))]
    constants += [
        constant("size", np.array([1500, 1500], np.int64)),
        constant("other", np.zeros((1500, 1500), np.float32)),
    ]
    save(helper.make_graph(nodes, "slow", inputs, outputs, constants), path)
