"""Write an archive (.mar): a zip file with TorchServe's manifest, the handler, the model and the modules it needs.

The format is that of torch-model-archiver 0.12 (model_packaging_utils.py, manifest_components/), which is archived.
"""

import json
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from toolchain.artifacts.folder import disk_space_reported
from toolchain.artifacts.model import Model
from toolchain.import_closure import ROOT, import_closure

ARCHIVER = "0.12.0"  # the version of torch-model-archiver whose format this is
MANIFEST = "MAR-INF/MANIFEST.json"
HANDLER = "handler.py"
HANDLER_MODULE = (
    "toolchain.export.torchserve.handler"  # the full name, so that the import closure of this module has it
)
CONFIGURATION = "model-config.yaml"
REQUIREMENTS = "requirements.txt"
MODEL = "model"  # the folder of the model within the archive
EPOCH = (1980, 1, 1, 0, 0, 0)  # of each file, the earliest in a zip file: equal models give equal archives


def write_archive(target: Path, model: Model, name: str, version: str, configuration: str, requirements: str) -> None:
    """Write ``model`` as the archive ``target`` with the name ``name`` and the version ``version``.

    Args:
        configuration: The content of model-config.yaml.
        requirements: The content of requirements.txt: the packages that the workers need.

    Raises:
        StorageFullError: the disk is full.
    """
    texts = {
        CONFIGURATION: configuration,
        REQUIREMENTS: requirements,
        MANIFEST: _manifest(model, name, version),
    }
    with disk_space_reported(target), zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        for inner, path in _files(model):
            with path.open("rb") as source, file.open(_entry(inner), "w", force_zip64=True) as member:
                while part := source.read(1024**2):
                    member.write(part)
        for inner, text in texts.items():
            file.writestr(_entry(inner), text)


def _files(model: Model) -> Iterator[tuple[str, Path]]:
    yield HANDLER, ROOT.joinpath(*HANDLER_MODULE.split(".")).with_suffix(".py")
    for path in sorted(path for path in model.path.rglob("*") if path.is_file()):
        yield f"{MODEL}/{path.relative_to(model.path).as_posix()}", path
    for path in sorted(import_closure("toolchain.inference.predictor")):
        yield path.relative_to(ROOT).as_posix(), path


def _entry(inner: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(inner, EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


def _manifest(model: Model, name: str, version: str) -> str:
    made = model.lineage[-1].started if model.lineage else ""
    when = datetime.fromisoformat(made).astimezone(UTC) if made else datetime(*EPOCH, tzinfo=UTC)
    manifest = {
        "createdOn": when.strftime("%d/%m/%Y %H:%M:%S"),
        "runtime": "python",
        "model": {
            "modelName": name,
            "handler": HANDLER,
            "modelVersion": version,
            "requirementsFile": REQUIREMENTS,
            "configFile": CONFIGURATION,
        },
        "archiverVersion": ARCHIVER,
    }
    return json.dumps(manifest, indent=2)
