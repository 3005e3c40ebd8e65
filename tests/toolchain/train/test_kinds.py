"""Every type of text model that can be fine-tuned, with its type of tokenizer, from its checkpoint to INT8."""

import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from toolchain.artifacts.dataset import open_dataset
from toolchain.artifacts.digest import sha256_of_file
from toolchain.artifacts.measurement import open_measurement
from toolchain.artifacts.model import open_model
from toolchain.artifacts.variants import Variants, open_variants
from toolchain.errors import ArtifactError, ConfigError, UnprunableError
from toolchain.evaluate.latency import Config as Timing
from toolchain.evaluate.latency import run as time_variants
from toolchain.export.onnx import Config as Export
from toolchain.export.onnx import run as export
from toolchain.frameworks.torch.text_classifier import KINDS, PRUNABLE, load_classifier
from toolchain.inference.batch_prediction import predict
from toolchain.inference.runtime import Tokenizer, open_session
from toolchain.inference.tasks import task_of
from toolchain.optimize.prune import Config as Pruning
from toolchain.optimize.prune import run as prune
from toolchain.optimize.quantize import Config as Quantization
from toolchain.optimize.quantize import run as quantize
from toolchain.services import hub
from toolchain.train.torch_text import Config, run
from toolchain.train.torch_text.base import find_base, load_base
from toolchain.train.torch_text.tokenizer import load_tokenizer

NEW = ("albert", "deberta", "deberta-v2", "modernbert", "mpnet")
WORDS = ("gorgeous", "dull", "weak", "fine", "moving", "endless")
SENTENCES = [f"the {n}th film is {one}, {two} and {one} again" for n in range(30) for one, two in pairwise(WORDS)]
OFFSET = ("camembert", "mpnet", "roberta", "xlm-roberta")  # whose positions begin after the padding token's id


@pytest.fixture(scope="module")
def trained(make_base: Callable[..., Path], dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that fine-tunes a kind of model, once."""
    known: dict[str, Path] = {}

    def train(kind: str) -> Path:
        if kind not in known:
            target = tmp_path_factory.mktemp("trained") / kind
            settings = {"batch_size": 16, "epochs": 1, "learning_rate": 5e-3, "max_tokens": 24}
            run(dataset, target, Config(base_model=str(make_base(kind)), **settings))
            known[kind] = target
        return known[kind]

    return train


@pytest.fixture
def variants(trained: Callable[[str], Path], dataset: Path, tmp_path: Path) -> Callable[[str], Variants]:
    def make(kind: str) -> Variants:
        result = export([trained(kind)], dataset, tmp_path / kind, Export(parity_rows=16))
        assert result.max_difference < 1e-4
        return open_variants(tmp_path / kind)

    return make


def texts_of(dataset: Path) -> list[str]:
    return list(open_dataset(dataset).table("validation").column("text").to_pylist())


def copy_of(base: Path, target: Path) -> Path:
    return Path(shutil.copytree(base, target))


def change(file: Path, **values: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


# --- what every kind comes to ---


@pytest.mark.parametrize("kind", KINDS)
def test_the_served_graph_predicts_texts_as_transformers_itself_does(
    kind: str, trained: Callable[[str], Path], variants: Callable[[str], Variants], dataset: Path
):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    theirs = AutoModelForSequenceClassification.from_pretrained(trained(kind)).eval()
    feeds = AutoTokenizer.from_pretrained(trained(kind))(
        texts_of(dataset), padding=True, truncation=True, max_length=24, return_tensors="pt"
    )
    with torch.inference_mode():
        inputs = {name: feeds[name] for name in ("input_ids", "attention_mask")}
        expected = theirs(**inputs).logits.numpy()
    model = variants(kind).reference
    found = predict(open_session(model), task_of(model).input, texts_of(dataset))
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("kind", NEW)
def test_a_new_kind_in_int8_decides_as_in_float(
    kind: str, variants: Callable[[str], Variants], dataset: Path, tmp_path
):
    float_ones = variants(kind)
    quantize(float_ones.path, dataset, tmp_path / "int8", Quantization(methods=["int8-dynamic", "int8-static"]))
    models = open_variants(tmp_path / "int8").models
    logits = {
        name: predict(open_session(model), task_of(model).input, texts_of(dataset)) for name, model in models.items()
    }
    for name in ("int8-dynamic", "int8-static"):
        np.testing.assert_allclose(logits[name], logits["fp32"], atol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("kind", NEW)
def test_a_new_kind_in_openvino_decides_as_in_float(kind: str, variants: Callable[[str], Variants], dataset, tmp_path):
    float_ones = variants(kind)
    quantize(float_ones.path, dataset, tmp_path / "int8", Quantization(methods=["openvino", "int8-openvino"]))
    models = open_variants(tmp_path / "int8").models
    logits = {
        name: predict(open_session(model), task_of(model).input, texts_of(dataset)) for name, model in models.items()
    }
    np.testing.assert_allclose(logits["openvino"], logits["fp32"], atol=1e-4)
    np.testing.assert_allclose(logits["int8-openvino"], logits["fp32"], atol=0.05)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(PRUNABLE)))
def test_what_cannot_be_pruned_is_rejected_or_left_as_it_is_with_the_reason(
    kind: str, trained: Callable[[str], Path], dataset: Path, tmp_path: Path
):
    with pytest.raises(UnprunableError, match=f"'{kind}'.*set method to none"):
        prune(trained(kind), dataset, tmp_path / "refused", Pruning())
    assert not (tmp_path / "refused").exists()
    result = prune(trained(kind), dataset, tmp_path / "same", Pruning(unprunable="skip"))
    same, whole = open_model(tmp_path / "same"), open_model(trained(kind))
    assert same.digest == whole.digest
    assert f"'{kind}'" in same.notes["optimize.prune"]["skipped"] == result.skipped
    exported = export([trained(kind), tmp_path / "same"], dataset, tmp_path / "variants", Export(parity_rows=4))
    assert exported.variants == ("fp32",), "the report has the reason, and nothing is measured twice"
    assert "optimize.prune" in open_variants(tmp_path / "variants").reference.notes


def test_scores_beyond_those_of_padding_are_exported_right(
    make_classifier: Callable[..., Path], reviews: Path, tmp_path: Path
):
    result = export([make_classifier("electra")], reviews, tmp_path / "variants", Export())
    assert result.max_difference < 1e-4, "its random weights give attention scores above 60"


@pytest.mark.parametrize("kind", ["albert", "modernbert", "mpnet", "deberta-v2"])
def test_frozen_layers_are_found_in_a_new_kind(
    kind: str, make_base: Callable[..., Path], dataset: Path, tmp_path: Path
):
    base = make_base(kind, num_hidden_layers=2) if kind != "albert" else make_base(kind, num_hidden_groups=2)
    run(
        dataset,
        tmp_path / "model",
        Config(base_model=str(base), epochs=1, batch_size=32, max_tokens=24, freeze_layers=1),
    )
    after = load_file(tmp_path / "model" / "model.safetensors")
    before = load_file(base / "model.safetensors")
    prefix = load_classifier(open_model(tmp_path / "model")).base_model_prefix
    moved = {name for name, value in before.items() if (after.get(f"{prefix}.{name}", value) != value).any()}
    assert any(".1." in name for name in moved)
    assert not any(".0." in name.replace("albert_layers.0.", "") for name in moved)


# --- the padding token ---


@pytest.mark.parametrize("kind", ["bert", "roberta", "deberta-v2", "albert"])
def test_serving_pads_with_the_token_that_the_model_was_trained_with(kind: str, trained: Callable[[str], Path]):
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(trained(kind))
    assert Tokenizer(open_model(trained(kind))).pad_id == theirs.pad_token_id
    assert Tokenizer(open_model(trained(kind))).ids(["a fine film"])[0] == theirs("a fine film")["input_ids"]


@pytest.mark.parametrize(
    ("settings", "expected"), [({"pad_token": "<pad>"}, 1), ({"pad_token": {"content": "<s>"}}, 0), ({}, 1)]
)
def test_the_padding_token_is_the_one_that_the_tokenizer_names(
    settings: dict[str, object], expected: int, trained: Callable[[str], Path], tmp_path: Path
):
    from dataclasses import replace

    model = replace(open_model(trained("roberta")), path=copy_of(trained("roberta"), tmp_path / "model"))
    (model.path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert Tokenizer(model).pad_id == expected


def test_a_tokenizer_without_a_padding_token_is_rejected_before_training(
    make_base: Callable[..., Path], tmp_path: Path
):
    base = copy_of(make_base("modernbert"), tmp_path / "base")
    (base / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    with pytest.raises(ArtifactError, match=r"has no padding token.*set pad_token in its tokenizer_config\.json"):
        load_tokenizer(find_base(str(base)), 24)


def test_positions_counted_from_another_padding_token_are_rejected(make_base: Callable[..., Path], tmp_path: Path):
    base = copy_of(make_base("roberta"), tmp_path / "base")
    change(base / "config.json", pad_token_id=3)
    with pytest.raises(ArtifactError, match=r"the padding token of .* is 1 in its tokenizer, but 3 in its"):
        load_tokenizer(find_base(str(base)), 24)


# --- the numbers of tokenizer and weights ---


def test_more_tokens_than_embeddings_are_rejected_before_training(make_base: Callable[..., Path], tmp_path: Path):
    base = copy_of(make_base("bert"), tmp_path / "base")
    content = json.loads((base / "tokenizer.json").read_text())
    size = json.loads((base / "config.json").read_text())["vocab_size"]
    first = max(content["model"]["vocab"].values()) + 1
    extra = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    content["added_tokens"] += [{"id": first + n, "content": f"<extra{n}>", **extra} for n in range(size + 3 - first)]
    (base / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match=rf"has {size + 3} tokens, but the model has {size} embeddings"):
        load_tokenizer(find_base(str(base)), 24)


def test_a_tokenizer_in_python_only_is_rejected_before_training(make_base: Callable[..., Path], tmp_path: Path):
    base = copy_of(make_base("roberta"), tmp_path / "base")  # as vinai/bertweet-base is published
    (base / "tokenizer.json").unlink()
    (base / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertweetTokenizer"}))
    (base / "vocab.txt").write_text("good 5\nbad 4\n")
    (base / "bpe.codes").write_text("g o 3\n")
    with pytest.raises(ArtifactError, match=r"\(BertweetTokenizer\) is in Python only.*take another model"):
        load_tokenizer(find_base(str(base)), 24)


def test_a_tokenizer_of_sentencepiece_alone_becomes_a_fast_one(make_base: Callable[..., Path], tmp_path: Path):
    import sentencepiece

    base = copy_of(make_base("deberta-v2"), tmp_path / "base")  # as microsoft/deberta-v3-base has it
    (base / "tokenizer.json").unlink()
    (base / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False, "vocab_type": "spm"}))
    special = {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3}
    special |= {"pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]"}
    with (base / "spm.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(SENTENCES), model_writer=file, vocab_size=45, minloglevel=2, **special
        )
    tokenizer = load_tokenizer(find_base(str(base)), 24)
    theirs = sentencepiece.SentencePieceProcessor(str(base / "spm.model"))
    for text in SENTENCES[:20]:
        assert tokenizer.backend_tokenizer.encode(text).ids == [1, *theirs.encode(text)[:22], 2]


@pytest.mark.parametrize("kind", KINDS)
def test_as_many_tokens_as_there_are_positions_and_no_more(kind: str, make_base: Callable[..., Path]):
    base = find_base(str(make_base(kind)))
    load_tokenizer(base, 64)
    if kind == "deberta-v2":  # distances between tokens instead of positions
        load_tokenizer(base, 1000)
        return
    with pytest.raises(ConfigError, match=r"max_tokens is 65, but .* has 64 positions; lower max_tokens"):
        load_tokenizer(base, 65)


def test_weights_of_other_sizes_than_the_configuration_are_rejected(make_base: Callable[..., Path], tmp_path: Path):
    base = copy_of(make_base("bert"), tmp_path / "base")
    change(base / "config.json", max_position_embeddings=512)
    with pytest.raises(ArtifactError, match=r"position_embeddings.weight has the shape \(64, 32\) .* \(512, 32\)"):
        load_base(find_base(str(base)), ("a", "b"), 0.0)


def test_a_head_for_other_labels_is_made_anew(make_base: Callable[..., Path], tmp_path: Path):
    three = load_base(find_base(str(make_base("bert"))), ("a", "b", "c"), 0.0)
    base = copy_of(make_base("bert"), tmp_path / "base")
    three.save_pretrained(base)
    assert load_base(find_base(str(base)), ("a", "b"), 0.0).classifier.out_features == 2


@pytest.mark.parametrize("kind", ["bert", "camembert", "roberta", "mpnet"])
def test_requests_are_timed_no_longer_than_the_model_has_positions(
    kind: str, variants: Callable[[str], Variants], dataset: Path, tmp_path: Path
):
    found = variants(kind)
    quantize(found.path, dataset, tmp_path / "int8", Quantization(methods=["int8-dynamic"]))
    time_variants(tmp_path / "int8", dataset, tmp_path / "latency", Timing(split="validation", rounds=5, resamples=100))
    timed = open_measurement(tmp_path / "latency", "latency").data["scenarios"]
    assert timed == ["batch1-fixed64", "batch1-real", "batch8-fixed64", "batch8-real"]


# --- the files of a checkpoint ---


def test_weights_in_parts_make_the_same_model_as_in_one_file(make_base: Callable[..., Path], tmp_path: Path):
    from transformers import AutoModel

    whole, parts = make_base("mpnet"), copy_of(make_base("mpnet"), tmp_path / "parts")
    (parts / "model.safetensors").unlink()
    AutoModel.from_pretrained(whole).save_pretrained(parts, max_shard_size="20KB")
    assert len(list(parts.glob("model-*.safetensors"))) > 1
    one, other = (load_base(find_base(str(base)), ("a", "b"), 0.0).base_model.state_dict() for base in (whole, parts))
    assert all((value == other[name]).all() for name, value in one.items())
    assert find_base(str(parts)).sha256 != find_base(str(whole)).sha256


def test_a_missing_part_of_the_weights_is_named(make_base: Callable[..., Path], tmp_path: Path):
    base = copy_of(make_base("bert"), tmp_path / "base")
    tensors = load_file(base / "model.safetensors")
    (base / "model.safetensors").unlink()
    save_file(tensors, base / "model-00001-of-00002.safetensors", {"format": "pt"})
    index = {"weight_map": {name: f"model-0000{1 + n % 2}-of-00002.safetensors" for n, name in enumerate(tensors)}}
    (base / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ArtifactError, match=r"lacks model-00002-of-00002\.safetensors, which model\.saf"):
        find_base(str(base))


@pytest.mark.parametrize("content", ["[]", "{", '{"weight_map": 3}'])
def test_a_damaged_index_is_one_line(content: str, make_base: Callable[..., Path], tmp_path: Path):
    base = copy_of(make_base("bert"), tmp_path / "base")
    (base / "model.safetensors").rename(base / "other.safetensors")
    (base / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ArtifactError, match="is damaged: it has no weight_map"):
        find_base(str(base))


def test_weights_of_older_checkpoints_are_read_without_running_them(make_base: Callable[..., Path], tmp_path: Path):
    import torch

    whole, base = make_base("deberta-v2"), copy_of(make_base("deberta-v2"), tmp_path / "base")
    (base / "model.safetensors").unlink()  # as microsoft/deberta-v3-base is published
    torch.save(
        {n: torch.from_numpy(v) for n, v in load_file(whole / "model.safetensors").items()}, base / "pytorch_model.bin"
    )
    found = find_base(str(base))
    assert found.sha256 == sha256_of_file(base / "pytorch_model.bin")
    one, other = (load_base(find_base(str(path)), ("a", "b"), 0.0).base_model.state_dict() for path in (whole, base))
    assert all((value == other[name]).all() for name, value in one.items())


class Mischief:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (Path("harmed"),)  # type: ignore[return-value]


def test_a_pickle_that_runs_code_is_rejected_unrun(make_base: Callable[..., Path], tmp_path: Path, monkeypatch):
    import pickle

    monkeypatch.chdir(tmp_path)
    base = copy_of(make_base("bert"), tmp_path / "base")
    (base / "model.safetensors").unlink()
    (base / "pytorch_model.bin").write_bytes(pickle.dumps(Mischief()))
    with pytest.raises(ArtifactError, match=r"the weights of .* cannot be loaded"):
        load_base(find_base(str(base)), ("a", "b"), 0.0)
    assert not (tmp_path / "harmed").exists()


def test_pickled_weights_are_downloaded_only_if_the_hub_has_no_others(
    make_base: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import fnmatch

    published = copy_of(make_base("deberta-v2"), tmp_path / "published")
    (published / "model.safetensors").rename(published / "pytorch_model.bin")
    (published / "spm.model").touch()
    local, downloads = tmp_path / "cache", []

    def download(name: str, patterns: list[str]) -> Path:
        downloads.append(patterns)
        local.mkdir(exist_ok=True)
        for file in published.iterdir():
            if any(fnmatch.fnmatch(file.name, pattern) for pattern in patterns):
                shutil.copy(file, local)
        return local

    monkeypatch.setattr(hub, "fetch_model", download)
    find_base("microsoft/deberta-v3-base")
    assert {file.name for file in local.iterdir()} == {file.name for file in published.iterdir()}
    assert len(downloads) == 2
    (published / "model.safetensors").touch()
    shutil.rmtree(local)
    find_base("microsoft/deberta-v3-base")
    assert len(downloads) == 3
