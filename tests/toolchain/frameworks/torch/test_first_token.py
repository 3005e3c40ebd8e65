from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from toolchain.artifacts.model import open_model
from toolchain.frameworks.torch.first_token import read_every_token, read_first_token_only
from toolchain.frameworks.torch.text_classifier import layers, load_classifier, resize_linear

IDS = torch.tensor([[2, 7, 30, 31, 3], [2, 9, 3, 1, 1]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


def logits(module: Any) -> torch.Tensor:
    with torch.inference_mode():
        return module(input_ids=IDS, attention_mask=MASK).logits


def cut(module: Any) -> None:
    """Take the first head from each layer."""
    for layer in layers(module):
        for part in (layer.query, layer.key, layer.value):
            resize_linear(part, part.weight[8:], part.bias[8:])
        resize_linear(layer.joined, layer.joined.weight[:, 8:], None)


@pytest.mark.parametrize("family", ["bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta"])
def test_the_first_token_alone_gives_the_same_logits(family: str, make_classifier: Callable[..., Path]):
    module = load_classifier(open_model(make_classifier(family)))
    expected = logits(module)
    cut(module)
    expected_of_fewer_heads = logits(module)
    read_first_token_only(module)
    assert torch.allclose(logits(module), expected_of_fewer_heads, atol=1e-5)
    assert not torch.allclose(logits(module), expected, atol=1e-3)
    read_every_token(module)
    assert torch.equal(logits(module), expected_of_fewer_heads)
