"""Fetch the files of a source, a file or a folder, and find the split of each."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from toolchain.artifacts.dataset import UNSPLIT
from toolchain.data.ingest.formats import ENDINGS
from toolchain.data.ingest.settings import Config
from toolchain.errors import DataError
from toolchain.image_files import files_under
from toolchain.services import compression, storage
from toolchain.services.folders import fetch_folder, is_folder
from toolchain.split_names import SPLITS, TRAIN, split_of

READ_ORDER = tuple(reversed(SPLITS))  # test first: of duplicate rows, cleaning keeps the first


@dataclass(frozen=True)
class SourceFiles:
    """The local files of a source."""

    files: tuple[tuple[str, Path], ...]  # each with its split, in reading order
    sha256: str
    revision: str
    bytes: int  # of all files, as stored


def fetch_files(config: Config, scratch: Path) -> SourceFiles:
    """Return the files of ``config.source``, downloaded to ``scratch`` unless they are local.

    Of a folder, hidden files and names that begin with "_" are skipped. Files keep the split in their name
    (train-00000-of-00002.parquet, test/part-0.parquet).

    Raises:
        DataError: the file does not exist, or a folder has no data, several formats, or files with and without a split.
        ServiceError: the service that holds the source is not available.
    """
    is_archive = config.source.lower().endswith((".zip", ".tar", ".tar.gz", ".tgz"))  # read as one table
    if is_archive or not is_folder(config.source):
        fetched = storage.fetch(config.source, scratch)
        return _source_files([(UNSPLIT, file) for file in fetched.files], fetched.sha256, fetched.revision)
    folder = fetch_folder(config.source, scratch)
    files = _data_files(folder.path, config)
    splits = {file: _split_of(file.relative_to(folder.path)) for file in files}
    return _source_files(list(_in_order(splits, config.source)), folder.sha256, folder.revision)


def _source_files(files: list[tuple[str, Path]], sha256: str, revision: str) -> SourceFiles:
    return SourceFiles(tuple(files), sha256, revision, sum(file.stat().st_size for _, file in files))


def _data_files(folder: Path, config: Config) -> list[Path]:
    """Return the data files in ``folder``: Parquet if there is any, else those of its only format."""
    by_format: dict[str, list[Path]] = {}
    for file in files_under(folder):
        ending = compression.without_ending(file.name.lower()).rpartition(".")[2]
        if ending in ENDINGS and not any(part.startswith("_") for part in file.relative_to(folder).parts):
            by_format.setdefault(ENDINGS[ending], []).append(file)
    wanted = config.format or ("parquet" if "parquet" in by_format else "")
    if wanted in by_format:
        return by_format[wanted]
    if len(by_format) != 1 or wanted:
        found = ", ".join(f"{len(files)} {name}" for name, files in by_format.items()) or "none"
        raise DataError(
            f"{config.source} is a folder without files of a single format (found: {found}); name one of its files"
        )
    return next(iter(by_format.values()))


def _split_of(path: Path) -> str:
    """Return the split in the name of a file or of its folders, "all" if there is none."""
    for name in (compression.without_ending(path.name).split(".")[0], *reversed(path.parts[:-1])):
        if split := split_of(name.partition("-")[0]):
            return split
    return UNSPLIT


def _in_order(splits: dict[Path, str], source: str) -> Iterator[tuple[str, Path]]:
    found = set(splits.values())
    if TRAIN not in found or len(found) == 1:
        yield from ((UNSPLIT, file) for file in splits)
        return
    if UNSPLIT in found:
        unsplit = next(file.name for file, split in splits.items() if split == UNSPLIT)
        names = ", ".join(sorted(found - {UNSPLIT}))
        raise DataError(f"{source} has files of the splits {names}, and {unsplit} without a split in its name; move it")
    yield from ((split, file) for split in READ_ORDER for file, own in splits.items() if own == split)
