"""Checks of annotated images: what can be wrong with them, and what a user can do about it."""

from dataclasses import dataclass, field

from toolchain.annotations.types import MAX_EXAMPLES, UNKNOWN_CLASS

FIX, DROP, FAIL, KEEP = "fix", "drop", "fail", "keep"


@dataclass(frozen=True)
class Check:
    """A problem that annotated images can have."""

    rule: str  # a short description
    actions: tuple[str, ...]  # that a user can choose, the default first
    fixed: str = ""  # what "fix" does


CHECKS = {
    "missing_image": Check("image is missing", (FAIL, DROP)),
    "missing_split": Check("folder or list of a split does not exist", (FAIL, DROP)),
    "unreadable_image": Check("file is not an image, or is damaged", (FAIL, DROP)),
    "oversized_image": Check("image has more pixels than max_pixels", (FAIL, DROP)),
    "animated_image": Check("image is animated", (FIX, DROP, FAIL), "the first frame is kept"),
    "duplicate_name": Check("two images have the same name", (FAIL, FIX, DROP), "the second one is renamed"),
    "duplicate_ids": Check("duplicate COCO id", (FAIL, FIX, DROP), "annotations go to the first image of an id"),
    "size_mismatch": Check(
        "size in the annotations differs from the image's", (FAIL, FIX, DROP, KEEP), "boxes are scaled to the image"
    ),
    "exif_rotation": Check("image has an EXIF rotation", (FIX, DROP, FAIL), "it is stored upright, with its boxes"),
    "one_based_coordinates": Check("VOC coordinates start at 1", (FIX, FAIL), "they are converted to start at 0"),
    "unknown_label": Check("label is not in the list", (FAIL, DROP)),
    "invalid_shape": Check("box, polygon or mask is not valid", (FIX, DROP, FAIL), "the valid parts are kept"),
    "swapped_corners": Check("box has swapped corners", (FIX, DROP, FAIL, KEEP), "they are put in order"),
    "out_of_bounds": Check("box reaches outside the image", (FIX, DROP, FAIL, KEEP), "it is clipped"),
    "zero_area": Check("box has no area", (DROP, FAIL, KEEP)),
    "duplicate_object": Check("duplicate object", (DROP, FAIL, KEEP)),
}
DEFAULTS = {name: check.actions[0] for name, check in CHECKS.items()}


@dataclass
class Tally:
    """The number of cases of a problem, with a few examples."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: str, count: int = 1) -> None:
        self.count += count
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(example)


def describe_label(label: str, count: int) -> str:
    """Return ``label``, which is not one of the ``count`` labels, or its number if it has no name."""
    if not label.startswith(UNKNOWN_CLASS):
        return repr(label)
    names = "1 class has a name" if count == 1 else f"{count:,} classes have names"
    return f"class {label.removeprefix(UNKNOWN_CLASS)} has no name ({names})"
