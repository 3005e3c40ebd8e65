"""Parts: the files that a source names, one or a folder of many, and the split that each belongs to."""

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

READ_FIRST = tuple(reversed(SPLITS))  # of two rows that say the same, cleaning keeps the first: that of the test


@dataclass(frozen=True)
class Parts:
    """The files of a source on this machine."""

    files: tuple[tuple[str, Path], ...]  # each with its split, in the order in which they are read
    sha256: str
    revision: str
    bytes: int  # of all files, as stored


def fetch_parts(config: Config, scratch: Path) -> Parts:
    """Return the files at the source of ``config``, copied to ``scratch`` where they are elsewhere.

    A folder gives its data files, hidden ones and those that begin with "_" left out; where their names give splits
    (train-00000-of-00002.parquet, test/part-0.parquet), each keeps its own.

    Raises:
        DataError: there is no such file, or a folder holds no data, several formats, or files with a split and without.
        ServiceError: the service that holds it is down or refuses.
    """
    archive = config.source.lower().endswith((".zip", ".tar", ".tar.gz", ".tgz"))  # one file, to a table
    if archive or not is_folder(config.source):
        fetched = storage.fetch(config.source, scratch)
        return _parts([(UNSPLIT, file) for file in fetched.files], fetched.sha256, fetched.revision)
    folder = fetch_folder(config.source, scratch)
    files = _data_files(folder.path, config)
    splits = {file: _split_of(file.relative_to(folder.path)) for file in files}
    return _parts(list(_in_order(splits, config.source)), folder.sha256, folder.revision)


def _parts(files: list[tuple[str, Path]], sha256: str, revision: str) -> Parts:
    return Parts(tuple(files), sha256, revision, sum(file.stat().st_size for _, file in files))


def _data_files(folder: Path, config: Config) -> list[Path]:
    """Return the files of rows in ``folder``: Parquet where there is any, else those of its one format."""
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
            f"{config.source} is a folder without files of one format (found: {found}); name one file in it"
        )
    return next(iter(by_format.values()))


def _split_of(path: Path) -> str:
    """Return the split that the name of a part, or of a folder that it lies in, gives; "all" for none."""
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
        odd = next(file.name for file, split in splits.items() if split == UNSPLIT)
        names = ", ".join(sorted(found - {UNSPLIT}))
        raise DataError(
            f"{source} has files of the splits {names}, and {odd}, whose name gives none; move it elsewhere"
        )
    yield from ((split, file) for split in READ_FIRST for file, own in splits.items() if own == split)
