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
    min_rows: int = 20  # in each split; with fewer, one row is worth more than 5 points of accuracy
    # Of the rarest class among the training rows; a model may ignore a rarer one. -1: a tenth of an equal share, which
    # is 5 % with two classes and 0.5 % with twenty; 0: no minimum.
    min_class_fraction: float = AUTOMATIC
    min_test_rows: int = 100  # in the test split (boxes for detection); with fewer the gate cannot select a variant
    column_types: dict[str, str] = field(default_factory=dict)  # column -> "text", "integer", "number" or "boolean"
    column_ranges: dict[str, list[float]] = field(default_factory=dict)  # column -> [lowest, highest], inclusive

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
