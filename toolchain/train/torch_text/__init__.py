"""Fine-tune a BERT-like model to classify texts.

In one process, or on several GPUs:
``torchrun --nproc-per-node 4 -m toolchain.train.torch_text DATASET MODEL epochs=3``.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toolchain.artifacts.dataset import LABEL, TEXT, Dataset, open_dataset
from toolchain.artifacts.model import Signature, Tensor, new_model
from toolchain.artifacts.provenance import Work
from toolchain.errors import ConfigError, DataError
from toolchain.frameworks.torch.checkpoint import Checkpoint, find_checkpoint
from toolchain.frameworks.torch.device import (
    TrainingDevice,
    check_gpus,
    gpu_memory_reported,
    require_gpus,
    training_device,
)
from toolchain.frameworks.torch.first_token import read_first_token_only
from toolchain.frameworks.torch.loop import Report, TrainingLoop, live_report, training_notes
from toolchain.frameworks.torch.text_classifier import WEIGHTS, save_classifier
from toolchain.frameworks.torch.token_dataset import TokenDataset
from toolchain.frameworks.training_state import TrainingState
from toolchain.progress import log_warning
from toolchain.train.torch_text.base import DEFAULT, Base, find_base, freeze, load_base, quiet
from toolchain.train.torch_text.loop import text_learner
from toolchain.train.torch_text.tokenizer import load_tokenizer, read_tokens

STEP = "train.torch_text"


@dataclass(frozen=True, kw_only=True)
class Config:
    base_model: str = DEFAULT  # Base model: a name on the Hugging Face hub, a folder, or package:NAME/FOLDER.
    base_model_digest: str = ""  # Expected SHA-256 of its model.safetensors; "": not checked (the default's is pinned).
    max_tokens: int = 64  # Maximum number of tokens, special tokens included; longer texts are truncated.
    epochs: int = 2  # Number of training epochs.
    batch_size: int = 32  # Batch size over all processes (Devlin et al. 2018: 16 or 32).
    learning_rate: float = 2e-4  # Peak learning rate; small models take more than BERT's 2e-5 to 5e-5.
    # Fraction of steps for the linear learning rate warmup, 0..1; a linear decay to 0 follows.
    warmup_ratio: float = 0.1
    weight_decay: float = 0.01  # Weight decay of matrices (Devlin et al. 2018).
    max_grad_norm: float = 1.0  # Maximum gradient norm; larger gradients are clipped (Devlin et al. 2018).
    # Dropout, 0..1; two epochs do not overfit, and without it a step is 1.2 times faster on a CPU.
    dropout: float = 0.0
    freeze_embeddings: bool = True  # Freeze the embeddings, half of a small model's weights.
    freeze_layers: int = 0  # Number of lowest layers to freeze: faster, and a little less accurate.
    patience: int = 2  # Epochs without a better validation accuracy before training stops.
    checkpoint_batches: int = 100  # Batches between two checkpoints.
    num_gpus: int = 0  # Number of GPUs required, 0 or 1; 0: use one if available.
    allow_cpu: bool = False  # Continue on the CPU if the required GPU is missing.
    seed: int = 0  # Random seed of the new head, the order of rows and dropout.

    def __post_init__(self) -> None:
        check_gpus(self.num_gpus)
        if not self.base_model:
            raise ConfigError(
                "base_model must name a checkpoint (hub name, folder or package:NAME/FOLDER), got an empty string"
            )
        if self.max_tokens < 3:
            raise ConfigError(f"max_tokens must be 3 or more ([CLS], a word, [SEP]), got {self.max_tokens}")
        for name in ("epochs", "batch_size", "patience", "checkpoint_batches"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be 1 or more, got {getattr(self, name)}")
        for name in ("learning_rate", "max_grad_norm"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} must be above 0 and finite, got {getattr(self, name)}")
        for name in ("warmup_ratio", "dropout", "weight_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must be from 0 to below 1, got {getattr(self, name)}")
        for name in ("freeze_layers", "seed"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be 0 or more, got {getattr(self, name)}")


@dataclass(frozen=True)
class Result:
    validation_accuracy: float  # of the epoch whose weights were kept, 0..1
    loss: float  # mean cross-entropy of the training rows in that epoch, in nats
    epochs: int  # done
    tokens_per_second: float  # without padding


def train(
    model: Any,
    training: TokenDataset,
    validation: TokenDataset,
    config: Config,
    device: TrainingDevice,
    report: Report = lambda state, metrics: None,
    checkpoint: Checkpoint | None = None,
) -> TrainingState:
    """Fine-tune ``model``, a sequence classifier of Transformers, in place; it ends with the weights of its best epoch.

    A training that was killed resumes from its ``checkpoint``.

    Raises:
        ConfigError: the model has too few layers to freeze ``freeze_layers``.
        TrainingError: the loss is NaN or infinite, or the GPU's memory is full.
    """
    freeze(model, config.freeze_embeddings, config.freeze_layers)
    read_first_token_only(model)
    with gpu_memory_reported(f"{config.batch_size} rows of {config.max_tokens} tokens", "lower batch_size"):
        learner = text_learner(model, training, validation, config, device)
        return TrainingLoop(learner, config, device).run(report, checkpoint)


def run(dataset: Path, model: Path, config: Config) -> Result:
    """Fine-tune ``config.base_model`` on the training split of ``dataset``; write it, with its tokenizer, to ``model``.

    Under torchrun each process trains on its share of every batch, and the main process writes.

    Raises:
        ArtifactError: the dataset or the checkpoint is not whole, or ``model`` exists.
        ConfigError: there is no such checkpoint, or it has another digest.
        DataError: the dataset has no labels, one class only, or an empty split.
        ServiceError: the hub is out of reach.
        StorageFullError: the disk is full.
        TrainingError: the loss is NaN or infinite, or the GPU's memory is full.
    """
    rows = open_dataset(dataset)
    work = Work(STEP, config, dataset=rows)
    _check_classes(rows)
    base = find_base(config.base_model, config.base_model_digest)
    work.source = {"uri": base.name, "sha256": base.sha256}
    require_gpus(config.num_gpus, config.allow_cpu)
    with training_device() as device:
        work.gpus = device.gpus
        if device.is_main:
            _warn_about_language(rows, config)
        state = _fine_tune(rows, base, model, config, device, work)
        device.barrier()
    return Result(state.best["validation_accuracy"], state.best["loss"], len(state.history), state.items_per_second)


def _fine_tune(
    rows: Dataset, base: Base, target: Path, config: Config, device: TrainingDevice, work: Work
) -> TrainingState:
    import torch

    quiet()
    tokenizer = load_tokenizer(base, config.max_tokens)
    torch.manual_seed(config.seed)  # draws the new head
    classifier = load_base(base, rows.labels, config.dropout)
    training, validation = (read_tokens(rows, split, tokenizer) for split in ("train", "validation"))
    _check_more_than_one(training, rows)
    checkpoint = find_checkpoint(__name__, device, dataset=rows.digest, base=base.sha256, config=asdict(config))
    batches, data = training.count_batches(config.batch_size) * config.epochs, f"{len(training):,} rows"
    with live_report(STEP, asdict(config), batches, data, device) as report:
        state = train(classifier, training, validation, config, device, report, checkpoint)
    if device.is_main:
        notes = training_notes(state, classifier, "tokens", device)
        _save(classifier, tokenizer, target, _signature(rows, config), work, notes)
        checkpoint.remove()
    return state


def _save(
    classifier: Any, tokenizer: Any, target: Path, signature: Signature, work: Work, notes: dict[str, Any]
) -> None:
    work.metrics |= {name: float(value) for name, value in notes.items() if isinstance(value, float | int)}
    with new_model(target, signature, work) as writer:
        classifier.cpu()
        save_classifier(classifier, writer.folder)
        tokenizer.save_pretrained(writer.folder)
        writer.note(notes)


def _signature(rows: Dataset, config: Config) -> Signature:
    ids = (Tensor(name, "int64", ("batch", "tokens")) for name in ("input_ids", "attention_mask"))
    return Signature(
        task="text-classification",
        framework="pytorch",
        variant="fp32",
        backend="pytorch",
        weights=WEIGHTS,
        labels=rows.labels,
        max_tokens=config.max_tokens,
        text_repair=rows.text_repair,
        inputs=tuple(ids),
        outputs=(Tensor("logits", "float32", ("batch", len(rows.labels))),),
    )


def _check_classes(rows: Dataset) -> None:
    rows.require(TEXT, LABEL)
    if not rows.labels:
        raise DataError(f"{rows.path} has no label names; clean the dataset, which names its classes, before training")


def _warn_about_language(rows: Dataset, config: Config) -> None:
    """Warn if augment.text found more texts in other languages than copies of English ones for an English base."""
    counts = rows.notes.get("augment.text", {}).get("counts", {})
    other = counts.get("non_english", 0)
    english = sum(counts.get(name, 0) for name in ("copies", "unchanged", "in_other_splits"))
    if config.base_model == DEFAULT and other > english:
        log_warning(
            f"most texts are not English ({other:,} of the rows that augment.text selected), but the default "
            "base_model is an English one: set base_model to a checkpoint in the texts' language, or a multilingual one"
        )


def _check_more_than_one(training: TokenDataset, rows: Dataset) -> None:
    found = set(training.labels.tolist())
    if len(found) < 2:
        raise DataError(
            f"{rows.path}: all training rows are {rows.labels[found.pop()]!r}; a classifier needs two classes"
        )
