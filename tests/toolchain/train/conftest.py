"""A tiny BERT with random weights, and a tiny dataset of real reviews that it can learn."""

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from toolchain.artifacts.dataset import CLEAN, UNSPLIT, new_dataset, open_dataset
from toolchain.artifacts.provenance import Work
from toolchain.text_repair import VERSION, repair

SAMPLE = Path(__file__).parents[3] / "samples" / "movie_reviews.csv.gz"
LABELS = ("negative", "positive")
ALBERT = {"pad": "<pad>", "unk": "<unk>", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}  # in the order of their ids
BERT = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
ROBERTA = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
TOKENIZERS = {  # of each kind of model: its class, its algorithm and its special tokens, as published ones have them
    "albert": ("AlbertTokenizer", "Unigram", ALBERT),
    "bert": ("BertTokenizer", "WordPiece", BERT),
    "camembert": ("CamembertTokenizer", "Unigram", ROBERTA),
    "deberta": ("DebertaTokenizer", "BPE", BERT),
    "deberta-v2": ("DebertaV2Tokenizer", "Unigram", BERT),
    "distilbert": ("DistilBertTokenizer", "WordPiece", BERT),
    "electra": ("ElectraTokenizer", "WordPiece", BERT),
    "modernbert": ("PreTrainedTokenizerFast", "BPE", BERT),
    "mpnet": ("MPNetTokenizer", "WordPiece", ROBERTA),
    "roberta": ("RobertaTokenizer", "BPE", ROBERTA),
    "xlm-roberta": ("XLMRobertaTokenizer", "Unigram", ROBERTA),
}
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
OWN_SIZES: dict[str, dict[str, Any]] = {
    "albert": {"embedding_size": 16},
    "deberta": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "type_vocab_size": 0},
    "deberta-v2": {  # as microsoft/deberta-v3-base has them
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 16,
        "position_biased_input": False,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "type_vocab_size": 0,
    },
    "electra": {"embedding_size": 16},
    "modernbert": {"local_attention": 8, "num_hidden_layers": 4},  # every third layer attends to all tokens
}


def reviews(rows: int) -> dict[str, list]:
    """Return the first ``rows`` labelled reviews of the sample."""
    with gzip.open(SAMPLE, "rt", encoding="utf-8") as file:
        found = [(line["text"], LABELS.index(line["label"])) for line in csv.DictReader(file) if line["label"]][:rows]
    return {"text": [repair(text)[0] for text, _ in found], "label": [label for _, label in found]}


@pytest.fixture(scope="session")
def make_dataset(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    def make(train: dict[str, list], validation: dict[str, list], labels: tuple[str, ...] = LABELS) -> Path:
        path = tmp_path_factory.mktemp("dataset") / "dataset"
        schema = pa.schema({"text": pa.string(), "label": pa.int64(), "row": pa.int64()})
        with new_dataset(path.with_name("cleaned"), schema, Work(CLEAN, None), labels) as writer:
            writer.write(UNSPLIT, pa.table({"text": [], "label": [], "row": []}, schema))
            writer.note({"text_repair": VERSION})
        cleaned = open_dataset(path.with_name("cleaned"))
        with new_dataset(path, schema, Work("data.split", None), labels, cleaned) as writer:
            for name, rows in (("train", train), ("validation", validation), ("test", validation)):
                writer.write(name, pa.table({**rows, "row": range(len(rows["text"]))}, schema))
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


def tokenizer_of(kind: str, texts: list[str]) -> Any:
    """Return a tokenizer, of the tokenizers library, that learned ``texts`` by the algorithm of ``kind``."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    _, algorithm, names = TOKENIZERS[kind]
    special = list(names.values())
    splitting = {
        "BPE": pre_tokenizers.ByteLevel(add_prefix_space=False),
        "Unigram": pre_tokenizers.Metaspace(),
        "WordPiece": pre_tokenizers.BertPreTokenizer(),
    }
    unknown = {} if algorithm == "Unigram" else {"unk_token": names["unk"]}
    encoder = Tokenizer(getattr(models, algorithm)(**unknown))
    encoder.pre_tokenizer = splitting[algorithm]
    encoder.normalizer = normalizers.BertNormalizer() if algorithm == "WordPiece" else normalizers.NFC()
    known = {"unk_token": names["unk"]} if algorithm == "Unigram" else {}
    learning = {"BPE": trainers.BpeTrainer, "Unigram": trainers.UnigramTrainer, "WordPiece": trainers.WordPieceTrainer}
    trainer = learning[algorithm](vocab_size=400, special_tokens=special, show_progress=False, **known)
    encoder.train_from_iterator(texts, trainer)
    pair = [(names[part], encoder.token_to_id(names[part])) for part in ("sep", "cls")]
    encoder.post_processor = processors.BertProcessing(*pair)
    return encoder


@pytest.fixture(scope="session")
def make_base(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that writes a checkpoint of a kind of model with 64 positions or, for some kinds, any number.

    Its ``settings`` are of the configuration.
    """

    def make(kind: str, **settings: Any) -> Path:
        import torch
        from transformers import CONFIG_MAPPING, AutoModel

        path = tmp_path_factory.mktemp("base") / kind
        name, _, special = TOKENIZERS[kind]
        encoder = tokenizer_of(kind, reviews(60)["text"])
        ids = {f"{part}_token_id": encoder.token_to_id(special[part]) for part in ("pad", "cls", "sep")}
        ids |= {"bos_token_id": ids["cls_token_id"], "eos_token_id": ids["sep_token_id"]}
        sizes = SIZES | OWN_SIZES.get(kind, {}) | {"vocab_size": encoder.get_vocab_size() + 4}  # a few spare ones
        limit = 64 + 2 * (special is ROBERTA)
        torch.manual_seed(0)
        config = CONFIG_MAPPING[kind](**{**sizes, **ids, "max_position_embeddings": limit, **settings})
        AutoModel.from_config(config).save_pretrained(path)
        encoder.save(str(path / "tokenizer.json"))
        tokens = {f"{part}_token": token for part, token in special.items()}
        (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name, **tokens}))
        return path

    return make


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the test's checkpoints in a folder of the test, and its metrics out of MLflow."""
    monkeypatch.setenv("TOOLCHAIN_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path / "scratch"
