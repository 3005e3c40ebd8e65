"""Image batches, loss and metric for the training loop: augmented images, cross-entropy, accuracy."""

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from toolchain.frameworks.learning_rate import cosine_decay
from toolchain.frameworks.torch.device import TrainingDevice
from toolchain.frameworks.torch.image_dataset import Batch, ImageDataset
from toolchain.frameworks.torch.loop import BatchLoss, Learner, adamw
from toolchain.frameworks.training_state import Scores, epoch_seed
from toolchain.progress import track
from toolchain.train.torch_image.mixing import flip_half, mix

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import Module
    from torch.nn.modules.batchnorm import _BatchNorm

    from toolchain.train.torch_image import Config

VALIDATION_FACTOR = 4  # validation rows at once for each row of a training batch: no gradients are held


def image_learner(
    network: "Module",
    head: str,
    training: ImageDataset,
    validation: ImageDataset,
    config: "Config",
    device: TrainingDevice,
) -> Learner:
    """Return the learner of ``network`` for the training loop; only the layer ``head`` is trained in frozen epochs."""
    import torch

    network.to(device.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = copy.deepcopy(network) if config.ema_decay else None
    trained = dict(network.named_parameters())
    classes = len(network.get_submodule(head).weight)  # type: ignore[arg-type]  # a layer's, which is a tensor

    def batches(epoch: int) -> list[list[int]]:
        set_frozen(network, head, epoch < config.freeze_backbone_epochs)
        return training.shuffled(config.batch_size, epoch_seed(config.seed, epoch))

    def after_step(step: int) -> None:
        if averaged:
            update_average(averaged, network, config.ema_decay, step)

    return Learner(
        model=network,
        trained=trained,
        optimizer=adamw(trained, config.learning_rate, config.weight_decay),
        batches=batches,
        batches_per_epoch=training.count_batches(config.batch_size),
        loss=ImageLoss(
            network=torch.compile(network) if config.torch_compile else network,
            training=training,
            class_weights=balanced(training, classes, device) if config.class_weights == "balanced" else None,
            norms=[] if config.weights else _norms(network),
            config=config,
            device=device,
        ),
        validate=lambda: validate(averaged or network, validation, config.batch_size * VALIDATION_FACTOR, device),
        unit="images",
        decay=cosine_decay,
        averaged=averaged,
        after_step=after_step,
    )


@dataclass(frozen=True, kw_only=True)
class ImageLoss:
    """The mean cross-entropy of a batch, flipped and mixed by the settings."""

    network: Any
    training: ImageDataset
    class_weights: "Tensor | None"  # float32 (classes,)
    norms: "list[tuple[_BatchNorm, float]]"  # with their momentum
    config: "Config"
    device: TrainingDevice

    def __call__(self, positions: list[int], step: int) -> BatchLoss:
        for layer, momentum in self.norms:  # a plain mean at first: the initial value would outweigh few batches
            layer.momentum = max(momentum, 1 / (step + 1))
        loss = self._mean(self.training.batch(positions, self.device.device), step)
        return BatchLoss(loss, len(positions), len(positions))

    def _mean(self, batch: Batch, step: int) -> "Tensor":
        from torch.nn.functional import cross_entropy

        rng, config = np.random.default_rng((self.config.seed, step)), self.config
        images = flip_half(batch.images, rng) if config.horizontal_flip else batch.images
        mixed = mix(images, batch.labels, config.mixup, config.cutmix, rng)
        with self.device.autocast():
            logits = self.network(mixed.images)
        losses = [
            share * cross_entropy(logits, labels, self.class_weights, label_smoothing=config.label_smoothing)
            for labels, share in ((mixed.labels, mixed.share), (mixed.others, 1 - mixed.share))
            if share > 0
        ]
        return sum(losses[1:], losses[0])


def set_frozen(network: "Module", head: str, frozen: bool) -> None:
    """Make the whole network trainable, or only its head; frozen batch norms keep their statistics."""
    import torch

    network.train()
    for weight in network.parameters():
        weight.requires_grad_(not frozen)
    network.get_submodule(head).requires_grad_(True)
    if frozen:
        for layer in network.modules():
            if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
                layer.eval()


def update_average(averaged: "Module", network: "Module", decay: float, step: int) -> None:
    """Move ``averaged`` a little towards ``network``; more at the start, when it is far off."""
    import torch

    ramped = min(decay, (1 + step) / (10 + step))  # as TensorFlow ramps it up
    with torch.no_grad():
        for mean, value in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - ramped)
            else:
                mean.copy_(value)


def validate(network: "Module", validation: ImageDataset, batch_size: int, device: TrainingDevice) -> Scores:
    """Return the accuracy and the mean cross-entropy of ``network``."""
    import torch
    from torch.nn.functional import cross_entropy

    network.eval()
    sums = torch.zeros(2, dtype=torch.float64, device=device.device)
    batches = validation.batches(batch_size, None, device.device)
    for batch in track(batches, "validate", validation.count_batches(batch_size), "batches"):
        with torch.inference_mode(), device.autocast():
            logits = network(batch.images)
        correct = (logits.argmax(1) == batch.labels).sum()
        sums += torch.stack([correct.double(), cross_entropy(logits, batch.labels, reduction="sum").double()])
    accuracy, loss = (sums / len(validation)).tolist()
    return {"validation_accuracy": accuracy, "validation_loss": loss}


def balanced(training: ImageDataset, classes: int, device: TrainingDevice) -> "torch.Tensor":
    """Return the weight of each class: the rarer the class, the higher; float32 (classes,)."""
    import torch

    counts = np.bincount(training.labels, minlength=classes)
    found = len(training) / (np.count_nonzero(counts) * np.maximum(counts, 1))  # as scikit-learn's "balanced"
    return torch.tensor(found, dtype=torch.float32, device=device.device)


def _norms(network: "Module") -> "list[tuple[_BatchNorm, float]]":
    """Return the layers that keep a moving mean of their inputs, each with a new batch's share in it."""
    import torch

    layers = [layer for layer in network.modules() if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm)]
    return [(layer, layer.momentum) for layer in layers if layer.momentum is not None]
