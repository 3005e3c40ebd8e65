"""Train an image classifier, from random or pretrained weights."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toolchain.artifacts.dataset import Dataset, open_dataset
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
from toolchain.frameworks.torch.image_classifier import (
    WEIGHTS,
    Architecture,
    check_name,
    head_name,
    normalisation,
    save_network,
)
from toolchain.frameworks.torch.image_dataset import ImageDataset, Shape, find_shape, read_images
from toolchain.frameworks.torch.loop import Report, TrainingLoop, live_report, training_notes
from toolchain.frameworks.torch.weights import Weights
from toolchain.frameworks.training_state import TrainingState
from toolchain.progress import log_info
from toolchain.train.torch_image.base import build, find_weights, load_weights
from toolchain.train.torch_image.loop import image_learner

if TYPE_CHECKING:
    import torch

STEP = "train.torch_image"
CLASS_WEIGHTS = ("none", "balanced")
SAMPLED_IMAGES = 2000  # of the training split, for mean and deviation: enough for an error of 1 %
MIN_DEVIATION = 1 / 255  # of identical images: one step of brightness, to avoid a division by 0


@dataclass(frozen=True, kw_only=True)
class Config:
    base_model: str = "cnn"  # Architecture: cnn, linear, efficientnet-lite0, torchvision:NAME or timm:NAME.
    # Initial weights: pretrained, or a file at a path, package:NAME/FILE, s3:// or https://; "": random.
    weights: str = ""
    weights_digest: str = ""  # Expected SHA-256 of the weights file; "": not checked (efficientnet-lite0's is pinned).
    height: int = 0  # Height of the input in pixels; 0: that of the images if all are equal, else 224.
    width: int = 0  # Width of the input in pixels; 0: that of the images if all are equal, else 224.
    channels: int = 0  # Channels of the input: 1 (gray) or 3 (color); 0: those of the images.
    epochs: int = 5  # Number of training epochs.
    batch_size: int = 128  # Batch size, 2 or more because of batch normalization.
    learning_rate: float = 3e-3  # Peak learning rate; use 1e-3 or less for pretrained weights that are not frozen.
    weight_decay: float = 0.01  # Weight decay of matrices and kernels.
    # Fraction of steps for the linear learning rate warmup, 0..1; a cosine decay to 0 follows.
    warmup_ratio: float = 0.2
    max_grad_norm: float = 1.0  # Maximum gradient norm; larger gradients are clipped.
    label_smoothing: float = 0.0  # Label smoothing, 0..1.
    # Class weights of the loss: none, or balanced (inversely proportional to class frequencies).
    class_weights: str = "none"
    mixup: float = 0.0  # Alpha of mixup, the parameter of its Beta distribution; 0: off, 0.2 is usual.
    cutmix: float = 0.0  # Alpha of CutMix, the parameter of its Beta distribution; 0: off, 1.0 is usual.
    horizontal_flip: bool = False  # Flip half of the images horizontally; not for digits, letters or sides of a body.
    # Decay of an exponential moving average of the weights, which is then saved; 0: off, 0.999 is usual.
    ema_decay: float = 0.0
    freeze_backbone_epochs: int = 0  # Number of first epochs that train only the head.
    patience: int = 3  # Epochs without a better validation accuracy before training stops.
    torch_compile: bool = False  # Compile the network with torch.compile; saves time on a GPU after some minutes.
    checkpoint_batches: int = 200  # Batches between two checkpoints.
    num_gpus: int = 0  # Number of GPUs required, 0 or 1; 0: use one if available.
    allow_cpu: bool = False  # Continue on the CPU if the required GPU is missing.
    seed: int = 0  # Random seed of the initial weights, the order of rows, mixing and dropout.

    def __post_init__(self) -> None:
        check_gpus(self.num_gpus)
        if self.class_weights not in CLASS_WEIGHTS:
            raise ConfigError(f"class_weights is {self.class_weights!r}; choose one of {', '.join(CLASS_WEIGHTS)}")
        if self.channels not in (0, 1, 3):
            raise ConfigError(f"channels must be 1 (grey), 3 (colours) or 0 (as the data), got {self.channels}")
        if self.batch_size < 2:
            raise ConfigError(f"batch_size must be 2 or more (batch normalisation), got {self.batch_size}")
        for name in ("epochs", "patience", "checkpoint_batches"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be 1 or more, got {getattr(self, name)}")
        for name in ("learning_rate", "max_grad_norm"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} must be above 0 and finite, got {getattr(self, name)}")
        for name in ("warmup_ratio", "weight_decay", "label_smoothing", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must be from 0 to below 1, got {getattr(self, name)}")
        for name in ("mixup", "cutmix", "height", "width", "freeze_backbone_epochs", "seed"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if self.freeze_backbone_epochs and not self.weights:
            raise ConfigError(
                "freeze_backbone_epochs keeps weights that know something, but weights is empty; name some"
            )


@dataclass(frozen=True)
class Result:
    validation_accuracy: float  # of the epoch whose weights were kept, 0..1
    loss: float  # mean cross-entropy of the training rows in that epoch, in nats
    epochs: int  # done
    images_per_second: float  # trained on


def train(
    network: "torch.nn.Module",
    classes: int,
    training: ImageDataset,
    validation: ImageDataset,
    config: Config,
    device: TrainingDevice,
    report: Report = lambda state, metrics: None,
    checkpoint: Checkpoint | None = None,
) -> TrainingState:
    """Train ``network``, one of ``build_network``, in place; it ends with the weights of its best epoch.

    A training that was killed resumes from its ``checkpoint``.

    Raises:
        TrainingError: the loss is NaN or infinite, or the GPU's memory is full.
    """
    head = head_name(network, classes)
    with gpu_memory_reported(f"a batch of {config.batch_size} images", "lower batch_size"):
        learner = image_learner(network, head, training, validation, config, device)
        state = TrainingLoop(learner, config, device).run(report, checkpoint)
    network.requires_grad_(True)
    return state


def run(dataset: Path, model: Path, config: Config) -> Result:
    """Train ``config.base_model`` on the training split of ``dataset`` and write it to ``model``.

    Raises:
        ArtifactError: the dataset is not whole, the weights are damaged or of another architecture, or ``model``
            exists.
        ConfigError: there is no such architecture, or no such weights, or they have another digest.
        DataError: the dataset has no labels, one class only, an empty split, or a file that is not an image.
        ServiceError: a hub or server is out of reach.
        StorageFullError: the disk is full.
        TrainingError: the loss is NaN or infinite, or the GPU's memory is full.
    """
    check_name(config.base_model)
    rows = open_dataset(dataset)
    work = Work(STEP, config, dataset=rows)
    _check_labels(rows)
    weights = find_weights(config.base_model, config.weights, config.weights_digest)
    if weights.uri:
        work.source = {"uri": weights.uri, "sha256": weights.sha256}
    shape = find_shape(rows, "train", config.height, config.width, config.channels)
    training, validation = (read_images(rows, split, shape) for split in ("train", "validation"))
    unseen = _classes_without_rows(training, rows)
    require_gpus(config.num_gpus, config.allow_cpu)
    with training_device() as device:
        work.gpus = device.gpus
        network, architecture, head = _begin(config, weights, training, shape, rows)
        identity = {"dataset": rows.digest, "weights": weights.sha256 or weights.uri, "config": asdict(config)}
        checkpoint = find_checkpoint(__name__, device, **identity)
        batches, data = training.count_batches(config.batch_size) * config.epochs, f"{len(training):,} images"
        with live_report(STEP, asdict(config), batches, data, device) as report:
            state = train(network, architecture.classes, training, validation, config, device, report, checkpoint)
        notes = training_notes(state, network, "images", device)
    notes |= {"architecture": asdict(architecture), "new_head": head, **unseen}
    _save(network, architecture, model, rows, work, notes)
    checkpoint.remove()
    best = state.best
    return Result(best["validation_accuracy"], best["loss"], len(state.history), state.items_per_second)


def _begin(
    config: Config, weights: Weights, training: ImageDataset, shape: Shape, rows: Dataset
) -> tuple["torch.nn.Module", Architecture, bool]:
    """Return the network before training, its architecture, and whether its head is new."""
    import torch

    mean, deviation = normalisation(config.base_model) or _measured(training, config.seed)
    classes = len(rows.labels)
    architecture = Architecture(config.base_model, classes, shape.channels, shape.height, shape.width, mean, deviation)
    torch.manual_seed(config.seed)  # draws the weights
    network = build(architecture)
    return network, architecture, load_weights(network, weights, classes)


def _measured(training: ImageDataset, seed: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation of each channel of the training images, of values scaled to 0..1."""
    chosen = sorted(training.order(seed)[:SAMPLED_IMAGES])
    values = training.images[chosen].reshape(-1, training.images.shape[-1]) / np.float32(255)
    mean, deviation = values.mean(0, np.float64), np.maximum(values.std(0, np.float64), MIN_DEVIATION)
    return tuple(np.round(mean, 4).tolist()), tuple(np.round(deviation, 4).tolist())


def _save(
    network: "torch.nn.Module",
    architecture: Architecture,
    target: Path,
    rows: Dataset,
    work: Work,
    notes: dict[str, Any],
) -> None:
    work.metrics |= {name: float(value) for name, value in notes.items() if isinstance(value, float | int)}
    with new_model(target, _signature(architecture, rows.labels), work) as writer:
        save_network(network.cpu(), architecture, writer.folder)
        writer.note(notes)


def _signature(architecture: Architecture, labels: tuple[str, ...]) -> Signature:
    size = (architecture.height, architecture.width, architecture.channels)
    return Signature(
        task="image-classification",
        framework="pytorch",
        variant="fp32",
        backend="pytorch",
        weights=WEIGHTS,
        labels=labels,
        inputs=(Tensor("image", "uint8", ("batch", *size)),),
        outputs=(Tensor("logits", "float32", ("batch", len(labels))),),
    )


def _check_labels(rows: Dataset) -> None:
    if len(rows.labels) < 2:
        raise DataError(
            f"{rows.path} has {len(rows.labels)} label names; a classifier needs two classes: name them when the "
            f"images are read"
        )


def _classes_without_rows(training: ImageDataset, rows: Dataset) -> dict[str, list[str]]:
    """Return, and report, the classes without training images: the network will never predict them."""
    found = set(training.labels.tolist())
    if len(found) < 2:
        raise DataError(
            f"{rows.path}: all training rows are {rows.labels[found.pop()]!r}; a classifier needs two classes"
        )
    unseen = [name for position, name in enumerate(rows.labels) if position not in found]
    if unseen:
        log_info(f"no training image has the class {', '.join(unseen)}; the network cannot learn it")
    return {"classes_without_rows": unseen} if unseen else {}
