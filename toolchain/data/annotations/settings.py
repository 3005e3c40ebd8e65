"""What a user can set about reading annotations."""

from dataclasses import dataclass, field, replace
from typing import Any

from toolchain.annotations import DATUMARO_PREFIX, READABLE_FORMATS
from toolchain.annotations.checks import CHECKS
from toolchain.annotations.voc.reader import ORIGINS
from toolchain.annotations.yolo.reader import TASKS
from toolchain.errors import ConfigError
from toolchain.image_decoding import MAX_PIXELS

SHA256_DIGITS = 64
SAMPLE = "package:deepforest/data"  # four aerial images with 951 trees, comes with the Python package
SAMPLE_SETTINGS: dict[str, Any] = {  # of SAMPLE alone, where a user gives no others
    "rename": {"Alive": "Tree", "Dead": "Tree"},  # each image has its own words for the one class
    "tile_size": 400,  # pixels: trees of 40 pixels in images of up to 2,500
}


@dataclass(frozen=True, kw_only=True)
class Config:
    source: str = SAMPLE  # folder, package:NAME/FOLDER, or archive at a path, s3:// or https://
    digest: str = ""  # SHA-256 that the source must have, 64 hexadecimal digits; "": any
    format: str = (
        ""  # "voc", "yolo", "coco", "cvat", "labelme", "via", "createml" or "datumaro:NAME"; "": found from the files
    )
    images: str = ""  # where the images are, given like source; "": with the annotations
    labels: list[str] = field(default_factory=list)  # the classes allowed, in their order; []: those of the source
    rename: dict[str, str] = field(default_factory=dict)  # other names of classes, {"Dead": "Tree"}; may be one
    keep_splits: bool = True  # train, validation and test as the source has them; False: all rows in one split
    origin: str = ""  # of VOC's coordinates: "zero_based", "one_based", "shifted" by 1; "": from evidence
    task: str = ""  # of YOLO's lines: "detect", "segment", "obb" or "pose"; "": from evidence
    # What to do about each annotation that can be wrong: "fix", "drop", "fail" or "keep", as far as it can be done.
    missing_image: str = "fail"  # an image is not there
    missing_split: str = "fail"  # a folder or list of a split that the source names is not there: "drop" does without
    unreadable_image: str = "fail"  # a file is no image, or is damaged
    oversized_image: str = "fail"  # an image has more than max_pixels
    animated_image: str = "fix"  # an image moves: its first frame stays
    duplicate_name: str = "fail"  # two images have one name: the later one is renamed
    duplicate_ids: str = "fail"  # COCO's ids are not unique: annotations go to the first image of an id
    size_mismatch: str = "fail"  # the size in the annotations is not the image's: boxes are scaled to it
    exif_rotation: str = "fix"  # EXIF asks to turn an image: it is stored upright, and its boxes go with it
    one_based_coordinates: str = "fix"  # VOC's coordinates count from 1: they are read as positions from 0
    unknown_label: str = "fail"  # an object's label is not in labels, or its class number has no name
    invalid_shape: str = "fix"  # a polygon, mask or box cannot be read: the part that can be read stays
    swapped_corners: str = "fix"  # right is left of left, or bottom above top: they are put in order
    out_of_bounds: str = "fix"  # a box reaches outside its image: it is clipped
    zero_area: str = "drop"  # a box has no area (in its image)
    duplicate_object: str = "drop"  # an object is there twice: the later one falls
    max_pixels: int = MAX_PIXELS  # of an image: decoded, 100 million take 300 MB
    tile_size: int = 0  # pixels: images larger than this are cut into squares of this side; 0: they stay whole
    tile_overlap: int = 64  # pixels that neighbouring tiles share: an object up to that size is whole in one of them
    tile_min_visibility: float = (
        0.5  # share of a box that must be in a tile for it to stay there, clipped; else it is left out
    )
    keep_empty: bool = True  # images and tiles without an object stay: a detector learns from them what is none

    def __post_init__(self) -> None:
        if not self.source:
            raise ConfigError("source is empty; give a folder, or an archive at a path, s3:// or https://")
        if self.digest and (
            len(self.digest) != SHA256_DIGITS or not set(self.digest.lower()) <= set("0123456789abcdef")
        ):
            raise ConfigError(f"digest={self.digest!r} is not a SHA-256; give its {SHA256_DIGITS} hexadecimal digits")
        for name, known in (("format", READABLE_FORMATS), ("origin", tuple(ORIGINS)), ("task", TASKS)):
            value = getattr(self, name)
            if value and value not in known and not (name == "format" and value.startswith(DATUMARO_PREFIX)):
                raise ConfigError(f"{name}={value!r} is not known; give one of {', '.join(known)}, or leave it empty")
        for name, action in self.actions().items():
            if action not in CHECKS[name].actions:
                raise ConfigError(f"{name}={action!r} cannot be done; give one of {', '.join(CHECKS[name].actions)}")
        if len(set(self.labels)) < len(self.labels):
            raise ConfigError(f"labels={self.labels} names one twice")
        if self.max_pixels < 1:
            raise ConfigError(f"max_pixels={self.max_pixels} is out of range; give a number above 0")
        if self.tile_size and not 32 <= self.tile_size <= 10_000:
            raise ConfigError(f"tile_size={self.tile_size} is out of range; give 32 to 10000 pixels, or 0 for none")
        if self.tile_overlap < 0 or (self.tile_size and self.tile_overlap > self.tile_size // 2):
            raise ConfigError(
                f"tile_overlap={self.tile_overlap} is out of range; give 0 to half of tile_size={self.tile_size}"
            )
        if not 0 < self.tile_min_visibility <= 1:
            raise ConfigError(
                f"tile_min_visibility={self.tile_min_visibility} is out of range; give a share above 0, up to 1"
            )

    def with_sample_settings(self) -> "Config":
        """Return these settings, with SAMPLE_SETTINGS in place of defaults if the source is the sample."""
        defaults = Config()
        given = {name for name in SAMPLE_SETTINGS if getattr(self, name) != getattr(defaults, name)}
        sample = {name: value for name, value in SAMPLE_SETTINGS.items() if name not in given}
        return replace(self, **sample) if self.source == SAMPLE else self

    def actions(self) -> dict[str, str]:
        """Return what is to be done about each of annotations.checks.CHECKS."""
        return {name: getattr(self, name) for name in CHECKS}
