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
    source: str = SAMPLE  # folder, package:NAME/FOLDER, or archive at a path, s3:// or https://
    digest: str = ""  # expected SHA-256 of the source, 64 hexadecimal digits; "": any
    # "voc", "yolo", "coco", "cvat", "labelme", "via", "createml" or "datumaro:NAME"; "": detected.
    format: str = ""
    images: str = ""  # location of the images, like source; "": with the annotations
    labels: list[str] = field(default_factory=list)  # the allowed classes, in their order; []: those of the source
    rename: dict[str, str] = field(default_factory=dict)  # new names of labels, {"Dead": "Tree"}; may be equal
    keep_splits: bool = True  # keep the source's train, validation and test; False: all rows in one split
    origin: str = ""  # coordinates of VOC: "zero_based", "one_based" or "shifted"; "": detected
    task: str = ""  # task of YOLO's lines: "detect", "segment", "obb" or "pose"; "": detected
    # What to do about each problem: "fix", "drop", "fail" or "keep", where it applies.
    missing_image: str = "fail"  # an image file does not exist
    missing_split: str = "fail"  # a folder or list of a split does not exist; "drop": continue without it
    unreadable_image: str = "fail"  # a file is not an image, or is damaged
    oversized_image: str = "fail"  # an image has more than max_pixels
    animated_image: str = "fix"  # an image is animated; "fix": keep the first frame
    duplicate_name: str = "fail"  # two images have the same name; "fix": rename the second one
    duplicate_ids: str = "fail"  # COCO ids are not unique; "fix": give the annotations to the first image of an id
    size_mismatch: str = "fail"  # the annotated size differs from the image's; "fix": scale the boxes
    exif_rotation: str = "fix"  # an image has an EXIF rotation; "fix": store it upright, with its boxes
    one_based_coordinates: str = "fix"  # VOC coordinates start at 1; "fix": convert them to start at 0
    unknown_label: str = "fail"  # a label is not in labels, or a class number has no name
    invalid_shape: str = "fix"  # a polygon, mask or box cannot be read; "fix": keep the valid parts
    swapped_corners: str = "fix"  # right is left of left, or bottom above top; "fix": put them in order
    out_of_bounds: str = "fix"  # a box reaches outside its image; "fix": clip it
    zero_area: str = "drop"  # a box has no area (in its image)
    duplicate_object: str = "drop"  # an object is given twice; "drop": keep the first one
    max_pixels: int = MAX_PIXELS  # of an image: 100 million take 300 MB when decoded
    tile_size: int = 0  # pixels: larger images are cut into square tiles of this side; 0: they are not cut
    tile_overlap: int = 64  # pixels that neighboring tiles share: objects up to that size are whole in some tile
    tile_min_visibility: float = 0.5  # share of a box's area that a tile needs to keep the object, clipped
    keep_empty: bool = True  # keep images and tiles without objects: a detector learns the background from them

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
