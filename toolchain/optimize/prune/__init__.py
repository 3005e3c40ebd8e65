"""Prune: make a classifier smaller, and let it learn again from the model that it was cut from.

Structured pruning removes feed-forward neurons and attention heads of a text classifier, and channels of a picture
classifier, for good: fewer weights, and fewer multiplications on every machine. Unstructured pruning sets single
weights to 0: fewer weights to store, and the same work to do.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.artifacts.dataset import Dataset, open_dataset
from toolchain.artifacts.first_token import read_every_token, read_first_token_only
from toolchain.artifacts.folder import link_or_copy, new_folder
from toolchain.artifacts.model import DESCRIPTION, TOKENIZER_FILES, Model, new_model, open_model, require
from toolchain.artifacts.network import load_network, read_architecture, save_network
from toolchain.artifacts.provenance import Work
from toolchain.artifacts.transformer import WEIGHTS, layers, load_classifier, save_classifier
from toolchain.errors import ConfigError
from toolchain.inference import Tokenizer
from toolchain.optimize.prune.channels import ChannelReport, check_prunable, prune_channels
from toolchain.optimize.prune.distillation import (
    Epoch,
    accuracy,
    distil,
    freeze_embeddings,
    lesson_loss,
    lesson_of,
)
from toolchain.optimize.prune.importance import measure_importance
from toolchain.optimize.prune.size import (
    Latency,
    count_layer_weights,
    count_weights,
    measure_latency,
    speed_in_words,
)
from toolchain.optimize.prune.structured import remove
from toolchain.optimize.prune.unstructured import make_permanent, mask_smallest
from toolchain.pixels import Shape, read_pixels
from toolchain.place import check_gpus, require_gpus
from toolchain.progress import say, track
from toolchain.rows import Batch, Rows, read_rows

if TYPE_CHECKING:
    import torch

STEP = "optimize.prune"
PICTURES = "image-classification"
VARIANTS = {"structured": "pruned", "unstructured": "pruned-unstructured", "none": "fp32"}  # by method


@dataclass(frozen=True, kw_only=True)
class Config:
    method: str = (
        "structured"  # "structured" removes whole parts, "unstructured" zeroes weights of texts' layers, "none"
    )
    heads_kept: float = 0.5  # share of each layer's attention heads; half of them goes nearly unnoticed (Michel 2019)
    neurons_kept: float = 0.34  # share of each layer's feed-forward neurons: 512 of 1536
    channels_kept: float = 0.5  # share of each layer's channels in a picture classifier: a quarter of the work remains
    sparsity: float = 0.5  # share of the layers' weights that are zeroed, for the unstructured method
    importance_batches: int = 40  # batches that importance (of pictures: normalisation) is measured on: 1,280 rows
    epochs: int = 2  # of recovery by distillation over the training rows; 0 recovers nothing
    batch_rows: int = 32  # rows of a step, as in fine-tuning
    learning_rate: float = 5e-4  # the largest; above fine-tuning's, because a cut model is far from its optimum
    distillation: float = 0.7  # share of the loss that is the teacher's answers, the labels have the rest
    temperature: float = 2.0  # of the answers that are compared: softer ones tell more of what the teacher thinks
    features: float = 1.0  # weight of repeating the teacher's first token after each layer; texts only; 0: answers only
    gpus: int = 0  # that must be there, 0 or 1; 0 takes what there is
    cpu_allowed: bool = False  # whether to go on with the CPU where the GPU asked for is not there
    seed: int = 0  # of the order of rows and of dropout

    def __post_init__(self) -> None:
        check_gpus(self.gpus)
        if self.method not in VARIANTS:
            raise ConfigError(f"method is {self.method!r}; choose one of {', '.join(VARIANTS)}")
        for name in ("heads_kept", "neurons_kept", "channels_kept"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be above 0 and at most 1")
        for name, top in (("sparsity", 0.99), ("distillation", 1.0)):
            if not 0 <= getattr(self, name) <= top:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be from 0 to {top:g}")
        for name in ("importance_batches", "batch_rows"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        for name in ("learning_rate", "temperature"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be above 0 and finite")
        for name in ("epochs", "features", "seed"):
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


@dataclass(frozen=True)
class Report:
    """What pruning did, for the report; accuracies on the validation split, 0..1."""

    method: str
    heads: int  # of each layer, after
    neurons: int  # of each layer, after
    weights_before: int
    weights_after: int  # not 0
    layer_sparsity: float  # share of the weights of the layers' matrices that are gone or zero, 0..1
    latency: Latency
    accuracy_before: float
    accuracy_cut: float  # before the recovery
    accuracy_after: float
    history: list[Epoch]
    speed: str  # in words: what it bought

    @property
    def sparsity(self) -> float:
        return 1 - self.weights_after / self.weights_before


def prune(teacher: Any, training: Rows, validation: Rows, config: Config) -> tuple[Any, Report]:
    """Return a pruned copy of ``teacher``, a classifier of Transformers, after its recovery, and what that did.

    Raises:
        ArtifactError: it is a kind of model whose parts are not known.
        TrainingError: the loss of the recovery is no number any more.
    """
    student = copy.deepcopy(teacher)
    for classifier in (teacher, student):
        read_first_token_only(classifier)
    _cut(student, teacher, training, config)
    before, cut = (accuracy(classifier, validation, "validate") for classifier in (teacher, student))
    say(f"validation accuracy {before:.3f}, {cut:.3f} after the cut")
    history = _recover(student, teacher, training, validation, config) if config.epochs else []
    if config.method == "unstructured":
        make_permanent(student)
    for classifier in (teacher, student):
        read_every_token(classifier.cpu())
    return student.eval(), _report(teacher, student, (before, cut), history, config)


def run(model: Path, dataset: Path, pruned: Path, config: Config) -> Result:
    """Prune ``model`` and write the smaller one to ``pruned``; with the method "none", ``model`` itself.

    Raises:
        ArtifactError: ``model`` is for another task, lacks its tokenizer, or has parts that are not known.
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
    with _tiny_numbers_as_zero():
        report = (_prune_pictures if opened.signature.task == PICTURES else _prune_texts)(
            opened, rows, pruned, config, work
        )
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
    layers(teacher)  # a kind that cannot be pruned is refused before anything is read
    teacher, work.gpus = _on_best_device(teacher, config)
    training, validation = _read(rows, model)
    student, report = prune(teacher, training, validation, config)
    with _new_model(model, target, work, report) as folder:
        save_classifier(student, folder)
    return report


def _prune_pictures(model: Model, rows: Dataset, target: Path, config: Config, work: Work) -> ChannelReport:
    if config.method != "structured":
        raise ConfigError(f"method {config.method!r} is for texts; picture classifiers are pruned by 'structured'")
    if config.batch_rows < 2:
        raise ConfigError(f"batch_rows is {config.batch_rows}; pictures are normalised by each other: take 2 or more")
    architecture, teacher = read_architecture(model), load_network(model)
    check_prunable(teacher)
    teacher, work.gpus = _on_best_device(teacher, config)
    shape = Shape(architecture.height, architecture.width, architecture.channels)
    training, validation = (read_pixels(rows, split, shape) for split in ("train", "validation"))
    student, report = prune_channels(teacher, architecture, training, validation, config)
    with _new_model(model, target, work, report) as folder:
        save_network(student, architecture, folder)
    return report


def _cut(student: Any, teacher: Any, training: Rows, config: Config) -> None:
    if config.method == "unstructured":
        mask_smallest(student, config.sparsity)
        return
    batches = islice(_batches(teacher, training, config), config.importance_batches)
    importance = measure_importance(teacher, track(batches, "importance", config.importance_batches, "batches"))
    remove(student, importance, config.heads_kept, config.neurons_kept)


def _batches(teacher: Any, training: Rows, config: Config) -> Iterator[Batch]:
    device: torch.device = next(teacher.parameters()).device
    return training.batches(config.batch_rows, config.seed, device)


def _recover(student: Any, teacher: Any, training: Rows, validation: Rows, config: Config) -> list[Epoch]:
    lesson = lesson_of(teacher, training, features=config.features > 0)
    freeze_embeddings(student)
    return distil(
        student,
        lambda batch: lesson_loss(student, lesson, batch, config),
        training,
        lambda: accuracy(student, validation, "validate"),
        config,
    )


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


def _report(
    teacher: Any, student: Any, accuracies: tuple[float, float], history: list[Epoch], config: Config
) -> Report:
    before, cut = accuracies
    latency = measure_latency(teacher, student)
    layer_sparsity = 1 - count_layer_weights(student) / count_layer_weights(teacher)
    first = layers(student)[0]
    report = Report(
        method=config.method,
        heads=first.heads,
        neurons=first.neurons,
        weights_before=sum(weight.numel() for weight in teacher.parameters()),
        weights_after=count_weights(student),
        layer_sparsity=layer_sparsity,
        latency=latency,
        accuracy_before=before,
        accuracy_cut=cut,
        accuracy_after=history[-1].validation_accuracy if history else cut,
        history=history,
        speed=speed_in_words(config.method, layer_sparsity, latency),
    )
    say(f"validation accuracy {report.accuracy_after:.3f} after the recovery; {report.speed}")
    return report


def _pass_through(model: Model, target: Path) -> Result:
    with new_folder(target) as folder:
        for name in (*model.files, DESCRIPTION):
            link_or_copy(model.path / name, folder / name)
    return Result(model.variant, model.sparsity, 0.0, 0.0, 0.0, 1.0)


def _read(rows: Dataset, model: Model) -> tuple[Rows, Rows]:
    tokenizer = Tokenizer(model)
    training, validation = (
        read_rows(rows, split, tokenizer.ids, tokenizer.pad_id) for split in ("train", "validation")
    )
    return training, validation


def _on_best_device(classifier: Any, config: Config) -> tuple[Any, int]:
    """Return ``classifier`` on the GPU if there is one, and the number of GPUs held."""
    import torch

    require_gpus(config.gpus, config.cpu_allowed)
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
