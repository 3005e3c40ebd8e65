"""Detector batches, loss and metric for the training loop: images with boxes, the detector's own loss, mAP50."""

import math
from typing import TYPE_CHECKING

import numpy as np

from toolchain.frameworks.length_batches import count_batches, even_batches
from toolchain.frameworks.torch.device import TrainingDevice
from toolchain.frameworks.torch.loop import BatchLoss, Learner, adamw
from toolchain.frameworks.training_state import Scores, epoch_seed
from toolchain.metrics.detections import Detections, detections_of, stretch
from toolchain.metrics.detections.matching import ALL, OVERLAPS, average_precision, best_threshold, match, mean
from toolchain.progress import track
from toolchain.train.torch_detector.images import DetectionImages

if TYPE_CHECKING:
    from toolchain.frameworks.torch.detector.parts import Detector
    from toolchain.train.torch_detector import Config


def detector_learner(
    detector: "Detector",
    training: DetectionImages,
    validation: DetectionImages,
    config: "Config",
    device: TrainingDevice,
) -> Learner:
    """Return the learner of ``detector`` for the training loop."""
    detector.to(device.device)
    trained = {name: weight for name, weight in detector.named_parameters() if weight.requires_grad}
    per_epoch = count_batches(len(training), config.batch_size)

    def batches(epoch: int) -> list[list[int]]:
        set_training_mode(detector)
        order = np.random.default_rng(epoch_seed(config.seed, epoch)).permutation(len(training)).tolist()
        return even_batches(order, config.batch_size)

    def loss(positions: list[int], step: int) -> BatchLoss:
        random = np.random.default_rng((config.seed, step // per_epoch, *positions))
        flipped = (random.random(len(positions)) < config.horizontal_flip).tolist()
        images, targets = training.batch(positions, flipped, device.device)
        with device.autocast():
            return BatchLoss(detector.losses(images, targets), 1, len(positions))

    return Learner(
        model=detector,
        trained=trained,
        optimizer=adamw(trained, config.learning_rate, config.weight_decay, fused=False),  # as measured in the docs
        batches=batches,
        batches_per_epoch=per_epoch,
        loss=loss,
        validate=lambda: validate(detector, validation, device),
        unit="images",
    )


def validate(detector: "Detector", images: DetectionImages, device: TrainingDevice) -> Scores:
    """Return mAP50 of ``detector`` on ``images``, 0..1, and the score at which its F1 is highest."""
    positions = track(range(len(images)), "validate", len(images), "images")
    found = [_detect(detector, images, position, device) for position in positions]
    truth = [annotated.objects for annotated in images.annotations]
    matched = match(found, truth, detector.architecture.classes, OVERLAPS[:1])[ALL]
    accuracy = float(mean(average_precision(matched, np.ones((1, len(truth)))))[0])
    accuracy = 0.0 if math.isnan(accuracy) else accuracy
    return {"validation_accuracy": accuracy, "threshold": best_threshold(matched)}


def set_training_mode(detector: "Detector") -> None:
    """Put ``detector`` in training mode; batch norms with frozen weights keep their statistics too."""
    import torch

    detector.train()
    for module in detector.modules():
        if isinstance(module, torch.nn.BatchNorm2d) and not module.weight.requires_grad:
            module.eval()


def _detect(detector: "Detector", images: DetectionImages, position: int, device: TrainingDevice) -> Detections:
    import torch

    detector.eval()
    with torch.inference_mode(), device.autocast():
        boxes, scores, labels = (part.cpu().numpy() for part in detector(images.image(position, device.device)))
    annotated, size = images.annotations[position], images.size
    return detections_of(stretch(boxes, (size, size), (annotated.width, annotated.height)), scores, labels)
