"""Store the variants of one model in one folder, each a complete model under its variant's name."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from toolchain.artifacts.digest import digest_of_content
from toolchain.artifacts.folder import link_or_copy, new_folder, read_json, write_json
from toolchain.artifacts.model import Model, ModelWriter, Signature, new_model, open_model
from toolchain.artifacts.provenance import Provenance, Work, ancestors, lineage_from_json, lineage_to_json
from toolchain.errors import ArtifactError

FORMAT = "toolchain.variants"
DESCRIPTION = "variants.json"
REFERENCE = "fp32"  # the variant with which all others are compared


@dataclass(frozen=True)
class Variants:
    """A complete set of variants on disk."""

    path: Path
    models: dict[str, Model]  # by variant, in the order they were added; always with REFERENCE
    digest: str
    lineage: tuple[Provenance, ...] = ()

    @property
    def reference(self) -> Model:
        return self.models[REFERENCE]


class VariantsWriter:
    """Variants being collected; made by ``new_variants``."""

    def __init__(self, folder: Path, work: Work) -> None:
        self.folder, self.work = folder, work
        self._names: list[str] = []

    def keep(self, model: Model) -> None:
        """Add ``model`` unchanged, by hard links where the disk supports them."""
        self._take(model.variant)
        link_or_copy(model.path, self.folder / model.variant)

    @contextmanager
    def new(self, signature: Signature, work: Work, parent: Model | None = None) -> Iterator[ModelWriter]:
        """Yield a writer of a new variant, as ``new_model`` does."""
        self._take(signature.variant)
        with new_model(self.folder / signature.variant, signature, work, parent) as writer:
            yield writer

    def describe(self) -> None:
        """Write ``variants.json``, which completes the folder."""
        models = {name: open_model(self.folder / name) for name in self._names if (self.folder / name).is_dir()}
        if REFERENCE not in models:
            raise ArtifactError(f"{self.work.step} has no {REFERENCE} variant, with which all others are compared")
        digests = {name: model.digest for name, model in models.items()}
        digest = digest_of_content(digests, "variants")
        lineage = (*ancestors(*models.values()), *self.work.finish("variants", digest)[-1:])
        value = {
            "format": FORMAT,
            "version": 1,
            "digest": digest,
            "variants": digests,
            "lineage": lineage_to_json(lineage),
        }
        write_json(self.folder / DESCRIPTION, value)

    def _take(self, name: str) -> None:
        if name in self._names:
            raise ArtifactError(f"there is a variant {name!r} already; give this one another name")
        self._names.append(name)


@contextmanager
def new_variants(target: Path, work: Work) -> Iterator[VariantsWriter]:
    """Yield a writer of the variants ``target``, which exist only after the block succeeds.

    Raises:
        ArtifactError: ``target`` exists, a name is used twice, or the reference is missing.
        StorageFullError: the disk is full.
    """
    with new_folder(target) as folder:
        writer = VariantsWriter(folder, work)
        yield writer
        writer.describe()


def open_variants(path: Path) -> Variants:
    """Return the variants at ``path``, after verifying their digests.

    Raises:
        ArtifactError: the folder is missing or has another format, or a variant is missing or was changed.
    """
    description = read_json(path / DESCRIPTION, FORMAT)
    if digest_of_content(description["variants"], "variants") != description["digest"]:
        raise ArtifactError(f"{path / DESCRIPTION} was changed after it was written; make the variants again")
    models = {name: open_model(path / name) for name in description["variants"]}
    for name, model in models.items():
        if model.digest != description["variants"][name]:
            raise ArtifactError(f"{model.path} is not the {name} that was written; make the variants again")
    return Variants(path, models, description["digest"], lineage_from_json(description["lineage"]))
