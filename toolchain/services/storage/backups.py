"""Backups of the databases in S3, one folder for each: ``python -m toolchain.services.storage.backups``.

The dumps are made and read by the database's own programs; here they are only kept. Environment: TOOLCHAIN_BUCKET,
TOOLCHAIN_BACKUP (the backup to fetch; the newest when it is empty), and what ``s3`` reads.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from toolchain.errors import DataError, ToolchainError
from toolchain.progress import log_info
from toolchain.services.storage import bucket, s3

PREFIX = "backups/mysql"
COMPLETE = "complete"  # written last: a folder without it was cut off on its way
TIME = "%Y%m%dT%H%M%SZ"  # sorts by age


def main(argv: list[str] | None = None) -> int:
    """Store the dumps of a folder, or fetch those of a backup into it; return the exit status."""
    parser = argparse.ArgumentParser(description="Keep backups of the databases in S3.")
    parser.add_argument("verb", choices=["store", "fetch"])
    parser.add_argument("folder", type=Path, help="of the dumps, DATABASE.sql.gz")
    parser.add_argument("--keep-days", type=int, default=14, metavar="N", help="older ones are deleted after storing")
    given = parser.parse_args(argv)
    try:
        location = f"s3://{bucket.name()}/{PREFIX}"
        if given.verb == "store":
            store(given.folder, location, datetime.now(UTC), given.keep_days)
        else:
            fetch(given.folder, location, os.environ.get("TOOLCHAIN_BACKUP", ""))
    except ToolchainError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def store(folder: Path, location: str, now: datetime, keep_days: int) -> str:
    """Store the dumps in ``folder`` under ``location``, delete older backups, and return the new one's name.

    Args:
        folder: Dumps, DATABASE.sql.gz.
        location: Where backups are kept, s3://BUCKET/PREFIX.
        now: Its name, and from when ``keep_days`` are counted.
        keep_days: Days that a backup is kept, at least 1.

    Raises:
        DataError: there are no dumps in ``folder``.
        ServiceError: S3 is down or denies access.
    """
    dumps = sorted(folder.glob("*.sql.gz"))
    if not dumps:
        raise DataError(f"{folder} holds no *.sql.gz; see the log of the container that dumps the databases")
    name = now.strftime(TIME)
    for dump in dumps:
        s3.upload(dump, f"{location}/{name}/{dump.name}")
    mark = folder / COMPLETE
    mark.write_text("\n".join(dump.name for dump in dumps) + "\n")
    s3.upload(mark, f"{location}/{name}/{COMPLETE}")
    log_info(f"stored {location}/{name}: {', '.join(dump.name for dump in dumps)}")
    _delete_older(location, (now - timedelta(days=keep_days)).strftime(TIME), name)
    return name


def _delete_older(location: str, limit: str, newest: str) -> None:
    names = {stored.uri.split("/")[-2] for stored in s3.listing(f"{location}/")}
    for name in sorted(name for name in names if name < limit and name != newest):
        s3.delete(stored.uri for stored in s3.listing(f"{location}/{name}/"))
        log_info(f"deleted {location}/{name}")


def fetch(folder: Path, location: str, name: str = "") -> list[Path]:
    """Return the dumps of backup ``name`` under ``location`` (default: the newest complete one) in ``folder``.

    Raises:
        DataError: there is no such backup, or it is not complete.
        ServiceError: S3 is down or denies access.
    """
    stored = [file.uri for file in s3.listing(f"{location}/")]
    complete = sorted(uri.split("/")[-2] for uri in stored if uri.endswith(f"/{COMPLETE}"))
    if not complete:
        raise DataError(f"{location} holds no complete backup")
    chosen = name or complete[-1]
    if chosen not in complete:
        raise DataError(f"{location} holds no complete backup {chosen!r}; there are {', '.join(complete)}")
    wanted = [uri for uri in stored if uri.startswith(f"{location}/{chosen}/") and uri.endswith(".sql.gz")]
    log_info(f"fetching {location}/{chosen}")
    return [_copy(uri, folder / uri.rpartition("/")[2]) for uri in wanted]


def _copy(uri: str, path: Path) -> Path:
    part = path.with_name(f"{path.name}.part")

    def write(chunks: Iterator[bytes]) -> None:
        with part.open("wb") as file:
            file.writelines(chunks)

    s3.read(uri, write)
    return part.rename(path)


if __name__ == "__main__":
    sys.exit(main())
