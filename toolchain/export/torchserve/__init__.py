"""Export a model as an archive (.mar) for TorchServe, with the configuration of a server.

The archive has the model's folder and the modules of this package that predict with it: its predictions equal those of
our own server, and this package need not be installed. TorchServe is archived upstream: prefer our own server.
"""

import re
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path

from toolchain.artifacts.digest import sha256_of_file
from toolchain.artifacts.measurement import new_measurement
from toolchain.artifacts.model import Model, open_model
from toolchain.artifacts.provenance import Work
from toolchain.artifacts.variants import DESCRIPTION as VARIANTS_FILE
from toolchain.artifacts.variants import open_variants
from toolchain.errors import ConfigError, DataError
from toolchain.export.torchserve.archive import write_archive
from toolchain.inference.tasks import task_type

NAME = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9_.-]*"
)  # names that torch-model-archiver accepts (check_model_name_regex_or_exit)
VERSION = re.compile(r"\d+(\.\d+)*")
RUNTIMES = {"onnxruntime": "onnxruntime", "openvino": "openvino"}  # the package that runs a back end
STORE = "model-store"
MAX_REQUEST_BYTES = 8 * 1024**2  # an image, or many texts
PROPERTIES = """\
# Loopback only. Requests need a token; TorchServe writes the tokens to key_file.json in its working directory.
disable_token_authorization=false
inference_address=http://127.0.0.1:8080
management_address=http://127.0.0.1:8081
metrics_address=http://127.0.0.1:8082
grpc_inference_address=127.0.0.1
grpc_inference_port=7070
grpc_management_address=127.0.0.1
grpc_management_port=7071
model_store={store}
load_models={file}
# Archives are loaded from the model store only: an archive from a URL could run any code.
allowed_urls=none://.*
use_env_allowed_urls=false
# The packages in an archive's requirements.txt are installed beforehand, not by a running server.
install_py_dep_per_model=false
number_of_gpu=0
max_request_size={max_request_bytes}
"""


@dataclass(frozen=True, kw_only=True)
class Config:
    name: str = ""  # Model name in TorchServe; required.
    version: str = "1"  # Model version: numbers separated by dots.
    variant: str = ""  # Variant to serve; "": the input is a single model.
    workers: int = 1  # Number of worker processes, each with the model in its memory.
    threads: int = 1  # Threads per inference in a worker.
    batch_size: int = 8  # Maximum number of requests per batch; each row is computed alone.
    max_batch_delay_ms: int = 5  # Maximum time a request waits for a batch to fill, in milliseconds.
    response_timeout_s: int = 60  # Time after which TorchServe restarts a worker that does not respond, in seconds.

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ConfigError(f"name is {self.name!r}: TorchServe takes letters, digits, dots, dashes and underscores")
        if not VERSION.fullmatch(self.version):
            raise ConfigError(f"version is {self.version!r}: give numbers with dots between them, as in 3 or 1.2")
        minimums = {"workers": 1, "threads": 1, "batch_size": 1, "max_batch_delay_ms": 0, "response_timeout_s": 1}
        for setting, value in minimums.items():
            if getattr(self, setting) < value:
                raise ConfigError(f"{setting} is {getattr(self, setting)}: give at least {value}")


@dataclass(frozen=True)
class Result:
    file: str  # the archive's name
    size_bytes: int


def run(model: Path, archive: Path, config: Config) -> Result:
    """Write the measurement ``archive``: config.properties, and model-store/ with the .mar of ``model``.

    ``model`` is the folder of a model, or of variants with the variant ``config.variant``.

    Raises:
        ArtifactError: the input is damaged.
        ConfigError: there is no such variant, or none is given.
        DataError: it is not a classifier, or its format is not supported.
    """
    chosen = _choose(model, config.variant)
    _check(chosen)
    work = Work("export.torchserve", config, model=chosen)
    file = f"{config.name}-{config.version}.mar"
    with new_measurement(archive, "torchserve", work) as writer:
        target = writer.folder / STORE / file
        target.parent.mkdir()
        write_archive(target, chosen, config.name, config.version, _configuration(config), _requirements(chosen))
        text = PROPERTIES.format(store=STORE, file=file, max_request_bytes=MAX_REQUEST_BYTES)
        (writer.folder / "config.properties").write_text(text, encoding="utf-8")
        size = target.stat().st_size
        writer.data = {"name": config.name, "version": config.version, "file": file, "sha256": sha256_of_file(target)}
        work.metrics["size_bytes"] = size
    return Result(file, size)


def _choose(path: Path, variant: str) -> Model:
    if not (path / VARIANTS_FILE).is_file():
        model = open_model(path)
        if variant not in ("", model.variant):
            raise ConfigError(f"variant is {variant!r}, but {path} is the model {model.variant!r}: leave it out")
        return model
    models = open_variants(path).models
    if variant not in models:
        raise ConfigError(f"variant is {variant!r}: name one of {', '.join(models)}")
    return models[variant]


def _check(model: Model) -> None:
    found = model.signature
    if task_type(model).output_type.has_threshold:  # requests cannot set it
        raise DataError(f"{model.path} is a model for {found.task}; the TorchServe handler serves classifiers")
    if found.backend not in RUNTIMES:
        raise DataError(
            f"{model.path} runs on {found.backend!r}; export it first: {' or '.join(RUNTIMES)} is supported"
        )


def _configuration(config: Config) -> str:
    """Return TorchServe's configuration of the model, model-config.yaml."""
    return (
        f"minWorkers: {config.workers}\n"
        f"maxWorkers: {config.workers}\n"
        f"batchSize: {config.batch_size}\n"
        f"maxBatchDelay: {config.max_batch_delay_ms}\n"
        f"responseTimeout: {config.response_timeout_s}\n"
        f"handler:\n  threads: {config.threads}\n"
    )


def _requirements(model: Model) -> str:
    """Return the packages that the workers need, one per line, pinned to the installed versions."""
    repair = {"ftfy"} if model.signature.text_repair else set()
    names = sorted({"numpy", "pillow", "tokenizers", RUNTIMES[model.signature.backend], *repair})
    return "".join(f"{name}=={installed(name)}\n" for name in names)
