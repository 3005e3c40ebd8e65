"""What a user can set about cleaning."""

from dataclasses import dataclass, field

from toolchain.data.clean.conditions import check_query
from toolchain.data.clean.repeats import MODES
from toolchain.errors import ConfigError

OUTLIER_METHODS = ("zscore", "iqr")


@dataclass(frozen=True, kw_only=True)
class Config:
    required: list[str] = field(
        default_factory=list
    )  # columns that need a value, besides text and label, which always do
    repair_text: bool = True  # undo HTML, wrong encoding, control characters and runs of spaces
    minimum_characters: int = 1  # of a text, after its repair; 1: only empty ones fall
    maximum_characters: int = 10_000  # about 2,000 words: what is longer is a document, or several rows run together
    query: str = ""  # rows that stay, as pandas writes it: "label > 0 and text.str.len() > 20"; "": all
    labels: dict[str, object] = field(
        default_factory=dict
    )  # class -> list of raw labels, or a query; {}: each raw label
    other_labels: str = "drop"  # rows of raw labels that labels does not list: "drop" or "refuse" (a typing error?)
    duplicates: str = "normalized"  # "off", "exact", "normalized" (case, punctuation, spaces aside) or "similar"
    duplicate_columns: list[str] = field(
        default_factory=list
    )  # compared; []: text, or without text all but row and label
    similarity: float = 0.8  # of "similar": shared three-word runs, 0..1; below .7 MinHash finds strangers alike
    drop_conflicts: bool = True  # of rows that say the same under different labels keep none, not the first
    outlier_columns: list[str] = field(default_factory=list)  # numeric columns whose outliers fall
    outlier_method: str = "zscore"  # "zscore" (of bell-shaped columns) or "iqr" (of skewed ones)
    outlier_limit: float = (
        3.0  # standard deviations, or interquartile ranges beyond the quartiles: 0.3 % of a bell curve
    )

    def __post_init__(self) -> None:
        if not 0 <= self.minimum_characters <= self.maximum_characters:
            raise ConfigError(
                f"minimum_characters={self.minimum_characters} and maximum_characters={self.maximum_characters} leave "
                "nothing; give 0 <= minimum_characters <= maximum_characters"
            )
        if self.duplicates not in MODES:
            raise ConfigError(f"duplicates={self.duplicates!r} is not known; give one of {', '.join(MODES)}")
        if self.other_labels not in ("refuse", "drop"):
            raise ConfigError(f"other_labels={self.other_labels!r} is not known; give refuse or drop")
        if not 0.5 <= self.similarity <= 1:
            raise ConfigError(f"similarity={self.similarity} is out of range; give 0.5 to 1")
        if self.outlier_method not in OUTLIER_METHODS:
            raise ConfigError(
                f"outlier_method={self.outlier_method!r} is not known; give {' or '.join(OUTLIER_METHODS)}"
            )
        if not self.outlier_limit > 0:
            raise ConfigError(f"outlier_limit={self.outlier_limit} is out of range; give a number above 0")
        check_query(self.query, "query")
        _check_labels(self.labels)


def has_queries(labels: dict[str, object]) -> bool:
    """Whether classes are said by queries, so that rows that fit none are to be expected, and fall."""
    return any(isinstance(meaning, str) for meaning in labels.values())


def _check_labels(labels: dict[str, object]) -> None:
    if len(labels) == 1:
        raise ConfigError(
            f"labels has one class, {next(iter(labels))!r}; give two or more, or none to take labels as they are"
        )
    for name, meaning in labels.items():
        if isinstance(meaning, str):
            check_query(meaning, f"labels[{name!r}]")
        elif not isinstance(meaning, list):
            raise ConfigError(
                f"labels[{name!r}]={meaning!r}: give a list of raw labels, or a query such as 'rating > 0'"
            )
