"""Make the samples of this folder from the sdist of vaderSentiment 0.5: python samples/make_samples.py ARCHIVE."""

import csv
import gzip
import hashlib
import io
import sys
import tarfile
import zipfile
from pathlib import Path

ARCHIVE_SHA256 = "5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a"
RATINGS = "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz"  # inside the archive
LICENCE = "vaderSentiment-0.5/LICENSE.txt"
SAMPLES = {"movie_reviews": "movieReviewSnippets", "amazon_reviews": "amazonReviewSnippets"}
CLEAR = 0.5  # mean of 20 raters, -4 to 4: nearer to 0 a sentence has no side that most readers would agree on


def main(archive: Path) -> None:
    content = archive.read_bytes()
    if hashlib.sha256(content).hexdigest() != ARCHIVE_SHA256:
        sys.exit(f"{archive} is not the source distribution of vaderSentiment 0.5: its SHA-256 differs")
    with zipfile.ZipFile(io.BytesIO(content)) as outer:
        licence = outer.read(LICENCE)
        with tarfile.open(fileobj=io.BytesIO(outer.read(RATINGS))) as ratings:
            for sample, source in SAMPLES.items():
                write(sample, ratings.extractfile(f"hutto_ICWSM_2014/{source}_GroundTruth.txt").read(), licence)


def write(sample: str, source: bytes, licence: bytes) -> None:
    """Write one sample and its licence beside this file; the same source always gives the same bytes."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["id", "rating", "text", "label"])
    table.writerows([*row, label(float(row[1]))] for row in rows(source))
    here = Path(__file__).parent
    (here / f"{sample}.csv.gz").write_bytes(gzip.compress(text.getvalue().encode(), compresslevel=9, mtime=0))
    (here / f"{sample}.LICENSE").write_bytes(licence.replace(b"\r\n", b"\n"))


def rows(source: bytes) -> list[list[str]]:
    return [line.split("\t", 2) for line in source.decode().removesuffix("\r\n").split("\r\n")]


def label(rating: float) -> str:
    if abs(rating) < CLEAR:
        return ""  # a missing label: the cleaning step drops the row and says so
    return "positive" if rating > 0 else "negative"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
