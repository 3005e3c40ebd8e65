"""Download a registered model's variants and their test rows from MLflow, and verify their digests."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from toolchain.artifacts.dataset import Dataset, open_dataset
from toolchain.artifacts.folder import link_or_copy, new_folder
from toolchain.artifacts.model import Model, open_model
from toolchain.artifacts.provenance import Work
from toolchain.artifacts.variants import new_variants
from toolchain.errors import ArtifactError, DataError
from toolchain.lifecycle import registry
from toolchain.progress import track
from toolchain.services.mlflow import Tracker, Version


@dataclass(frozen=True, kw_only=True)
class Config:
    model: str = ""  # Registered model: name (its last registration), name@alias or name:version; required.

    def __post_init__(self) -> None:
        registry.check_name(self.model)


@dataclass(frozen=True)
class Result:
    variants: int
    rows: int  # test rows


def run(variants: Path, dataset: Path, config: Config) -> Result:
    """Write the variants registered together as ``config.model`` to ``variants``, their test rows to ``dataset``.

    Raises:
        ArtifactError: the files in MLflow were changed.
        ConfigError: no MLflow server is configured.
        DataError: there is no such model, or it was registered without its test rows.
        ServiceError: MLflow does not respond, or rejects a request.
    """
    work = Work("release.fetch", config)
    tracker = Tracker()
    found = registry.find(tracker, config.model)
    if found is None:
        raise DataError(f"no model {config.model!r} is registered in {tracker.shown}; run a pipeline that registers it")
    if not found.tags.get(registry.TAG_ROWS):
        raise DataError(f"{config.model} was registered without its test rows; run its pipeline with keep_test_rows")
    variants.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=variants.parent, prefix=".fetched-") as folder:
        rows = _rows(tracker, found, Path(folder))
        models = [
            _model(tracker, version, Path(folder))
            for version in track(found.versions.values(), "fetch", len(found.versions), "variants")
        ]
        with new_variants(variants, work) as writer:
            for model in models:
                writer.keep(model)
        with new_folder(dataset) as kept:
            for part in rows.path.iterdir():
                link_or_copy(part, kept / part.name)
    return Result(len(models), sum(rows.rows(split) for split in rows.splits))


def _rows(tracker: Tracker, found: registry.Registration, folder: Path) -> Dataset:
    rows = open_dataset(tracker.download(found.run, registry.ROWS, folder))
    if rows.digest != found.tags[registry.TAG_ROWS]:
        raise ArtifactError(f"the test rows of {found.model} in MLflow were changed; register the model again")
    return rows


def _model(tracker: Tracker, version: Version, folder: Path) -> Model:
    model = open_model(tracker.download(version.run, version.path, folder / version.number))
    if model.digest != version.tags[registry.TAG_DIGEST]:
        raise ArtifactError(f"version {version.number} of {version.model} was changed in MLflow; register it again")
    return model
