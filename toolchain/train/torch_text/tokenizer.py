"""The tokenizer of a checkpoint: loaded as a fast one, and checked against the numbers of the model it feeds."""

from typing import TYPE_CHECKING, Any

from toolchain.artifacts.dataset import Dataset
from toolchain.errors import ArtifactError, ConfigError, first_line
from toolchain.frameworks.torch.text_classifier import OFFSET, positions
from toolchain.frameworks.torch.token_dataset import TokenDataset, read_rows

if TYPE_CHECKING:
    from toolchain.train.torch_text.base import Base


def load_tokenizer(base: "Base", max_tokens: int) -> Any:
    """Return the tokenizer of ``base``, of Transformers, set to truncate texts to ``max_tokens`` and not to pad.

    Raises:
        ArtifactError: its files are damaged, or its tokens are not those of the model.
        ConfigError: the model has fewer positions than ``max_tokens``.
    """
    from transformers import AutoConfig, AutoTokenizer

    try:
        config = AutoConfig.from_pretrained(base.path)
    except Exception as error:  # huggingface-hub's and Transformers' checks of types have no common base
        raise ArtifactError(f"the configuration of {base.name} cannot be loaded: {first_line(error)}") from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(base.path, model_max_length=max_tokens)
    except Exception as error:  # the tokenizers library raises Exception itself for a damaged file
        raise ArtifactError(f"the tokenizer of {base.name} cannot be loaded: {first_line(error)}") from error
    _check_tokens(base.name, tokenizer, config)
    _check_positions(base.name, max_tokens, config)
    tokenizer.backend_tokenizer.enable_truncation(max_tokens)
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def read_tokens(dataset: Dataset, split: str, tokenizer: Any) -> TokenDataset:
    """Return ``split`` in the tokens of ``tokenizer``, one that ``load_tokenizer`` returned; as ``read_rows``."""

    def encode(texts: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in tokenizer.backend_tokenizer.encode_batch_fast(texts)]

    return read_rows(dataset, split, encode, tokenizer.pad_token_id)


def _check_tokens(name: str, tokenizer: Any, config: Any) -> None:
    kind = type(tokenizer).__name__
    if not tokenizer.is_fast:
        raise ArtifactError(
            f"the tokenizer of {name} ({kind}) is in Python only, and serving reads tokenizer.json; convert it to a "
            f"fast one (a tokenizers.Tokenizer saved as tokenizer.json), or take another model"
        )
    if tokenizer.pad_token_id is None:
        raise ArtifactError(
            f"the tokenizer of {name} has no padding token, without which texts cannot be batched; set pad_token in "
            f"its tokenizer_config.json"
        )
    tokens = max(tokenizer.get_vocab().values(), default=-1) + 1
    if tokens > config.vocab_size:
        raise ArtifactError(
            f"the tokenizer of {name} has {tokens} tokens, but the model has {config.vocab_size} embeddings; take the "
            f"tokenizer that it was trained with, or call resize_token_embeddings({tokens}) and save it again"
        )
    if config.model_type in OFFSET and tokenizer.pad_token_id != config.pad_token_id:
        raise ArtifactError(
            f"the padding token of {name} is {tokenizer.pad_token_id} in its tokenizer, but {config.pad_token_id} in "
            f"its config.json, from which it counts positions; correct pad_token_id or pad_token"
        )


def _check_positions(name: str, max_tokens: int, config: Any) -> None:
    known = positions(config)
    if 0 < known < max_tokens or known < 0:
        raise ConfigError(f"max_tokens is {max_tokens}, but {name} has {known} positions; lower max_tokens")
