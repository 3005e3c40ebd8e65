"""Train an object detector, from weights of a whole detector, of a backbone, or from scratch."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.artifacts.dataset import Dataset, open_dataset
from toolchain.artifacts.model import Signature, new_model
from toolchain.artifacts.provenance import Work
from toolchain.errors import ConfigError, DataError
from toolchain.frameworks.length_batches import count_batches, single_row_reported
from toolchain.frameworks.torch.checkpoint import Checkpoint, find_checkpoint
from toolchain.frameworks.torch.detector import LITE0, WEIGHTS, Architecture, build_detector, save_detector
from toolchain.frameworks.torch.device import (
    TrainingDevice,
    check_gpus,
    gpu_memory_reported,
    require_gpus,
    training_device,
)
from toolchain.frameworks.torch.loop import Report, TrainingLoop, live_report, training_notes
from toolchain.frameworks.torch.weights import Weights
from toolchain.frameworks.training_state import TrainingState
from toolchain.progress import log_info
from toolchain.train.torch_detector.images import DetectionImages, read_images
from toolchain.train.torch_detector.loop import detector_learner, validate
from toolchain.train.torch_detector.weights import find_weights, load_weights

if TYPE_CHECKING:
    from toolchain.frameworks.torch.detector.parts import Detector

STEP = "train.torch_detector"


@dataclass(frozen=True, kw_only=True)
class Config:
    base_model: str = LITE0  # Detector: fcos:efficientnet-lite0, or a single-stage detector of torchvision by its name.
    # Initial weights: backbone (ImageNet), pretrained (COCO), a file at a path, package: or s3://; "": random.
    weights: str = "backbone"
    weights_digest: str = ""  # Expected SHA-256 of the weights file; "": not checked (the default's is pinned).
    image_size: int = 384  # Width and height of the input in pixels, a multiple of 32.
    epochs: int = 18  # Number of training epochs.
    batch_size: int = 4  # Batch size; an image holds tens of boxes.
    learning_rate: float = 1e-3  # Peak learning rate of AdamW.
    # Fraction of steps for the linear learning rate warmup, 0..1; a linear decay to 0 follows.
    warmup_ratio: float = 0.1
    weight_decay: float = 0.01  # Weight decay of matrices.
    max_grad_norm: float = 1.0  # Maximum gradient norm; larger gradients are clipped.
    freeze_stages: int = 2  # Number of lowest backbone stages to freeze, if the backbone has pretrained weights.
    horizontal_flip: float = 0.5  # Probability of a horizontal flip; 0 if left and right differ in meaning.
    score_threshold: float = 0.05  # Minimum score of a predicted box, 0..1.
    nms_threshold: float = 0.5  # IoU threshold of non-maximum suppression, 0..1.
    max_detections: int = 300  # Maximum number of boxes per image.
    patience: int = 8  # Epochs without a better validation accuracy before training stops.
    checkpoint_batches: int = 50  # Batches between two checkpoints.
    num_gpus: int = 0  # Number of GPUs required, 0 or 1; 0: use one if available.
    allow_cpu: bool = False  # Continue on the CPU if the required GPU is missing.
    seed: int = 0  # Random seed of new layers, the order of images and flips.

    def __post_init__(self) -> None:
        check_gpus(self.num_gpus)
        self.architecture(classes=1)
        for name in ("epochs", "batch_size", "patience", "checkpoint_batches"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be 1 or more, got {getattr(self, name)}")
        for name in ("learning_rate", "max_grad_norm"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} must be above 0 and finite, got {getattr(self, name)}")
        for name in ("warmup_ratio", "weight_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must be from 0 to below 1, got {getattr(self, name)}")
        if not 0 <= self.horizontal_flip <= 1:
            raise ConfigError(f"horizontal_flip must be a share from 0 to 1, got {self.horizontal_flip}")
        for name in ("freeze_stages", "seed"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be 0 or more, got {getattr(self, name)}")

    def architecture(self, classes: int) -> Architecture:
        """Return the architecture of a detector for ``classes`` classes."""
        return Architecture(
            base=self.base_model,
            classes=classes,
            image_size=self.image_size,
            score_threshold=self.score_threshold,
            nms_threshold=self.nms_threshold,
            max_detections=self.max_detections,
        )


@dataclass(frozen=True)
class Result:
    validation_accuracy: float  # mAP50 of the epoch whose weights were kept, 0..1
    untrained_accuracy: float  # mAP50 on the same images before the first step
    loss: float  # mean of the training batches in that epoch
    epochs: int  # done
    images_per_second: float


def train(
    detector: "Detector",
    training: DetectionImages,
    validation: DetectionImages,
    config: Config,
    device: TrainingDevice,
    report: Report = lambda state, metrics: None,
    checkpoint: Checkpoint | None = None,
) -> TrainingState:
    """Train ``detector`` in place; it ends with the weights of its best epoch.

    A training that was killed resumes from its ``checkpoint``.

    Raises:
        ConfigError: batches hold one image, which the architecture cannot normalise.
        TrainingError: the loss is NaN or infinite, or the GPU's memory is full.
    """
    batch = f"{config.batch_size} images of {config.image_size} x {config.image_size} pixels"
    with single_row_reported(config.base_model), gpu_memory_reported(batch, "lower batch_size or image_size"):
        learner = detector_learner(detector, training, validation, config, device)
        state = TrainingLoop(learner, config, device).run(report, checkpoint)
    detector.eval()
    return state


def run(dataset: Path, model: Path, config: Config) -> Result:
    """Train ``config.base_model`` on the training split of ``dataset`` and write it to ``model``.

    Raises:
        ArtifactError: the dataset or the weights are not whole or of another architecture, or ``model`` exists.
        ConfigError: there are no such weights, or fewer stages than ``freeze_stages``.
        DataError: a split is empty, no training image has an object, or an object has no area or an unknown label.
        ServiceError: the server of the weights is out of reach.
        StorageFullError: the disk is full.
        TrainingError: the loss is NaN or infinite, or the GPU's memory is full.
    """
    rows = open_dataset(dataset)
    work = Work(STEP, config, dataset=rows)
    if not rows.labels:
        raise DataError(f"{rows.path} has no label names; the annotations name them; import them again")
    weights = find_weights(config.base_model, config.weights, config.weights_digest)
    work.source = {"uri": weights.uri, "sha256": weights.sha256} if weights.uri else {}
    require_gpus(config.num_gpus, config.allow_cpu)
    with training_device() as device:
        if device.world_size > 1:
            raise ConfigError(f"torchrun started {device.world_size} processes; detectors are trained in one")
        work.gpus = device.gpus
        return _train(rows, weights, model, config, device, work)


def _train(rows: Dataset, weights: Weights, target: Path, config: Config, device: TrainingDevice, work: Work) -> Result:
    detector, new = _begin(rows, weights, config)  # before images are read: it may be invalid
    training, validation = (read_images(rows, split, config.image_size) for split in ("train", "validation"))
    if not sum((~annotated.objects.crowd).sum() for annotated in training.annotations):
        raise DataError(f"{rows.path}: no image of the training split has an object; training needs at least one")
    untrained = validate(detector.to(device.device), validation, device)["validation_accuracy"]
    log_info(f"before training, mAP50 on {len(validation)} validation images is {untrained:.4f}")
    identity = {"dataset": rows.digest, "weights": weights.sha256 or weights.uri, "config": asdict(config)}
    checkpoint = find_checkpoint(__name__, device, **identity)
    batches, data = count_batches(len(training), config.batch_size) * config.epochs, f"{len(training):,} images"
    with live_report(STEP, asdict(config), batches, data, device) as report:
        state = train(detector, training, validation, config, device, report, checkpoint)
    notes = training_notes(state, detector, "images", device)
    notes |= {"untrained_accuracy": untrained, "new_layers": new}
    _save(detector, target, _signature(rows, detector), work, notes)
    checkpoint.remove()
    return Result(
        validation_accuracy=state.best["validation_accuracy"],
        untrained_accuracy=untrained,
        loss=state.best["loss"],
        epochs=len(state.history),
        images_per_second=state.items_per_second,
    )


def _begin(rows: Dataset, weights: Weights, config: Config) -> tuple["Detector", list[str]]:
    """Return the detector before training, and the names of its layers that start from random weights."""
    import torch

    torch.manual_seed(config.seed)  # draws new layers
    detector = build_detector(config.architecture(len(rows.labels)))
    new = load_weights(detector.network, weights)
    if weights.tensors:
        freeze_stages(detector, config.freeze_stages)
    return detector, new


def freeze_stages(detector: "Detector", count: int) -> None:
    """Freeze the lowest ``count`` stages of the backbone, with the statistics of their norms.

    Raises:
        ConfigError: the backbone has no more than ``count`` stages.
    """
    from toolchain.frameworks.torch.detector.parts import stages

    found = stages(detector.network)
    if found and count >= len(found):
        raise ConfigError(
            f"freeze_stages is {count}, but the backbone has {len(found)} stages and at least one must learn"
        )
    for part in (part for stage in found[:count] for part in stage):
        part.requires_grad_(False)


def _save(detector: "Detector", target: Path, signature: Signature, work: Work, notes: dict[str, Any]) -> None:
    work.metrics |= {name: float(value) for name, value in notes.items() if isinstance(value, float | int)}
    with new_model(target, signature, work) as writer:
        save_detector(detector, writer.folder)
        writer.note(notes)


def _signature(rows: Dataset, detector: "Detector") -> Signature:
    return Signature(
        task="object-detection",
        framework="pytorch",
        variant="fp32",
        backend="pytorch",
        weights=WEIGHTS,
        labels=rows.labels,
        inputs=detector.architecture.inputs(),
        outputs=detector.architecture.outputs(),
    )
