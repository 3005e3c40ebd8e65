from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.support.text_models import logits, remove_first_heads
from toolchain.artifacts.model import open_model
from toolchain.frameworks.torch.first_token import read_every_token, read_first_token_only
from toolchain.frameworks.torch.text_classifier import load_classifier


@pytest.mark.parametrize("family", ["bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta"])
def test_the_first_token_alone_gives_the_same_logits(family: str, make_classifier: Callable[..., Path]):
    module = load_classifier(open_model(make_classifier(family)))
    expected = logits(module)
    remove_first_heads(module)
    expected_of_fewer_heads = logits(module)
    read_first_token_only(module)
    assert torch.allclose(logits(module), expected_of_fewer_heads, atol=1e-5)
    assert not torch.allclose(logits(module), expected, atol=1e-3)
    read_every_token(module)
    assert torch.equal(logits(module), expected_of_fewer_heads)
