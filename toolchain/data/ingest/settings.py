"""Settings of reading tables."""

from dataclasses import dataclass, field

from toolchain.data.ingest.formats import FORMATS
from toolchain.errors import ConfigError

SHA256_DIGITS = 64
QUOTINGS = ("standard", "backslash", "none")
DELIMITER_NAMES = {"\\t": "\t", "tab": "\t"}  # a tab is hard to type in a shell


@dataclass(frozen=True, kw_only=True)
class Config:
    # Rows: a CSV, TSV, JSON or Parquet file or folder at a path, s3://, https:// or
    # hf://OWNER/DATASET[/CONFIG][#SPLIT].
    source: str = "samples/movie_reviews.csv.gz"
    digest: str = ""  # Expected SHA-256 of the source, 64 hexadecimal digits; "": not checked.
    format: str = ""  # File format: csv, tsv, jsonl or parquet; "": by the file name, or by the content.
    text_column: str = "text"  # Column of texts, renamed to "text"; "": no texts.
    label_column: str = "label"  # Column of classes, renamed to "label"; "": no classes.
    columns: list[str] = field(default_factory=list)  # Other columns to keep; ["*"]: all.
    # Column names of a CSV or TSV without a header; []: the first row is the header.
    column_names: list[str] = field(default_factory=list)
    # Encoding of text files by its Python name, such as cp1252; "": UTF-8, or by the byte order mark.
    encoding: str = ""
    delimiter: str = ""  # Field delimiter of a CSV or TSV, one character; "": detected.
    # Quoting: standard (RFC 4180), backslash (\" inside fields) or none (marks are text); "": detected.
    quoting: str = ""

    def __post_init__(self) -> None:
        if not self.source:
            raise ConfigError("source is empty; give a path, or an s3://, https:// or hf:// address")
        if self.digest and not _is_sha256(self.digest):
            raise ConfigError(f"digest={self.digest!r} is not a SHA-256; give its {SHA256_DIGITS} hexadecimal digits")
        if self.format and self.format not in FORMATS:
            raise ConfigError(
                f"format={self.format!r} is not known; give one of {', '.join(FORMATS)}, or leave it empty"
            )
        if self.text_column and self.text_column == self.label_column:
            raise ConfigError(f"text_column and label_column are both {self.text_column!r}; name two columns")
        if self.quoting and self.quoting not in QUOTINGS:
            raise ConfigError(
                f"quoting={self.quoting!r} is not known; give one of {', '.join(QUOTINGS)}, or leave it empty"
            )
        object.__setattr__(self, "delimiter", DELIMITER_NAMES.get(self.delimiter, self.delimiter))
        _check_delimiter(self.delimiter)
        _check_encoding(self.encoding)

    @property
    def wanted(self) -> list[str]:
        """The columns that the source must have, by name."""
        return [name for name in (self.text_column, self.label_column, *self.columns) if name not in ("", "*")]


def _is_sha256(digest: str) -> bool:
    return len(digest) == SHA256_DIGITS and all(digit in "0123456789abcdefABCDEF" for digit in digest)


def _check_delimiter(delimiter: str) -> None:
    if len(delimiter) > 1:
        raise ConfigError(f"delimiter={delimiter!r} has {len(delimiter)} characters; give one")
    if delimiter and (not delimiter.isascii() or delimiter in '"\r\n'):
        raise ConfigError(f"delimiter={delimiter!r} is not valid; give an ASCII character other than a quotation mark")


def _check_encoding(encoding: str) -> None:
    try:
        "".encode(encoding or "utf-8")
    except LookupError as error:
        raise ConfigError(f"encoding={encoding!r} is not known to Python; try utf-8, cp1252 or utf-16") from error
