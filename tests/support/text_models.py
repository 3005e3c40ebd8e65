"""Predict with text classifiers in PyTorch, and remove heads from them."""

from typing import Any

import torch

from toolchain.frameworks.torch.text_classifier import layers, resize_linear

IDS = torch.tensor([[2, 7, 30, 31, 3], [2, 9, 3, 1, 1]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


def logits(module: Any) -> torch.Tensor:
    """Return the logits for IDS and MASK, float32 of shape (2, labels)."""
    with torch.inference_mode():
        return module(input_ids=IDS, attention_mask=MASK).logits


def remove_first_heads(module: Any) -> None:
    """Remove the first head, of 8 channels, from each layer."""
    for layer in layers(module):
        for part in (layer.query, layer.key, layer.value):
            resize_linear(part, part.weight[8:], part.bias[8:])
        resize_linear(layer.joined, layer.joined.weight[:, 8:], None)
