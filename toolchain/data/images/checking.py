"""Check each image of a source: readable, not animated, not a duplicate; count what is kept and dropped."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from toolchain.artifacts.dataset import EXAMPLES_PER_RULE
from toolchain.data.images.class_folders import SourceImage
from toolchain.data.images.settings import Config
from toolchain.errors import DataError
from toolchain.image_decoding import Facts, brightest, decode, inspect
from toolchain.image_files import HIDDEN
from toolchain.progress import log_warning

MAX_14_BIT = 1 << 14  # 16-bit images with all values below have 10, 12 or 14 bits, as from cameras and scanners
MAX_SIZES_LISTED = 5


@dataclass(frozen=True)
class Loaded:
    """An image and the result of reading it."""

    source: SourceImage
    data: bytes  # the file
    facts: Facts | None  # None: it cannot be read
    brightest: int  # the largest value of a 16-bit image, 0 for all others
    error: str  # why it cannot be read


def load(image: SourceImage, config: Config) -> Loaded:
    """Read the header of an image and decode its pixels, which detects truncated files."""
    data = image.load()
    try:
        facts = inspect(data, image.path, config.max_pixels)
        if not image.is_generated:
            decode(data, image.path, max_pixels=config.max_pixels)
    except DataError as error:
        return Loaded(image, b"", None, 0, str(error))
    return Loaded(image, data, facts, brightest(data, image.path) if facts.mode.startswith("I") else 0, "")


@dataclass
class Tally:
    """Applies the rules, and counts the images that are kept and dropped."""

    config: Config
    rows: int = 0  # read so far, including dropped ones
    first_rows: dict[bytes, tuple[int, str]] = field(default_factory=dict)  # row and class by digest, 16 bytes each
    examples: dict[str, list[str]] = field(default_factory=dict)  # of dropped rows, by rule
    dropped: Counter[str] = field(default_factory=Counter)  # rows by rule
    formats: Counter[str] = field(default_factory=Counter)  # kept rows by format and mode: "PNG, RGB"
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)  # kept rows by width and height
    brightest: int = 0  # the largest value in kept 16-bit images

    def keep(self, row: int, image: Loaded) -> bool:
        """Return whether an image breaks no rule; count it.

        Raises:
            DataError: it breaks a rule whose action is "fail".
        """
        source, facts = image.source, image.facts
        if facts is None:
            return self._drop("the image cannot be read", f"row {row}: {image.error}", "unreadable_image")
        if facts.frames > 1:
            detail = f"row {row}: {source.path} has {facts.frames} frames"
            return self._drop("the image is an animation", detail, "animated_image")
        key = hashlib.blake2b(image.data, digest_size=16).digest()
        if key in self.first_rows:
            first, label = self.first_rows[key]
            detail = f"row {row}: {source.path} ({source.label}) equals row {first} ({label})"
            rule = "duplicate of an earlier image" + ("" if label == source.label else " with a different class")
            return self._drop(rule, detail, "duplicate_image")
        self.first_rows[key] = row, source.label
        self.formats[f"{facts.kind}, {facts.mode}"] += 1
        self.sizes[facts.width, facts.height] += 1
        self.brightest = max(self.brightest, image.brightest)
        return True

    def note(self, skipped: dict[str, list[str]]) -> dict[str, Any]:
        """Return the note of the dataset, which the report shows."""
        sizes = {f"{width} x {height}": count for (width, height), count in self.sizes.most_common(MAX_SIZES_LISTED)}
        note = {"formats": dict(self.formats.most_common()), "sizes": sizes, "distinct_sizes": len(self.sizes)}
        if skipped:
            note["skipped_files"] = {reason: len(names) for reason, names in skipped.items()}
        return note

    def warn(self, skipped: dict[str, list[str]]) -> None:
        """Warn about skipped files and images of fewer than 16 bits that are stored in 16."""
        for reason, names in skipped.items():
            if reason != HIDDEN:
                log_warning(f"{len(names):,} skipped: {reason}, such as {names[0]}")
        if 0 < self.brightest < MAX_14_BIT:
            log_warning(
                f"16-bit images have no value above {self.brightest:,} and will be nearly black; scale the values to 0 "
                "to 65,535 (multiply 12-bit values by 16), also in requests"
            )

    def _drop(self, rule: str, detail: str, setting: str) -> bool:
        if getattr(self.config, setting) == "fail":
            raise DataError(f"{self.config.source}: {rule} ({detail}); correct the file, or set {setting}=drop")
        self.dropped[rule] += 1
        examples = self.examples.setdefault(rule, [])
        if len(examples) < EXAMPLES_PER_RULE:
            examples.append(detail)
        return False
