"""A tiny BERT with random weights, and a tiny dataset of real reviews that it can learn."""

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from toolchain.artifacts.dataset import CLEAN, UNSPLIT, new_dataset, open_dataset
from toolchain.artifacts.provenance import Work
from toolchain.text_repair import VERSION, repair

SAMPLE = Path(__file__).parents[3] / "samples" / "movie_reviews.csv.gz"
LABELS = ("negative", "positive")


def reviews(rows: int) -> dict[str, list]:
    """Return the first ``rows`` labelled reviews of the sample."""
    with gzip.open(SAMPLE, "rt", encoding="utf-8") as file:
        found = [(line["text"], LABELS.index(line["label"])) for line in csv.DictReader(file) if line["label"]][:rows]
    return {"text": [repair(text)[0] for text, _ in found], "label": [label for _, label in found]}


@pytest.fixture(scope="session")
def make_dataset(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    def make(train: dict[str, list], validation: dict[str, list], labels: tuple[str, ...] = LABELS) -> Path:
        path = tmp_path_factory.mktemp("dataset") / "dataset"
        schema = pa.schema({"text": pa.string(), "label": pa.int64()})
        with new_dataset(path.with_name("cleaned"), schema, Work(CLEAN, None), labels) as writer:
            writer.write(UNSPLIT, pa.table({"text": [], "label": []}, schema))
            writer.note({"text_repair": VERSION})
        cleaned = open_dataset(path.with_name("cleaned"))
        with new_dataset(path, schema, Work("data.split", None), labels, cleaned) as writer:
            for name, rows in (("train", train), ("validation", validation), ("test", validation)):
                writer.write(name, pa.table(rows, schema))
        return path

    return make


@pytest.fixture(scope="session")
def dataset(make_dataset: Callable[..., Path]) -> Path:
    rows = reviews(60)
    return make_dataset(
        {name: values[:45] for name, values in rows.items()}, {name: values[45:] for name, values in rows.items()}
    )


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a BERT of 2 layers, 32 wide, whose vocabulary is that of a few reviews."""
    import torch
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel

    path = tmp_path_factory.mktemp("base") / "tiny"
    words = sorted({word for text in reviews(60)["text"] for word in text.lower().split() if word.isalpha()})
    vocabulary = {word: id for id, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])}
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=64, **sizes)).save_pretrained(path)
    BertWordPieceTokenizer(vocabulary).save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    return path


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep checkpoints of the test to itself, and its figures from any MLflow."""
    monkeypatch.setenv("TOOLCHAIN_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path / "scratch"
