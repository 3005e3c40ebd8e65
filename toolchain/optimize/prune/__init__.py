"""Prune: make a classifier smaller, and let it learn again from the model that it was cut from.

Structured pruning removes feed-forward neurons and attention heads of a text classifier, and channels of a picture
classifier, for good: fewer weights, and fewer multiplications on every machine. Unstructured pruning sets single
weights to 0: fewer weights to store, and the same work to do.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from toolchain.artifacts.dataset import Dataset, open_dataset
from toolchain.artifacts.folder import link_or_copy, new_folder, read_json, write_json
from toolchain.artifacts.model import DESCRIPTION, FORMAT, TOKENIZER_FILES, Model, new_model, open_model, require
from toolchain.artifacts.provenance import Work
from toolchain.errors import ConfigError, UnprunableError
from toolchain.frameworks.torch.device import check_gpus, require_gpus
from toolchain.frameworks.torch.image_classifier import load_network, read_architecture, save_network
from toolchain.frameworks.torch.image_dataset import Shape, read_images
from toolchain.frameworks.torch.text_classifier import WEIGHTS, check_prunable, load_classifier, save_classifier
from toolchain.frameworks.torch.token_dataset import TokenDataset, read_rows
from toolchain.inference.runtime import Tokenizer
from toolchain.optimize.prune.channels import ChannelReport, check_layers, prune_channels
from toolchain.optimize.prune.texts import Report, prune
from toolchain.progress import log_info

STEP = "optimize.prune"
PICTURES = "image-classification"
VARIANTS = {"structured": "pruned", "unstructured": "pruned-unstructured", "none": "fp32"}  # by method


@dataclass(frozen=True, kw_only=True)
class Config:
    method: str = (
        "structured"  # "structured" removes whole parts, "unstructured" zeroes weights of texts' layers, "none"
    )
    unprunable: str = "fail"  # what happens to a model that cannot be pruned: "fail", or "skip" to leave it as it is
    heads_to_keep: float = (
        0.5  # share of each layer's attention heads; half of them goes nearly unnoticed (Michel 2019)
    )
    neurons_to_keep: float = 0.34  # share of each layer's feed-forward neurons: 512 of 1536
    channels_to_keep: float = (
        0.5  # share of each layer's channels in a picture classifier: a quarter of the work remains
    )
    sparsity: float = 0.5  # share of the layers' weights that are zeroed, for the unstructured method
    importance_batches: int = 40  # batches that importance (of pictures: normalisation) is measured on: 1,280 rows
    epochs: int = 2  # of recovery by distillation over the training rows; 0 recovers nothing
    batch_size: int = 32  # rows of a step, as in fine-tuning
    learning_rate: float = 5e-4  # the largest; above fine-tuning's, because a cut model is far from its optimum
    distillation_weight: float = 0.7  # share of the loss that is the teacher's answers, the labels have the rest
    temperature: float = 2.0  # of the answers that are compared: softer ones tell more of what the teacher thinks
    feature_loss_weight: float = (
        1.0  # weight of repeating the teacher's first token after each layer; texts only; 0: answers only
    )
    gpus: int = 0  # that must be there, 0 or 1; 0 takes what there is
    allow_cpu: bool = False  # whether to go on with the CPU where the GPU asked for is not there
    seed: int = 0  # of the order of rows and of dropout

    def __post_init__(self) -> None:
        check_gpus(self.gpus)
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
    sparsity: float  # share of all weights that are gone or zero, 0..1
    accuracy_before: float  # on the validation split, 0..1; as are the next two
    accuracy_cut: float
    accuracy_after: float
    latency_ratio: float  # time before / time after, in PyTorch
    skipped: str = ""  # why nothing was pruned


def run(model: Path, dataset: Path, pruned: Path, config: Config) -> Result:
    """Prune ``model`` and write the smaller one to ``pruned``; with the method "none", ``model`` itself.

    Raises:
        ArtifactError: ``model`` is for another task, or lacks its tokenizer.
        UnprunableError: it has parts that cannot be removed, and that is not to be skipped.
        ConfigError: the method is not one for ``model``'s task.
        DataError: ``dataset`` lacks texts or pictures, labels, or rows to train and validate on.
        TrainingError: the loss of the recovery is no number any more.
    """
    opened, rows = open_model(model), open_dataset(dataset)
    if opened.signature.task == PICTURES:
        require(opened, PICTURES, "pytorch")
    else:
        require(opened, "text-classification", "pytorch")
    if config.method == "none":
        return _pass_through(opened, pruned)
    work = Work(STEP, config, model=opened, dataset=rows)
    try:
        with _tiny_numbers_as_zero():
            report = (_prune_pictures if opened.signature.task == PICTURES else _prune_texts)(
                opened, rows, pruned, config, work
            )
    except UnprunableError as error:
        if config.unprunable == "fail":
            raise
        log_info(f"not pruned: {error}")
        return _pass_through(opened, pruned, str(error))
    return Result(
        VARIANTS[config.method],
        report.sparsity,
        report.accuracy_before,
        report.accuracy_cut,
        report.accuracy_after,
        report.latency.ratio,
    )


def _prune_texts(model: Model, rows: Dataset, target: Path, config: Config, work: Work) -> Report:
    teacher = load_classifier(model)
    check_prunable(teacher)  # before anything is read
    teacher, work.gpus = _on_best_device(teacher, config)
    training, validation = _read(rows, model)
    student, report = prune(teacher, training, validation, config)
    with _new_model(model, target, work, report) as folder:
        save_classifier(student, folder)
    return report


def _prune_pictures(model: Model, rows: Dataset, target: Path, config: Config, work: Work) -> ChannelReport:
    if config.method != "structured":
        raise ConfigError(f"method {config.method!r} is for texts; picture classifiers are pruned by 'structured'")
    if config.batch_size < 2:
        raise ConfigError(f"batch_size is {config.batch_size}; pictures are normalised by each other: take 2 or more")
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
def _tiny_numbers_as_zero() -> Iterator[None]:
    """Averages of tiny gradients end below 1e-38, where a CPU is far slower; threads take this from the one that starts
    them, so it stands before the first computation.
    """
    import torch

    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _pass_through(model: Model, target: Path, skipped: str = "") -> Result:
    """Write ``model`` to ``target`` as it is; why it was ``skipped`` is added to its notes."""
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
    """Return ``classifier`` on the GPU if there is one, and the number of GPUs held."""
    import torch

    require_gpus(config.gpus, config.allow_cpu)
    gpu = torch.cuda.is_available()
    return (classifier.cuda() if gpu else classifier), int(gpu)


@contextmanager
def _new_model(model: Model, target: Path, work: Work, report: Report | ChannelReport) -> Iterator[Path]:
    """Yield the folder that the pruned weights are written to."""
    work.metrics |= {name: float(value) for name, value in asdict(report).items() if isinstance(value, int | float)}
    work.metrics |= {"sparsity": report.sparsity, "latency_ratio": report.latency.ratio}
    signature = replace(model.signature, variant=VARIANTS[report.method], weights=WEIGHTS)
    with new_model(target, signature, work, parent=model) as writer:
        yield writer.folder
        writer.keep(model, *TOKENIZER_FILES)
        writer.sparsity = report.sparsity
        writer.note({**asdict(report), "sparsity": report.sparsity})
