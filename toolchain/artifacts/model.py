"""Model: a folder in its framework's format, with ``model.json`` and all files that inference needs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from toolchain.artifacts.digest import digest_files, digest_of_content
from toolchain.artifacts.folder import link_or_copy, new_folder, read_json, write_json
from toolchain.artifacts.provenance import Provenance, Work, lineage_from_json, lineage_to_json
from toolchain.errors import ArtifactError
from toolchain.redaction import redacted

FORMAT = "toolchain.model"
DESCRIPTION = "model.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json")


@dataclass(frozen=True)
class Tensor:
    """One input or output of a model."""

    name: str
    dtype: str  # as NumPy names it: "int64"
    shape: tuple[str | int, ...]  # a name for a dynamic axis: ("batch", "tokens")


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The task, back end and inputs of a model: all that its digest depends on besides its files."""

    task: str  # "text-classification"
    framework: str  # of the files: "pytorch", "onnx" or "openvino"
    variant: str  # "fp32", "pruned", "int8-dynamic", ...: a file name's letters, unique among a model's variants
    backend: str  # the runtime: "pytorch", "onnxruntime" or "openvino"
    weights: str  # the file that is loaded, relative to the folder: "model.onnx"
    origin: str = ""  # the variant whose predictions it must match ("fp32" for its INT8); "" when trained separately
    labels: tuple[str, ...] = ()  # class names by output position
    max_tokens: int = 128  # longer texts are cut there, special tokens included
    text_repair: str = ""  # toolchain.text_repair.VERSION if texts are repaired before the tokenizer; "": not repaired
    positions: int = 0  # tokens that the weights have positions for, max_tokens or more; 0: no such limit
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Model:
    """A complete model on disk."""

    path: Path
    signature: Signature
    digest: str
    files: dict[str, str]  # SHA-256 by file name
    size_bytes: int  # of the weights, with the files that belong to them (external data)
    sparsity: float = 0.0  # share of the original's weights that are removed or zero, 0..1
    notes: dict[str, Any] = field(default_factory=dict)  # of steps, for the report, by step; inherited
    lineage: tuple[Provenance, ...] = ()

    @property
    def variant(self) -> str:
        return self.signature.variant

    @property
    def weights(self) -> Path:
        """The file that is loaded."""
        return self.path / self.signature.weights


class ModelWriter:
    """A model being written: put its files in ``folder``; made by ``new_model``."""

    def __init__(self, folder: Path, signature: Signature, work: Work, parent: Model | None) -> None:
        self.folder, self.signature, self.work = folder, signature, work
        self.sparsity = parent.sparsity if parent else 0.0
        self.notes: dict[str, Any] = dict(parent.notes) if parent else {}

    def note(self, value: object) -> None:
        """Record ``value`` (JSON) under this step's name, for the report."""
        self.notes[self.work.step] = redacted(value)

    def keep(self, model: Model, *names: str) -> None:
        """Copy those of ``names`` that ``model`` has, for example its tokenizer."""
        for name in names:
            if (model.path / name).is_file():
                link_or_copy(model.path / name, self.folder / name)

    def describe(self) -> None:
        """Write ``model.json``, after which the folder is a model."""
        names = [
            str(p.relative_to(self.folder)) for p in self.folder.rglob("*") if p.is_file() and p.name != DESCRIPTION
        ]
        if self.signature.weights not in names:
            raise ArtifactError(f"{self.work.step} wrote no {self.signature.weights}: the model has no weights")
        files = digest_files(self.folder, names)
        digest = digest_of_content(files, asdict(self.signature))
        description = {
            "format": FORMAT,
            "version": 1,
            "digest": digest,
            **asdict(self.signature),
            "files": files,
            "size_bytes": _weight_bytes(self.folder, self.signature.weights),
            "sparsity": self.sparsity,
            "notes": self.notes,
            "lineage": lineage_to_json(self.work.finish("model", digest)),
        }
        write_json(self.folder / DESCRIPTION, description)


@contextmanager
def new_model(target: Path, signature: Signature, work: Work, parent: Model | None = None) -> Iterator[ModelWriter]:
    """Yield a writer of the model ``target``, which exists only after the block succeeds.

    Sparsity and notes of ``parent`` are inherited.

    Raises:
        ArtifactError: ``target`` exists, or the weights were not written.
        StorageFullError: the disk is full.
    """
    with new_folder(target) as folder:
        writer = ModelWriter(folder, signature, work, parent)
        yield writer
        writer.describe()


def open_model(path: Path) -> Model:
    """Return the model at ``path``, after verifying its files.

    Raises:
        ArtifactError: the folder is missing, is no model, or a file is missing or was changed.
    """
    description = read_json(path / DESCRIPTION, FORMAT)
    _check_files(path, description["files"])
    _check_description(path, description)
    return Model(
        path=path,
        signature=_signature(description),
        digest=description["digest"],
        files=description["files"],
        size_bytes=description["size_bytes"],
        sparsity=description["sparsity"],
        notes=description["notes"],
        lineage=lineage_from_json(description["lineage"]),
    )


def require(model: Model, task: str, framework: str) -> None:
    """Raise ArtifactError unless ``model`` is for ``task``, in ``framework``, and has its tokenizer."""
    found = model.signature
    if found.task != task:
        raise ArtifactError(f"{model.path} is a model for {found.task}, this step needs one for {task}")
    if found.framework != framework:
        raise ArtifactError(f"{model.path} is in {found.framework} format, this step needs {framework}")
    reads_tokens = any(tensor.name == "input_ids" for tensor in found.inputs)
    if reads_tokens and not (model.path / "tokenizer.json").is_file():
        raise ArtifactError(f"{model.path} has no tokenizer.json; save the tokenizer with the weights")


def _signature(description: dict[str, Any]) -> Signature:
    known = {key: description[key] for key in Signature.__dataclass_fields__ if key in description}
    for side in ("inputs", "outputs"):
        known[side] = tuple(Tensor(t["name"], t["dtype"], tuple(t["shape"])) for t in description[side])
    return Signature(**{**known, "labels": tuple(description["labels"])})


def _check_files(path: Path, files: dict[str, str]) -> None:
    missing = [name for name in files if not (path / name).is_file()]
    if missing:
        raise ArtifactError(f"{path} is incomplete: {', '.join(missing)} missing; make the model again")
    changed = [name for name, digest in digest_files(path, files).items() if digest != files[name]]
    if changed:
        raise ArtifactError(f"{path} was changed after it was written: {', '.join(changed)}; make the model again")


def _check_description(path: Path, description: dict[str, Any]) -> None:
    signature = {key: description[key] for key in Signature.__dataclass_fields__ if key in description}
    if digest_of_content(description["files"], signature) != description["digest"]:
        raise ArtifactError(f"{path / DESCRIPTION} was changed after it was written; make the model again")


def _weight_bytes(folder: Path, weights: str) -> int:
    stem = folder / Path(weights).with_suffix("")
    others = [stem.with_suffix(".bin"), folder / (weights + ".data")]  # OpenVINO's weights; ONNX external data
    return sum(file.stat().st_size for file in (folder / weights, *others) if file.is_file())
