"""What this machine offers a pipeline, and what to do about what is missing."""

import importlib.util
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlparse
from urllib.request import urlopen

from pipelines.engine.settings import Settings
from toolchain.processor import describe
from toolchain.services.storage import knows_who_asks

SECONDS_TO_ANSWER = 3  # a service that is there answers at once
GIGABYTES_FOR_A_RUN = 2  # eight variants of a 90 MB model, checkpoints, datasets
FASTER_WITH = {  # instruction sets that INT8 gains from, and what their absence means
    "AVX512-VNNI": "INT8 gains less here: trust the measured verdict, or use a node that has it",
    "AMX-INT8": "needed only for the largest gains, at large batches",
}


@dataclass(frozen=True)
class Finding:
    there: bool
    name: str
    detail: str  # what it is, or what to do to get it

    def __str__(self) -> str:
        return f"{'✓' if self.there else '·'} {self.name:<14} {self.detail}"


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield a finding for each thing that a pipeline can use."""
    yield _engine(settings)
    yield _mlflow(settings)
    yield _s3()
    yield from _processor()
    yield from _gpu()
    yield _disk(settings.runs)


def _engine(settings: Settings) -> Finding:
    if not settings.endpoint:
        return Finding(True, "engine", "local; set KFP_ENDPOINT to a Kubeflow Pipelines server to submit to a cluster")
    answers = _answers(f"{settings.endpoint.rstrip('/')}/apis/v2beta1/healthz")
    told = "answers" if answers else "does not answer: check KFP_ENDPOINT and the network, or use --engine local"
    return Finding(answers, "engine", f"cluster at {settings.endpoint}, which {told}")


def _mlflow(settings: Settings) -> Finding:
    if importlib.util.find_spec("mlflow") is None:
        return Finding(False, "MLflow", "not installed: make setup")
    if settings.tracking_uri.startswith("sqlite"):
        return Finding(
            True,
            "MLflow",
            f"SQLite at {settings.mlflow_database}; make mlflow shows it; MLFLOW_TRACKING_URI names a server",
        )
    answers = _answers(f"{settings.tracking_uri.rstrip('/')}/health")
    told = "answers" if answers else "does not answer: start it, or unset MLFLOW_TRACKING_URI to use SQLite here"
    return Finding(answers, "MLflow", f"{_without_password(settings.tracking_uri)} {told}")


def _s3() -> Finding:
    if knows_who_asks():
        return Finding(True, "S3", "credentials are there: s3:// sources can be read")
    advice = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_ENDPOINT_URL for MinIO) to read s3:// sources"
    return Finding(False, "S3", f"no credentials: {advice}")


def _processor() -> Iterator[Finding]:
    processor = describe()
    yield Finding(
        True, "processor", f"{processor.name}, {processor.cores} cores; verdicts here hold for {processor.kind}"
    )
    for name, advice in FASTER_WITH.items():
        there = name in processor.instruction_sets
        yield Finding(there, name, "there" if there else f"not there: {advice}")


def _gpu() -> Iterator[Finding]:
    program = shutil.which("nvidia-smi")
    if program is None:
        advice = "training runs on the CPU; install the driver to use a GPU"
        yield Finding(False, "GPU", f"no NVIDIA driver (nvidia-smi): {advice}")
        yield Finding(False, "CUDA", "needs a GPU and its driver; PyTorch brings the rest")
        yield Finding(False, "cuDNN", "comes with PyTorch's CUDA build, which make setup takes where there is a GPU")
        return
    query = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    yield Finding(answer.returncode == 0, "GPU", answer.stdout.strip() or "nvidia-smi fails: check the driver")
    yield from _cuda()


def _cuda() -> Iterator[Finding]:
    import torch

    built = torch.version.cuda
    usable = torch.cuda.is_available()
    advice = f"PyTorch is built for CUDA {built}, which the driver does not run: update the driver"
    yield Finding(
        usable,
        "CUDA",
        f"{built}, usable by PyTorch"
        if usable
        else advice
        if built
        else "PyTorch's CPU build is installed: make clean setup",
    )
    version = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]  # PyTorch left it untyped
    yield Finding(
        version is not None, "cuDNN", str(version) if version else "not found: it comes with PyTorch's CUDA build"
    )


def _disk(runs: Path) -> Finding:
    there = next(parent for parent in (runs, *runs.parents) if parent.exists())
    free = shutil.disk_usage(there).free / 1e9
    enough = free >= GIGABYTES_FOR_A_RUN
    return Finding(
        enough,
        "disk",
        f"{free:.0f} GB free for {runs}"
        + ("" if enough else f"; a run takes about {GIGABYTES_FOR_A_RUN} GB: free some"),
    )


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=SECONDS_TO_ANSWER) as answer:
            return bool(answer.status < 500)
    except (URLError, OSError, ValueError):
        return False


def _without_password(uri: str) -> str:
    parts = urlparse(uri)
    return uri.replace(f"{parts.username}:{parts.password}@", "") if parts.password else uri
