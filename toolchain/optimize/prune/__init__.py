"""Prune a classifier, and recover its accuracy by distillation from the original model.

Structured pruning removes feed-forward neurons and attention heads of a text classifier, and channels of an image
classifier: fewer weights, and fewer multiplications on every machine. Unstructured pruning sets single weights to 0:
fewer weights to store, but the same amount of computation.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from toolchain.artifacts.dataset import Dataset, open_dataset
from toolchain.artifacts.folder import link_or_copy, new_folder, read_json, write_json
from toolchain.artifacts.model import DESCRIPTION, FORMAT, TOKENIZER_FILES, Model, new_model, open_model, require
from toolchain.artifacts.provenance import Work
from toolchain.errors import ArtifactError, ConfigError, UnprunableError
from toolchain.frameworks.torch.device import check_gpus, require_gpus
from toolchain.frameworks.torch.image_classifier import load_network, read_architecture, save_network
from toolchain.frameworks.torch.image_dataset import Shape, read_images
from toolchain.frameworks.torch.text_classifier import WEIGHTS, check_prunable, load_classifier, save_classifier
from toolchain.frameworks.torch.token_dataset import TokenDataset, read_rows
from toolchain.inference.runtime import Tokenizer
from toolchain.inference.tasks import ImageClassification, TextClassification
from toolchain.optimize.prune.channels import check_layers, prune_channels
from toolchain.optimize.prune.report import Report
from toolchain.optimize.prune.texts import prune
from toolchain.progress import log_info

STEP = "optimize.prune"
VARIANTS = {"structured": "pruned", "unstructured": "pruned-unstructured", "none": "fp32"}  # by method


@dataclass(frozen=True, kw_only=True)
class Config:
    # Pruning method: structured (removes heads, neurons, channels), unstructured (zeroes weights, texts only) or none.
    method: str = "structured"
    unprunable: str = "fail"  # Action if the model cannot be pruned: fail, or skip (continue with the original).
    # Fraction of each layer's attention heads to keep, for texts (Michel et al. 2019 remove half).
    heads_to_keep: float = 0.5
    # Fraction of each layer's feed-forward neurons to keep, for texts; 0.34: 512 of 1536.
    neurons_to_keep: float = 0.34
    # Fraction of each layer's channels to keep, for images; 0.5 leaves a quarter of the operations.
    channels_to_keep: float = 0.5
    sparsity: float = 0.5  # Fraction of weights to zero, for the unstructured method.
    # Number of batches to measure importance on (for images: to recompute batch normalization).
    importance_batches: int = 40
    epochs: int = 2  # Number of epochs in which the pruned model learns from the original (distillation); 0: none.
    batch_size: int = 32  # Batch size.
    # Peak learning rate of distillation; higher than for fine-tuning, because a pruned model is far from its optimum.
    learning_rate: float = 5e-4
    distillation_weight: float = 0.7  # Weight of the teacher's predictions in the loss, 0..1; the labels have the rest.
    temperature: float = 2.0  # Softmax temperature of distillation.
    # Weight of matching the teacher's first token after each layer, for texts; 0: predictions only.
    feature_loss_weight: float = 1.0
    num_gpus: int = 0  # Number of GPUs required, 0 or 1; 0: use one if available.
    allow_cpu: bool = False  # Continue on the CPU if the required GPU is missing.
    seed: int = 0  # Random seed of the order of rows and of dropout.

    def __post_init__(self) -> None:
        check_gpus(self.num_gpus)
        if self.method not in VARIANTS:
            raise ConfigError(f"method is {self.method!r}; choose one of {', '.join(VARIANTS)}")
        if self.unprunable not in ("fail", "skip"):
            raise ConfigError(f"unprunable is {self.unprunable!r}; choose fail or skip")
        for name in ("heads_to_keep", "neurons_to_keep", "channels_to_keep"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be above 0 and at most 1")
        for name, top in (("sparsity", 0.99), ("distillation_weight", 1.0)):
            if not 0 <= getattr(self, name) <= top:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be from 0 to {top:g}")
        for name in ("importance_batches", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        for name in ("learning_rate", "temperature"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be above 0 and finite")
        for name in ("epochs", "feature_loss_weight", "seed"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be 0 or more")


@dataclass(frozen=True)
class Result:
    variant: str
    sparsity: float  # share of all weights that are removed or zero, 0..1
    accuracy_before: float  # on the validation split, 0..1; as are the next two
    accuracy_pruned: float
    accuracy_after: float
    speedup: float  # latency before / after, in PyTorch
    skipped: str = ""  # why nothing was pruned


def run(model: Path, dataset: Path, pruned: Path, config: Config) -> Result:
    """Prune ``model`` and write the result to ``pruned``; with the method "none", ``model`` itself.

    Raises:
        ArtifactError: ``model`` is for another task, or lacks its tokenizer.
        UnprunableError: it has parts that cannot be removed, and ``config.unprunable`` is "fail".
        ConfigError: the method is not one for ``model``'s task.
        DataError: ``dataset`` lacks texts or images, labels, or rows to train and validate on.
        TrainingError: the loss of the distillation is NaN or Inf.
    """
    opened, rows = open_model(model), open_dataset(dataset)
    prune_model = _pruner(opened)
    if config.method == "none":
        return _pass_through(opened, pruned)
    work = Work(STEP, config, model=opened, dataset=rows)
    try:
        with _flush_denormals():
            report = prune_model(opened, rows, pruned, config, work)
    except UnprunableError as error:
        if config.unprunable == "fail":
            raise
        log_info(f"not pruned: {error}")
        return _pass_through(opened, pruned, str(error))
    return Result(
        VARIANTS[config.method],
        report.sparsity,
        report.accuracy_before,
        report.accuracy_pruned,
        report.accuracy_after,
        report.latency.speedup,
    )


def _pruner(model: Model) -> Callable[[Model, Dataset, Path, Config, Work], Report]:
    """Return what prunes ``model``, after checking that it is a PyTorch model of a task that has one."""
    pruners = {TextClassification.name: _prune_texts, ImageClassification.name: _prune_images}
    task = model.signature.task
    if task not in pruners:
        raise ArtifactError(f"{model.path} is a model for {task}, this step needs one for {' or '.join(pruners)}")
    require(model, task, "pytorch")
    return pruners[task]


def _prune_texts(model: Model, rows: Dataset, target: Path, config: Config, work: Work) -> Report:
    teacher = load_classifier(model)
    check_prunable(teacher)  # before reading the dataset
    teacher, work.gpus = _on_best_device(teacher, config)
    training, validation = _read(rows, model)
    student, report = prune(teacher, training, validation, config)
    with _new_model(model, target, work, report) as folder:
        save_classifier(student, folder)
    return report


def _prune_images(model: Model, rows: Dataset, target: Path, config: Config, work: Work) -> Report:
    if config.method != "structured":
        raise ConfigError(f"method {config.method!r} is for texts; use 'structured' for image classifiers")
    if config.batch_size < 2:
        raise ConfigError(f"batch_size is {config.batch_size}; batch normalization of images needs 2 or more")
    architecture, teacher = read_architecture(model), load_network(model)
    check_layers(teacher)
    teacher, work.gpus = _on_best_device(teacher, config)
    shape = Shape(architecture.height, architecture.width, architecture.channels)
    training, validation = (read_images(rows, split, shape) for split in ("train", "validation"))
    student, report = prune_channels(teacher, architecture, training, validation, config)
    with _new_model(model, target, work, report) as folder:
        save_network(student, architecture, folder)
    return report


@contextmanager
def _flush_denormals() -> Iterator[None]:
    """Treat numbers below 1e-38 as 0, with which a CPU is far slower: averages of tiny gradients become that small.

    Threads inherit the setting from the one that starts them, so it must precede the first computation.
    """
    import torch

    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _pass_through(model: Model, target: Path, skipped: str = "") -> Result:
    """Write ``model`` unchanged to ``target``, with the reason why it was ``skipped`` in its notes."""
    with new_folder(target) as folder:
        for name in model.files:
            link_or_copy(model.path / name, folder / name)
        description = read_json(model.path / DESCRIPTION, FORMAT)
        if skipped:
            description["notes"][STEP] = {"method": "none", "skipped": skipped}
        write_json(folder / DESCRIPTION, description)
    return Result(model.variant, model.sparsity, 0.0, 0.0, 0.0, 1.0, skipped)


def _read(rows: Dataset, model: Model) -> tuple[TokenDataset, TokenDataset]:
    tokenizer = Tokenizer(model)
    training, validation = (
        read_rows(rows, split, tokenizer.ids, tokenizer.pad_id) for split in ("train", "validation")
    )
    return training, validation


def _on_best_device(classifier: Any, config: Config) -> tuple[Any, int]:
    """Return ``classifier`` on the GPU if there is one, and the number of GPUs in use."""
    import torch

    require_gpus(config.num_gpus, config.allow_cpu)
    gpu = torch.cuda.is_available()
    return (classifier.cuda() if gpu else classifier), int(gpu)


@contextmanager
def _new_model(model: Model, target: Path, work: Work, report: Report) -> Iterator[Path]:
    """Yield the folder for the pruned weights."""
    note = report.note()
    work.metrics |= {name: float(value) for name, value in note.items() if isinstance(value, int | float)}
    work.metrics["speedup"] = report.latency.speedup
    signature = replace(model.signature, variant=VARIANTS[report.method], weights=WEIGHTS)
    with new_model(target, signature, work, parent=model) as writer:
        yield writer.folder
        writer.keep(model, *TOKENIZER_FILES)
        writer.sparsity = report.sparsity
        writer.note(note)
