"""Settings of cleaning."""

from dataclasses import dataclass, field

from toolchain.data.clean.conditions import check_query
from toolchain.data.clean.duplicates import MODES
from toolchain.errors import ConfigError

OUTLIER_METHODS = ("zscore", "iqr")


@dataclass(frozen=True, kw_only=True)
class Config:
    required_columns: list[str] = field(default_factory=list)  # columns that need a value, besides text and label
    repair_text: bool = True  # repair HTML, wrong encodings, control characters and runs of spaces
    min_characters: int = 1  # Minimum length of a repaired text in characters; 1: only empty texts are dropped.
    # Maximum length of a text in characters: 10,000 are about 2,000 words, longer ones are documents.
    max_characters: int = 10_000
    query: str = ""  # Rows to keep, as a pandas query: "label > 0 and text.str.len() > 20"; "": all.
    # Raw labels, or a query, by class: {"positive": ["1", "pos"]}; {}: each raw label is a class.
    labels: dict[str, object] = field(default_factory=dict)
    # Action for rows whose raw label is not in labels: drop, or fail to find typing errors.
    unknown_label: str = "drop"
    # Duplicates to drop: off, exact, normalized (ignoring case, punctuation and spaces) or similar.
    duplicates: str = "normalized"
    # Columns to compare for duplicates; []: text, or all but row and label.
    duplicate_columns: list[str] = field(default_factory=list)
    # Minimum share of common three-word shingles of "similar" texts, 0..1; unreliable below 0.7.
    similarity: float = 0.8
    drop_conflicts: bool = True  # drop all duplicates with different labels, instead of keeping the first
    outlier_columns: list[str] = field(default_factory=list)  # numeric columns whose outliers are dropped
    outlier_method: str = "zscore"  # Outlier detection: zscore (for normal distributions) or iqr (for skewed ones).
    # Outlier threshold in standard deviations, or in interquartile ranges beyond the quartiles.
    outlier_threshold: float = 3.0

    def __post_init__(self) -> None:
        if not 0 <= self.min_characters <= self.max_characters:
            raise ConfigError(
                f"min_characters={self.min_characters}, max_characters={self.max_characters} exclude "
                "every text; give 0 <= min_characters <= max_characters"
            )
        if self.duplicates not in MODES:
            raise ConfigError(f"duplicates={self.duplicates!r} is not known; give one of {', '.join(MODES)}")
        if self.unknown_label not in ("fail", "drop"):
            raise ConfigError(f"unknown_label={self.unknown_label!r} is not known; give fail or drop")
        if not 0.5 <= self.similarity <= 1:
            raise ConfigError(f"similarity={self.similarity} is out of range; give 0.5 to 1")
        if self.outlier_method not in OUTLIER_METHODS:
            raise ConfigError(
                f"outlier_method={self.outlier_method!r} is not known; give {' or '.join(OUTLIER_METHODS)}"
            )
        if not self.outlier_threshold > 0:
            raise ConfigError(f"outlier_threshold={self.outlier_threshold} is out of range; give a number above 0")
        check_query(self.query, "query")
        _check_labels(self.labels)


def has_queries(labels: dict[str, object]) -> bool:
    """Return whether queries define the classes, so that rows without a class are expected."""
    return any(isinstance(definition, str) for definition in labels.values())


def _check_labels(labels: dict[str, object]) -> None:
    if len(labels) == 1:
        raise ConfigError(
            f"labels has one class, {next(iter(labels))!r}; give two or more, or none to use the raw labels"
        )
    for name, definition in labels.items():
        if isinstance(definition, str):
            check_query(definition, f"labels[{name!r}]")
        elif not isinstance(definition, list):
            raise ConfigError(
                f"labels[{name!r}]={definition!r}: give a list of raw labels, or a query such as 'rating > 0'"
            )
