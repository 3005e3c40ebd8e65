"""Train: a detector that finds objects in pictures, from weights of a whole one, of a backbone, or from scratch."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.artifacts.dataset import Dataset, open_dataset
from toolchain.artifacts.model import Signature, new_model
from toolchain.artifacts.provenance import Work
from toolchain.errors import ConfigError, DataError, TrainingError
from toolchain.frameworks.length_batches import count_batches, single_refused
from toolchain.frameworks.torch.checkpoint import Checkpoint, checkpoint_of
from toolchain.frameworks.torch.detector import LITE0, WEIGHTS, Architecture, build_detector, save_detector
from toolchain.frameworks.torch.device import Place, check_gpus, joined_place, require_gpus
from toolchain.frameworks.torch.weights import Weights
from toolchain.progress import Progress, log_info
from toolchain.services.mlflow import live_run
from toolchain.train.torch_detector.loop import State, Training, Watch, validate
from toolchain.train.torch_detector.pictures import Pictures, read_pictures
from toolchain.train.torch_detector.weights import find_weights, load_weights

if TYPE_CHECKING:
    from toolchain.frameworks.torch.detector.parts import Detector

STEP = "train.torch_detector"
CODE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Config:
    base: str = LITE0  # a small FCOS on EfficientNet-Lite0, or a single-stage detector of torchvision by its name
    weights: str = "backbone"  # "" none; "backbone" ImageNet's, "pretrained" COCO's; or a file: path, package:, s3://
    weights_digest: str = ""  # SHA-256 of the file; "" takes what is there (that of the default is pinned)
    size: int = 384  # pixels of each side, a multiple of 32: near the tiles' 400, so that small objects stay whole
    epochs: int = 18  # passes over the training pictures
    batch_rows: int = 4  # pictures of one step: they hold tens of boxes each
    learning_rate: float = 1e-3  # at its peak, of AdamW
    warmup: float = 0.1  # share of all steps in which the rate rises, 0..1; then it falls in a line to 0
    weight_decay: float = 0.01  # of matrices
    gradient_norm: float = 1.0  # longer gradients are cut to this length
    freeze: int = 2  # lowest stages of a backbone with given weights that stay as they are: edges look alike everywhere
    mirror: float = 0.5  # share of pictures whose left and right are swapped; 0 where that changes what is to be seen
    lowest_score: float = 0.05  # 0..1: boxes below are never answered
    overlap: float = 0.5  # 0..1: of two boxes of one class that share more (IoU), the better stays
    most: int = 300  # boxes answered for a picture, the best ones
    patience: int = 8  # epochs without a better validation accuracy after which training ends
    checkpoint_batches: int = 50  # batches between two checkpoints: on a CPU about a minute that a kill may cost
    gpus: int = 0  # that must be there, 0 or 1; 0 takes what there is
    cpu_allowed: bool = False  # whether to go on with the CPU where the GPU asked for is not there
    seed: int = 0  # of new layers, the order of pictures, and which are mirrored

    def __post_init__(self) -> None:
        check_gpus(self.gpus)
        self.architecture(classes=1)
        for name in ("epochs", "batch_rows", "patience", "checkpoint_batches"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be 1 or more, got {getattr(self, name)}")
        for name in ("learning_rate", "gradient_norm"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} must be above 0 and finite, got {getattr(self, name)}")
        for name in ("warmup", "weight_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must be from 0 to below 1, got {getattr(self, name)}")
        if not 0 <= self.mirror <= 1:
            raise ConfigError(f"mirror must be a share from 0 to 1, got {self.mirror}")
        for name in ("freeze", "seed"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be 0 or more, got {getattr(self, name)}")

    def architecture(self, classes: int) -> Architecture:
        """Return what is trained, for ``classes`` kinds of objects."""
        own = {name: getattr(self, name) for name in ("base", "size", "lowest_score", "overlap", "most")}
        return Architecture(classes=classes, **own)


@dataclass(frozen=True)
class Result:
    validation_accuracy: float  # mAP50 of the epoch whose weights were kept, 0..1
    untrained_accuracy: float  # mAP50 on the same pictures before the first step
    loss: float  # mean of the training batches in that epoch
    epochs: int  # done
    pictures_per_second: float


def train(
    detector: "Detector",
    training: Pictures,
    validation: Pictures,
    config: Config,
    place: Place,
    watch: Watch = lambda state, figures: None,
    checkpoint: Checkpoint | None = None,
) -> State:
    """Train ``detector`` in place; it ends with the weights of the epoch that found most of ``validation``.

    The same pictures, settings and machine give the same weights, whether training went through or was killed and went
    on from its ``checkpoint``. ``watch`` is told how far it has come.

    Raises:
        ConfigError: batches are of one picture, and the architecture cannot normalise a single one.
        TrainingError: the loss is no number any more, or the GPU's memory is full.
    """
    import torch

    try:
        with single_refused(config.base):
            return Training(detector, training, validation, config, place).run(watch, checkpoint)
    except torch.OutOfMemoryError as error:
        size = f"{config.size} x {config.size}"
        raise TrainingError(
            f"the GPU's memory does not hold {config.batch_rows} pictures of {size} pixels; lower batch_rows or size"
        ) from error


def run(dataset: Path, model: Path, config: Config) -> Result:
    """Train ``config.base`` on the training split of ``dataset`` and write it to ``model``.

    Raises:
        ArtifactError: the dataset or the weights are not whole or of another architecture, or ``model`` is there.
        ConfigError: there are no such weights, or more stages are to be frozen than there are.
        DataError: a split is empty, no training picture has an object, or an object has no area or an unknown label.
        ServiceError: the server of the weights does not answer.
        StorageFullError: the disk is full.
        TrainingError: the loss is no number any more, or the GPU's memory is full.
    """
    rows = open_dataset(dataset)
    work = Work(STEP, config, dataset=rows)
    if not rows.labels:
        raise DataError(f"{rows.path} has no label names; the annotations name them, read these again")
    weights = find_weights(config.base, config.weights, config.weights_digest)
    work.source = {"uri": weights.uri, "sha256": weights.sha256} if weights.uri else {}
    require_gpus(config.gpus, config.cpu_allowed)
    with joined_place() as place:
        if place.world > 1:
            raise ConfigError(f"torchrun started {place.world} processes; detectors are trained in one")
        work.gpus = place.gpus
        return _train(rows, weights, model, config, place, work)


def _train(rows: Dataset, weights: Weights, target: Path, config: Config, place: Place, work: Work) -> Result:
    import torch

    torch.manual_seed(config.seed)  # draws new layers
    detector = build_detector(config.architecture(len(rows.labels)))  # before pictures are read: it may be refused
    new = load_weights(detector.network, weights)
    if weights.tensors:
        freeze(detector, config.freeze)
    training, validation = (read_pictures(rows, split, config.size) for split in ("train", "validation"))
    if not sum((~picture.objects.crowd).sum() for picture in training.pictures):
        raise DataError(f"{rows.path}: no picture of the training split has an object; there is nothing to learn")
    untrained, _ = validate(detector.to(place.device), validation, place)
    log_info(f"before training, mAP50 on {len(validation)} validation pictures is {untrained:.4f}")
    checkpoint = checkpoint_of(
        CODE,
        dataset=rows.digest,
        weights=weights.sha256 or weights.uri,
        config=asdict(config),
        place=place.identity(),
        torch=torch.__version__,
    )
    with _watched(config, len(training), place) as watch:
        state = train(detector, training, validation, config, place, watch, checkpoint)
    note = {**_figures(state, detector, place), "untrained_accuracy": untrained, "new_layers": new}
    _save(detector, target, _signature(rows, detector), work, note)
    checkpoint.remove()
    return Result(
        validation_accuracy=state.best["validation_accuracy"],
        untrained_accuracy=untrained,
        loss=state.best["loss"],
        epochs=len(state.history),
        pictures_per_second=state.pictures_per_second,
    )


def freeze(detector: "Detector", count: int) -> None:
    """Keep the lowest ``count`` stages of the backbone, and the statistics of their norms, from being trained.

    Raises:
        ConfigError: the backbone has no more than ``count`` stages.
    """
    from toolchain.frameworks.torch.detector.parts import stages

    found = stages(detector.network)
    if found and count >= len(found):
        raise ConfigError(f"freeze is {count}, but the backbone has {len(found)} stages and one must learn")
    for part in (part for stage in found[:count] for part in stage):
        part.requires_grad_(False)


@contextmanager
def _watched(config: Config, pictures: int, place: Place) -> Iterator[Watch]:
    """Yield what shows training to people: by a bar or lines, and in MLflow."""
    batches = count_batches(pictures, config.batch_rows) * config.epochs
    log_info(f"training on {pictures:,} pictures: {batches:,} batches in {config.epochs} epochs, {place.name()}")
    with live_run(STEP, asdict(config)) as live, Progress("train", batches, "batches") as progress:

        def watch(state: State, figures: Mapping[str, float]) -> None:
            progress.advance(state.step - progress.done, **figures)
            live.log(state.step, **figures)

        yield watch


def _save(detector: "Detector", target: Path, signature: Signature, work: Work, note: dict[str, Any]) -> None:
    work.metrics |= {name: float(value) for name, value in note.items() if isinstance(value, float | int)}
    with new_model(target, signature, work) as writer:
        save_detector(detector, writer.folder)
        writer.note(note)


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


def _figures(state: State, detector: "Detector", place: Place) -> dict[str, Any]:
    return {
        "validation_accuracy": state.best["validation_accuracy"],
        "threshold": state.best["threshold"],
        "loss": state.best["loss"],
        "best_epoch": state.best["epoch"],
        "epochs": len(state.history),
        "pictures_per_second": round(state.pictures_per_second, 2),
        "parameters": sum(weight.numel() for weight in detector.parameters()),
        "history": state.history,
        "device": place.name(),
    }
