"""Settings and result of image augmentation."""

from dataclasses import dataclass

from toolchain.augment.images.policy import is_file, parse, text_of
from toolchain.errors import ConfigError

MAX_SIZE_PIXELS = 4096  # of a side of a copy


@dataclass(frozen=True, kw_only=True)
class Config:
    policy: str = "light"  # Augmentation policy: light, medium, strong, upright, the path of a YAML file, or YAML.
    copies: int = 1  # Augmented copies of each selected row, 0..20; 0: the dataset is unchanged.
    # Fraction of the training rows to augment, 0..1; a copy costs as much training time as a row.
    fraction: float = 0.5
    size: int = 0  # Width and height of the copies in pixels; 0: the original size.
    flip_changes_label: bool = False  # Reject policies that flip or rotate, as for digits, letters and signs.
    # Minimum fraction of a box that a copy must keep, 0..1; otherwise the object is dropped.
    min_visibility: float = 0.3
    max_boxes_lost: float = 0.2  # Maximum fraction of boxes that a policy may drop without a warning, 0..1.
    seed: int = 0  # Random seed; the copies do not depend on the number of workers.
    workers: int = 0  # Number of processes; 0: one per CPU core.

    def __post_init__(self) -> None:
        if not 0 <= self.copies <= 20:
            raise ConfigError(f"copies must be 0 to 20, got {self.copies}")
        for name in ("fraction", "min_visibility", "max_boxes_lost"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        if not 0 <= self.size <= MAX_SIZE_PIXELS:
            raise ConfigError(f"size must be 0 (as the original) to {MAX_SIZE_PIXELS} pixels, got {self.size}")
        if self.workers < 0:
            raise ConfigError(f"workers must be 0 (one per CPU core) or more, got {self.workers}")
        if not is_file(self.policy):  # a file may exist only where the step runs
            parse(text_of(self.policy))


@dataclass(frozen=True)
class Result:
    rows: int  # training rows read
    copies: int  # rows added
    skipped: int  # copies not added: every attempt lost all boxes of the image
    boxes: int  # in the originals of all attempts
    boxes_kept: int  # in the copies of all attempts
