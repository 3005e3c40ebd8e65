"""The networks of each architecture, as PyTorch modules; imported only when a network is built.

A body takes normalised images, float32 (batch, channels, height, width), and returns logits (batch, classes).
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

HIDDEN = 128  # neurons of "linear": the number in every MNIST tutorial
STEM, MIDDLE, WIDE = 32, 64, 96  # channels of "cnn": multiples of 16, which CPUs compute in blocks; 195 k weights
STEM_SIZE = 40  # pixels of the shorter side up to which "cnn" reads an image at its full size


class Network(nn.Module):
    """A body behind its own preprocessing: uint8 (batch, height, width, channels) in, float32 (batch, classes) out."""

    scale: Tensor
    offset: Tensor

    def __init__(self, body: nn.Module, mean: Sequence[float], deviation: Sequence[float]) -> None:
        super().__init__()
        spread = torch.tensor(deviation, dtype=torch.float32).reshape(1, -1, 1, 1)
        middle = torch.tensor(mean, dtype=torch.float32).reshape(1, -1, 1, 1)
        self.register_buffer("scale", 1 / (255 * spread), persistent=False)  # stored in the architecture
        self.register_buffer("offset", -middle / spread, persistent=False)
        self.body = body

    def forward(self, image: Tensor) -> Tensor:
        pixels = image.permute(0, 3, 1, 2).float()  # a view: channels stay last in memory, where they compute fastest
        logits: Tensor = self.body(pixels * self.scale + self.offset)
        return logits.float()


def linear(classes: int, channels: int, height: int, width: int) -> nn.Module:
    """Return the network of MNIST tutorials: one hidden layer over all pixels."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(channels * height * width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, classes)
    )


def compact(classes: int, channels: int, height: int, width: int) -> nn.Module:
    """Return a CNN of five convolutions, each with normalisation and ReLU, which runtimes fuse into one operation.

    Images whose shorter side is above STEM_SIZE are halved first, by additional convolutions.
    """
    halvings = max(0, math.ceil(math.log2(min(height, width) / STEM_SIZE)))
    blocks = [_block(channels, STEM, 1 if halvings == 0 else 2)]
    blocks += [_block(STEM, STEM, 2) for _ in range(halvings - 1)]
    blocks += [_block(STEM, MIDDLE, 2), _block(MIDDLE, MIDDLE, 1), _block(MIDDLE, WIDE, 2), _block(WIDE, WIDE, 1)]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDE, classes))


def from_torchvision(name: str, classes: int) -> nn.Module:
    from torchvision import models

    body: nn.Module = models.get_model(name, weights=None, num_classes=classes)
    return body


def from_timm(name: str, classes: int, height: int, width: int) -> nn.Module:
    import timm

    settings: dict[str, Any] = {"pretrained": False, "num_classes": classes}
    try:
        body: nn.Module = timm.create_model(name, img_size=(height, width), **settings)  # vision transformers
    except TypeError:  # a convolutional network, which takes any size
        body = timm.create_model(name, **settings)
    return body


def _block(inputs: int, outputs: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )
