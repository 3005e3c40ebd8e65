"""Hub: the one door to the Hugging Face hub's data sets, which it keeps as Parquet files whatever their own form.

Environment: HF_ENDPOINT (a mirror), and HF_TOKEN or a saved login, which the hub's client finds by itself.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toolchain.artifacts.folder import disk_space_reported
from toolchain.errors import DataError, ServiceError, first_line

TIMEOUT_SECONDS = 30.0  # of silence, on a connection that should be delivering
PARQUET_BRANCH = "refs/convert/parquet"  # where the hub keeps each data set as CONFIG/SPLIT/NNNN.parquet


def fetch(uri: str, folder: Path) -> tuple[tuple[Path, ...], str]:
    """Copy the Parquet files of ``hf://OWNER/DATASET[/CONFIG][#SPLIT]`` to ``folder``; return them and the commit.

    Raises:
        DataError: the URI names no data set, or one without that configuration and split.
        ServiceError: the hub is out of reach or refuses; the line says what to do.
        StorageFullError: the disk is full.
    """
    name, config, split = _address(uri)
    info = _info(uri)
    names = _files(uri, [sibling.rfilename for sibling in info.siblings], config, split)
    with _reported(uri), disk_space_reported(folder):
        files = [
            _api().hf_hub_download(name, file, repo_type="dataset", revision=info.sha, local_dir=folder)
            for file in names
        ]
    return tuple(Path(file) for file in files), str(info.sha)


def version(uri: str) -> str:
    """Return the commit that the data set at ``uri`` has now."""
    return str(_info(uri).sha)


def _address(uri: str) -> tuple[str, str, str]:
    """Return data set, configuration ("" for the only one) and split of ``hf://OWNER/DATASET[/CONFIG][#SPLIT]``."""
    path, _, split = uri.removeprefix("hf://").partition("#")
    parts = path.strip("/").split("/")
    if not 1 <= len(parts) <= 3 or not all(parts):
        raise DataError(f"{uri} is not a hub's data set; write hf://OWNER/DATASET[/CONFIG][#SPLIT]")
    return "/".join(parts[:2]), "".join(parts[2:]), split or "train"


def _api() -> Any:
    from huggingface_hub import HfApi

    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)


def _info(uri: str) -> Any:
    name, _, _ = _address(uri)
    with _reported(uri):
        return _api().dataset_info(name, revision=PARQUET_BRANCH, timeout=TIMEOUT_SECONDS)


def _files(uri: str, names: list[str], config: str, split: str) -> list[str]:
    """Return those of ``names`` (CONFIG/SPLIT/NNNN.parquet) that hold ``split``."""
    found = sorted({tuple(name.split("/")[:2]) for name in names if name.endswith(".parquet") and name.count("/") == 2})
    configs = sorted({pair[0] for pair in found})
    chosen = config or (configs[0] if len(configs) == 1 else "default")
    if (chosen, split) not in found:
        there = ", ".join(f"{config}#{split}" for config, split in found) or "no Parquet files"
        raise DataError(
            f"{uri}: there is no {chosen}#{split} (write hf://OWNER/DATASET/CONFIG#SPLIT); the hub has {there}"
        )
    return sorted(name for name in names if name.startswith(f"{chosen}/{split}/") and name.endswith(".parquet"))


@contextmanager
def _reported(uri: str) -> Iterator[None]:
    """Turn what the hub's client raises inside the block into one line that says what to do."""
    import httpx2  # the transport of huggingface-hub >= 2
    from huggingface_hub import errors

    host = os.environ.get("HF_ENDPOINT") or "huggingface.co"
    try:
        yield
    except errors.GatedRepoError as error:
        raise ServiceError(f"{uri}: access must be asked for on its page; then set HF_TOKEN") from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise ServiceError(
            f"{uri}: {host} has no such public data set in Parquet; check the name, or set HF_TOKEN for a private one"
        ) from error
    except (
        httpx2.HTTPError,
        httpx2.InvalidURL,
        errors.HfHubHTTPError,
        errors.LocalEntryNotFoundError,
        errors.OfflineModeIsEnabled,
    ) as error:
        raise ServiceError(f"{uri} cannot be read from {host} ({first_line(error)}); check the network") from error
