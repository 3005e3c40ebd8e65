"""Settings and result of validation."""

from dataclasses import dataclass, field

from toolchain.errors import ConfigError

AUTOMATIC = -1.0  # min_class_fraction: derived from the number of classes
TYPES = {  # types that a rule may require of a column, and the function of pandas.api.types that checks it
    "text": "is_object_dtype",
    "integer": "is_integer_dtype",
    "number": "is_numeric_dtype",
    "boolean": "is_bool_dtype",
}


@dataclass(frozen=True, kw_only=True)
class Config:
    # Minimum number of rows in each split; with fewer, one row is worth more than 5 points of accuracy.
    min_rows: int = 20
    # Minimum fraction of the rarest class among the training rows; -1: a tenth of an equal share; 0: no minimum.
    min_class_fraction: float = AUTOMATIC
    min_test_rows: int = 100  # Minimum number of test rows (for detection: boxes) for the gate to select a variant.
    # Expected types of columns: {"stars": "integer"}; text, integer, number or boolean.
    column_types: dict[str, str] = field(default_factory=dict)
    # Allowed values of columns, inclusive: {"stars": [1, 5]}.
    column_ranges: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.min_rows < 1:
            raise ConfigError(f"min_rows={self.min_rows} is out of range; give 1 or more")
        if self.min_class_fraction != AUTOMATIC and not 0 <= self.min_class_fraction <= 0.5:
            raise ConfigError(
                f"min_class_fraction={self.min_class_fraction} is out of range; give 0 to 0.5, or -1 for the default"
            )
        for column, name in self.column_types.items():
            if name not in TYPES:
                raise ConfigError(f"column_types[{column!r}]={name!r} is not known; give one of {', '.join(TYPES)}")
        for column, bounds in self.column_ranges.items():
            if not isinstance(bounds, list) or len(bounds) != 2 or not bounds[0] <= bounds[1]:
                raise ConfigError(f"column_ranges[{column!r}]={bounds!r} is not a range; give [lowest, highest]")


@dataclass(frozen=True)
class Result:
    rules: int  # all of them passed
    rows: int  # checked
    smallest_share: float  # of the rarest class among the training rows; 1.0 if there are no classes
