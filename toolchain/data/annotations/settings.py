"""Settings of the step data.annotations."""

from dataclasses import dataclass, field, replace
from typing import Any

from toolchain.annotations import DATUMARO_PREFIX, READABLE_FORMATS
from toolchain.annotations.checks import CHECKS
from toolchain.annotations.voc.reader import ORIGINS
from toolchain.annotations.yolo.reader import TASKS
from toolchain.errors import ConfigError
from toolchain.image_decoding import MAX_PIXELS

SHA256_DIGITS = 64
SAMPLE = "package:deepforest/data"  # four aerial images with 951 trees, from the Python package deepforest
SAMPLE_SETTINGS: dict[str, Any] = {  # defaults for SAMPLE only
    "rename": {"Alive": "Tree", "Dead": "Tree"},  # the images have different labels for the same class
    "tile_size": 400,  # pixels: trees of 40 pixels in images of up to 2,500
}
MIN_TILE_SIZE, MAX_TILE_SIZE = 32, 10_000  # pixels


@dataclass(frozen=True, kw_only=True)
class Config:
    source: str = SAMPLE  # Annotated images: a folder, package:NAME/FOLDER, or an archive at a path, s3:// or https://.
    digest: str = ""  # Expected SHA-256 of the source, 64 hexadecimal digits; "": not checked.
    format: str = ""  # Annotation format: voc, yolo, coco, cvat, labelme, via, createml or datumaro:NAME; "": detected.
    images: str = ""  # Location of the images, if they are not with the annotations; given like source.
    # Allowed labels, in the order of their class indices; []: those of the source.
    labels: list[str] = field(default_factory=list)
    # New names of labels, {"Dead": "Tree"}; several labels may get the same name.
    rename: dict[str, str] = field(default_factory=dict)
    keep_splits: bool = True  # Keep the source's train, validation and test splits; false: all rows in one split.
    origin: str = ""  # Origin of VOC coordinates: zero_based, one_based or shifted; "": detected.
    task: str = ""  # Task of YOLO annotations: detect, segment, obb or pose; "": detected.
    # What to do about each problem: "fix", "drop", "fail" or "keep", where it applies.
    missing_image: str = "fail"  # Action if an image file does not exist: fail or drop.
    # Action if a folder or list of a split does not exist: fail or drop (continue without it).
    missing_split: str = "fail"
    unreadable_image: str = "fail"  # Action if a file is not an image, or is damaged: fail or drop.
    oversized_image: str = "fail"  # Action if an image has more than max_pixels: fail or drop.
    animated_image: str = "fix"  # Action if an image is animated: fix (keep the first frame), drop or fail.
    duplicate_name: str = "fail"  # Action if two images have the same name: fail, fix (rename the second) or drop.
    duplicate_ids: str = "fail"  # Action if COCO ids are not unique: fail, fix (use the first image of an id) or drop.
    # Action if the annotated size differs from the image's: fail, fix (scale the boxes), drop or keep.
    size_mismatch: str = "fail"
    # Action if an image has an EXIF rotation: fix (store it upright, with its boxes), drop or fail.
    exif_rotation: str = "fix"
    # Action if VOC coordinates start at 1: fix (convert them to start at 0) or fail.
    one_based_coordinates: str = "fix"
    unknown_label: str = "fail"  # Action if a label is not in labels, or a class index has no name: fail or drop.
    # Action if a polygon, mask or box cannot be read: fix (keep the valid parts), drop or fail.
    invalid_shape: str = "fix"
    swapped_corners: str = "fix"  # Action if a box has swapped corners: fix (put them in order), drop, fail or keep.
    out_of_bounds: str = "fix"  # Action if a box reaches outside its image: fix (clip it), drop, fail or keep.
    zero_area: str = "drop"  # Action if a box has no area inside its image: drop, fail or keep.
    duplicate_object: str = "drop"  # Action if an object is given twice: drop (keep the first), fail or keep.
    max_pixels: int = MAX_PIXELS  # Maximum number of pixels of an image; 100 million take 300 MB when decoded.
    tile_size: int = 0  # Side of the square tiles that larger images are cut into, in pixels; 0: images are not cut.
    tile_overlap: int = 64  # Overlap of tiles in pixels: smaller objects are whole in a tile. Needs a group_column.
    tile_min_visibility: float = 0.5  # Minimum fraction of a box's area that a tile needs to keep the (clipped) object.
    keep_empty: bool = True  # Keep images and tiles without objects: a detector learns the background from them.

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
                raise ConfigError(f"{name}={action!r} is not supported; give one of {', '.join(CHECKS[name].actions)}")
        self._check_tiles()
        if len(set(self.labels)) < len(self.labels):
            raise ConfigError(f"labels={self.labels} has a duplicate; give each label once")
        if self.max_pixels < 1:
            raise ConfigError(f"max_pixels={self.max_pixels} is out of range; give a number above 0")

    def _check_tiles(self) -> None:
        if self.tile_size and not MIN_TILE_SIZE <= self.tile_size <= MAX_TILE_SIZE:
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
        """Return these settings, with SAMPLE_SETTINGS instead of defaults if the source is the sample."""
        defaults = Config()
        given = {name for name in SAMPLE_SETTINGS if getattr(self, name) != getattr(defaults, name)}
        sample = {name: value for name, value in SAMPLE_SETTINGS.items() if name not in given}
        return replace(self, **sample) if self.source == SAMPLE else self

    def actions(self) -> dict[str, str]:
        """Return the action of each check in annotations.checks.CHECKS."""
        return {name: getattr(self, name) for name in CHECKS}
