"""Augmentation of a training batch: horizontal flips, mixup and CutMix."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Mixed:
    """Images, each mixed with another one of the batch."""

    images: "Tensor"  # uint8, or float32 0..255 where values were mixed; (rows, height, width, channels)
    labels: "Tensor"  # int64 (rows,)
    others: "Tensor"  # int64 (rows,), of the images mixed in
    share: float  # of ``labels``, 0..1


def mix(images: "Tensor", labels: "Tensor", mixup: float, cutmix: float, rng: np.random.Generator) -> Mixed:
    """Return each of ``images`` mixed with another one of them; unchanged if both strengths are 0.

    ``mixup`` and ``cutmix`` are the parameter of the Beta distribution that the share is drawn from (0: not used; with
    both, each batch uses one of them). Mixup: Zhang et al. 2018 (arXiv 1710.09412); CutMix: Yun et al. 2019
    (arXiv 1905.04899).
    """
    import torch

    if not (mixup or cutmix):
        return Mixed(images, labels, labels, 1.0)
    order = torch.from_numpy(rng.permutation(len(labels))).to(labels.device)
    use_cutmix = bool(cutmix) and (not mixup or rng.random() < 0.5)
    strength = cutmix if use_cutmix else mixup
    share = float(rng.beta(strength, strength))
    if not use_cutmix:
        blended = share * images.float() + (1 - share) * images[order].float()
        return Mixed(blended, labels, labels[order], share)
    rows, columns = patch(images.shape[1], images.shape[2], 1 - share, rng)
    pasted = images.clone()
    pasted[:, rows, columns] = images[order][:, rows, columns]
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    return Mixed(pasted, labels, labels[order], 1 - area / (images.shape[1] * images.shape[2]))


def patch(height: int, width: int, share: float, rng: np.random.Generator) -> tuple[slice, slice]:
    """Return the rows and columns of a random patch of an image that covers at most ``share`` (0..1) of it."""
    spans = []
    for size in (height, width):
        half, middle = size * np.sqrt(share) / 2, rng.uniform(0, size)
        spans.append(slice(round(max(0.0, middle - half)), round(min(float(size), middle + half))))
    return spans[0], spans[1]


def flip_half(images: "torch.Tensor", rng: np.random.Generator) -> "torch.Tensor":
    """Return ``images``, (rows, height, width, channels), about half of them flipped from left to right."""
    import torch

    chosen = torch.from_numpy(rng.random(len(images)) < 0.5).to(images.device)
    return torch.where(chosen[:, None, None, None], images.flip(2), images)
