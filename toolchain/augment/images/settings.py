"""Settings and result of augmenting pictures."""

from dataclasses import dataclass

from toolchain.augment.images.policy import is_file, parse, text_of
from toolchain.errors import ConfigError

LARGEST_SIZE = 4096  # pixels of a side of a copy


@dataclass(frozen=True, kw_only=True)
class Config:
    policy: str = "light"  # light, medium, strong, upright, the path of a YAML file, or YAML: see policy.py
    copies: int = 1  # changed copies of each chosen row, 0..20; 0 leaves the dataset as it is
    share: float = 0.5  # of the training rows that are chosen, 0..1; a copy costs as much training time as a row
    size: int = 0  # pixels: copies are size x size; 0: as large as their originals, turned perhaps
    mirror_changes_label: bool = False  # true for digits, letters, signs: what mirrors or turns is refused
    minimum_visibility: float = 0.3  # share of a box that must be left in the copy, 0..1, or the object leaves it
    most_boxes_lost: float = 0.2  # share of all boxes, 0..1; a policy that loses more is warned of
    seed: int = 0  # the same seed makes the same copies, whatever the number of workers
    workers: int = 0  # processes; 0: one for each processor

    def __post_init__(self) -> None:
        if not 0 <= self.copies <= 20:
            raise ConfigError(f"copies must be 0 to 20, got {self.copies}")
        for name in ("share", "minimum_visibility", "most_boxes_lost"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        if not 0 <= self.size <= LARGEST_SIZE:
            raise ConfigError(f"size must be 0 (as the originals) to {LARGEST_SIZE} pixels, got {self.size}")
        if self.workers < 0:
            raise ConfigError(f"workers must be 0 (one for each processor) or more, got {self.workers}")
        if not is_file(self.policy):  # a file is perhaps only there where the step runs
            parse(text_of(self.policy))


@dataclass(frozen=True)
class Result:
    rows: int  # training rows read
    copies: int  # rows added
    given_up: int  # copies not added: every attempt lost all boxes of the picture
    boxes: int  # in pictures that were copied, each time anew
    boxes_kept: int  # of these, in copies as they were drawn
