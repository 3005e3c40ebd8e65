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
    min_characters: int = 1  # of a repaired text; 1: only empty ones are dropped
    max_characters: int = 10_000  # about 2,000 words: longer texts are documents, or several rows joined
    query: str = ""  # rows to keep, as a pandas query: "label > 0 and text.str.len() > 20"; "": all
    labels: dict[str, object] = field(default_factory=dict)  # class -> list of raw labels, or a query; {}: raw labels
    unknown_label: str = "drop"  # rows whose raw label is not in labels: "drop", or "fail" to find typing errors
    duplicates: str = "normalized"  # "off", "exact", "normalized" (ignoring case, punctuation, spaces) or "similar"
    duplicate_columns: list[str] = field(default_factory=list)  # to compare; []: text, or all but row and label
    similarity: float = 0.8  # for "similar": share of common three-word shingles, 0..1; unreliable below 0.7
    drop_conflicts: bool = True  # drop all duplicates with different labels, instead of keeping the first
    outlier_columns: list[str] = field(default_factory=list)  # numeric columns whose outliers are dropped
    outlier_method: str = "zscore"  # "zscore" (for normal distributions) or "iqr" (for skewed ones)
    outlier_threshold: float = 3.0  # standard deviations (0.3 % of a normal distribution), or interquartile ranges

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
