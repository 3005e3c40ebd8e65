"""Read data sets, in their Parquet form, and models from the Hugging Face Hub.

Environment: HF_ENDPOINT (a mirror), and HF_TOKEN or a saved login, which the Hub's client finds.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toolchain.artifacts.folder import disk_space_reported
from toolchain.errors import ConfigError, DataError, ServiceError, ToolchainError, first_line

CONNECTION_TIMEOUT_S = 30.0  # without a byte
PARQUET_BRANCH = "refs/convert/parquet"  # where the Hub keeps each data set as CONFIG/SPLIT/NNNN.parquet


def fetch(uri: str, folder: Path) -> tuple[tuple[Path, ...], str]:
    """Download the Parquet files of ``hf://OWNER/DATASET[/CONFIG][#SPLIT]`` to ``folder``; return them and the commit.

    Raises:
        DataError: the URI is not a data set, or the data set lacks that configuration and split.
        ServiceError: the Hub is out of reach or denies access.
        StorageFullError: the disk is full.
    """
    name, config, split = _parse(uri)
    info = _info(uri)
    names = _files(uri, [sibling.rfilename for sibling in info.siblings], config, split)
    with _dataset_errors(uri), disk_space_reported(folder):
        files = [
            _api().hf_hub_download(name, file, repo_type="dataset", revision=info.sha, local_dir=folder)
            for file in names
        ]
    return tuple(Path(file) for file in files), str(info.sha)


def version(uri: str) -> str:
    """Return the current commit of the data set at ``uri``."""
    return str(_info(uri).sha)


def fetch_model(name: str, patterns: Sequence[str]) -> Path:
    """Download the files of the model ``name`` (OWNER/MODEL) that match ``patterns``; return their folder in the cache.

    Raises:
        ConfigError: there is no such public model.
        ServiceError: the Hub is out of reach or denies access.
        StorageFullError: the disk is full.
    """
    from huggingface_hub import constants

    unknown = ConfigError(
        f"{name!r} is neither a folder nor a public model on the Hub; check the name, or set HF_TOKEN"
    )
    with _errors(name, unknown), disk_space_reported(Path(constants.HF_HUB_CACHE)):
        return Path(_api().snapshot_download(name, allow_patterns=list(patterns)))


def _parse(uri: str) -> tuple[str, str, str]:
    """Return data set, configuration ("" for the only one) and split of ``hf://OWNER/DATASET[/CONFIG][#SPLIT]``."""
    path, _, split = uri.removeprefix("hf://").partition("#")
    parts = path.strip("/").split("/")
    if not 1 <= len(parts) <= 3 or not all(parts):
        raise DataError(f"{uri} is not a data set of the Hub; write hf://OWNER/DATASET[/CONFIG][#SPLIT]")
    return "/".join(parts[:2]), "".join(parts[2:]), split or "train"


def _api() -> Any:
    from huggingface_hub import HfApi

    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)


def _info(uri: str) -> Any:
    name, _, _ = _parse(uri)
    with _dataset_errors(uri):
        return _api().dataset_info(name, revision=PARQUET_BRANCH, timeout=CONNECTION_TIMEOUT_S)


def _files(uri: str, names: list[str], config: str, split: str) -> list[str]:
    """Return those of ``names`` (CONFIG/SPLIT/NNNN.parquet) that hold ``split``."""
    found = sorted({tuple(name.split("/")[:2]) for name in names if name.endswith(".parquet") and name.count("/") == 2})
    configs = sorted({pair[0] for pair in found})
    chosen = config or (configs[0] if len(configs) == 1 else "default")
    if (chosen, split) not in found:
        available = ", ".join(f"{config}#{split}" for config, split in found) or "no Parquet files"
        raise DataError(
            f"{uri}: there is no {chosen}#{split} (write hf://OWNER/DATASET/CONFIG#SPLIT); the Hub has {available}"
        )
    return sorted(name for name in names if name.startswith(f"{chosen}/{split}/") and name.endswith(".parquet"))


@contextmanager
def _dataset_errors(uri: str) -> Iterator[None]:
    unknown = ServiceError(f"{uri} is not a public data set in Parquet; check the name, or set HF_TOKEN")
    with _errors(uri, unknown):
        yield


@contextmanager
def _errors(name: str, unknown: ToolchainError) -> Iterator[None]:
    """Turn errors of the Hub's client about ``name`` into one line; raise ``unknown`` where it does not exist."""
    import httpx2  # the transport of huggingface-hub >= 2
    from huggingface_hub import errors

    host = os.environ.get("HF_ENDPOINT") or "huggingface.co"
    try:
        yield
    except errors.GatedRepoError as error:
        raise ServiceError(f"{name} is gated; request access on its page, then set HF_TOKEN") from error
    except (errors.HFValidationError, errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise unknown from error
    except (
        httpx2.HTTPError,
        httpx2.InvalidURL,
        errors.HfHubHTTPError,
        errors.LocalEntryNotFoundError,
        errors.OfflineModeIsEnabled,
        OSError,
    ) as error:
        raise ServiceError(
            f"{name} cannot be downloaded from {host} ({first_line(error)}); check the network"
        ) from error
