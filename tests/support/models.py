"""Write real models that are made in a moment, each with its recorded predictions.

The text model counts words: its logits are the numbers of positive and of negative words. The image model uses the mean
brightness; the detector always finds the same box.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from toolchain.artifacts.expected import Expected, Row, write_expected
from toolchain.artifacts.model import Signature, Tensor, new_model, open_model
from toolchain.artifacts.provenance import Work
from toolchain.hardware.cpu import describe
from toolchain.image_decoding import encode
from toolchain.inference.tasks import TASKS
from toolchain.inference.text_input import TextInput
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
    texts = TASKS[task].input_type is TextInput
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
