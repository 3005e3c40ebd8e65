"""A real classifier that is built in a moment: it counts words of real reviews, in an ONNX graph.

Each word's log odds (naive Bayes, add-one smoothing) are its embedding along one direction; a hidden layer, a sum over
the tokens and an output layer turn them into two logits. Width and extra layers change the time, not the predictions.
"""

import csv
import gzip
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from toolchain.artifacts.dataset import new_dataset
from toolchain.artifacts.model import ModelWriter, Signature, Tensor
from toolchain.artifacts.provenance import Work
from toolchain.artifacts.variants import VariantsWriter, new_variants

SAMPLE = Path(__file__).parents[3] / "samples" / "movie_reviews.csv.gz"
LABELS = ("negative", "positive")
TRAINING, TESTED = 1500, 400  # rows
PAD, UNKNOWN = "[PAD]", "[UNK]"


@dataclass(frozen=True)
class Reviews:
    texts: list[str]
    labels: list[int]

    def part(self, start: int, end: int) -> "Reviews":
        return Reviews(self.texts[start:end], self.labels[start:end])


@pytest.fixture(scope="session")
def reviews() -> Reviews:
    with gzip.open(SAMPLE, "rt", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] in LABELS]
    chosen = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))[: TRAINING + TESTED]]
    return Reviews([row["text"] for row in chosen], [LABELS.index(row["label"]) for row in chosen])


@pytest.fixture(scope="session")
def log_odds(reviews: Reviews) -> dict[str, float]:
    """Words of the training rows and the evidence of each for "positive"."""
    counts: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    for text, label in zip(reviews.texts[:TRAINING], reviews.labels[:TRAINING], strict=True):
        counts[label].update(set(re.findall(r"\w+", text.lower())))
    words = sorted(word for word in counts[0] | counts[1] if counts[0][word] + counts[1][word] > 1)
    return {PAD: 0.0, UNKNOWN: 0.0} | {w: math.log((counts[1][w] + 1) / (counts[0][w] + 1)) for w in words}


@pytest.fixture(scope="session")
def write_tokenizer(log_odds: dict[str, float]) -> Callable[[Path], None]:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(log_odds)}, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return lambda folder: tokenizer.save(str(folder / "tokenizer.json"))


def network(log_odds: list[float], width: int, extra: int, seed: int = 0) -> onnx.ModelProto:
    """Return the graph: ``width`` hidden neurons, and ``extra`` pairs of layers that undo each other."""
    generator = np.random.default_rng(seed)
    direction = generator.standard_normal(width)
    hidden = generator.standard_normal((width, width)) / math.sqrt(width)
    seen = direction @ hidden
    turn, _ = np.linalg.qr(generator.standard_normal((width, width)))
    arrays = {
        "embeddings": np.outer(log_odds, direction),
        "hidden": hidden,
        "output": np.stack([-seen, seen], axis=1) / (seen @ seen),
        "turn": turn,
        "back": turn.T,
    }
    nodes = [helper.make_node("Gather", ["embeddings", "input_ids"], ["h0"])]
    for step in range(extra):
        nodes.append(helper.make_node("MatMul", [f"h{2 * step}", "turn"], [f"h{2 * step + 1}"]))
        nodes.append(helper.make_node("MatMul", [f"h{2 * step + 1}", "back"], [f"h{2 * step + 2}"]))
    nodes += [
        helper.make_node("MatMul", [f"h{2 * extra}", "hidden"], ["neurons"]),
        helper.make_node("Relu", ["neurons"], ["active"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["active", "column"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "tokens"], ["pooled"], keepdims=0),
        helper.make_node("MatMul", ["pooled", "output"], ["logits"]),
    ]
    constants = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()]
    constants += [
        numpy_helper.from_array(np.array([2], np.int64), "last"),
        numpy_helper.from_array(np.array([1], np.int64), "tokens"),
    ]
    inputs = [
        helper.make_tensor_value_info(n, TensorProto.INT64, ["batch", "tokens"])
        for n in ("input_ids", "attention_mask")
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])]
    graph = helper.make_graph(nodes, "words", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@dataclass(frozen=True)
class Toys:
    """Makes variants of the word counter, in a folder of variants that is being written."""

    log_odds: list[float]
    write_tokenizer: Callable[[Path], None]
    writer: VariantsWriter

    def add(self, variant: str, width: int = 64, extra: int = 0, origin: str = "", seed: int = 0) -> None:
        """Add a float variant."""
        self.add_made(variant, lambda path: onnx.save(network(self.log_odds, width, extra, seed), path), origin)

    def add_made(self, variant: str, make: Callable[[Path], None], origin: str) -> None:
        """Add a variant whose weights ``make`` writes."""
        with self.writer.new(signature(variant, origin), Work("export.onnx", None)) as model:
            self.fill(model, make)

    def fill(self, model: ModelWriter, make: Callable[[Path], None]) -> None:
        self.write_tokenizer(model.folder)
        make(model.folder / "model.onnx")


def signature(variant: str, origin: str = "") -> Signature:
    return Signature(
        task="text-classification",
        framework="onnx",
        variant=variant,
        backend="onnxruntime",
        weights="model.onnx",
        origin=origin,
        labels=LABELS,
        inputs=tuple(Tensor(name, "int64", ("batch", "tokens")) for name in ("input_ids", "attention_mask")),
        outputs=(Tensor("logits", "float32", ("batch", 2)),),
    )


@pytest.fixture(scope="session")
def new_toys(log_odds: dict[str, float], write_tokenizer: Callable[[Path], None]):
    """Yield Toys in a ``with`` block; the folder of variants is whole when it ends."""

    @contextmanager
    def new(target: Path) -> Iterator[Toys]:
        with new_variants(target, Work("optimize.quantize", None)) as writer:
            yield Toys(list(log_odds.values()), write_tokenizer, writer)

    return new


@pytest.fixture(scope="session")
def write_dataset(reviews: Reviews) -> Callable[..., Path]:
    """Write the reviews as a split dataset; ``rows`` of them are for testing."""

    def write(target: Path, rows: int = TESTED, labels: tuple[str, ...] = LABELS, split: str = "test") -> Path:
        schema = pa.schema([("row", pa.int64()), ("text", pa.string()), ("label", pa.int64())])
        parts = {"train": (0, TRAINING), split: (TRAINING, TRAINING + rows)}
        with new_dataset(target, schema, Work("data.split", None), labels) as writer:
            for name, (start, end) in parts.items():
                part = reviews.part(start, end)
                columns = {"row": list(range(start, end)), "text": part.texts, "label": part.labels}
                writer.write(name, pa.table(columns, schema=schema))
        return target

    return write


@pytest.fixture(scope="session")
def dataset(write_dataset: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "dataset")
