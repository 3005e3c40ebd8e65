"""Apply the checks to annotated images: fix, drop or keep what is wrong, and count it."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from toolchain import image_decoding
from toolchain.annotations.checks import CHECKS, DEFAULTS, DROP, FAIL, FIX, KEEP, Tally, describe_label
from toolchain.annotations.geometry import (
    apply_orientation,
    area,
    clip,
    intersection,
    outer_box,
    scale,
    upright_box,
)
from toolchain.annotations.types import COCO, AnnotatedImage, Annotation, Box, Collection, Finding, format_fields
from toolchain.errors import DataError

ROUNDING = 1e-6  # of the image's longer side: what six written decimals of a fraction can put a box outside by
OVERSIZED_MESSAGES = (" pixels, more than the ", " is too large ")  # parts of image_decoding.inspect's errors

Size = tuple[int, int]  # width, height in pixels


class Checker:
    """Checks images one at a time and counts the problems.

    Problems whose action is "fail" raise in ``finish`` only, so that the error names all of them.
    """

    def __init__(
        self,
        actions: Mapping[str, str],
        labels: tuple[str, ...],
        max_pixels: int = image_decoding.MAX_PIXELS,
        decode: bool = True,
    ) -> None:
        """Create a checker.

        Args:
            actions: By the name of a check in CHECKS, where it is not the default.
            labels: Those allowed.
            max_pixels: Of an image.
            decode: Decode each image, to find damage behind its header.
        """
        self.actions = {**DEFAULTS, **actions}
        self.labels, self.max_pixels, self.decode = frozenset(labels), max_pixels, decode
        self.found = {name: Tally() for name in CHECKS}
        self.dropped_images: dict[str, Tally] = {}
        self.dropped_objects: Counter[str] = Counter()  # by check
        self._names: set[tuple[str, str]] = set()
        self._ids: set[object] = set()

    def add_source(self, collection: Collection) -> None:
        """Count the problems that were found while reading ``collection``."""
        for finding in (*collection.findings, *_coordinate_findings(collection)):
            name, _, rest = finding.rule.partition(": ")
            if name in CHECKS:
                for example in finding.examples[:1]:
                    self.found[name].add(f"{rest}: {example}", finding.count)

    def check(self, image: AnnotatedImage) -> tuple[AnnotatedImage, bytes] | None:
        """Return ``image``, fixed and with its actual size, and its file; None if it is dropped."""
        named = self._with_unique_name(image)
        data = self._read(named) if named else None
        if named is None or data is None:
            return None
        facts = self._inspect(named, data)
        if facts is None:
            return None
        if facts.frames > 1 and facts.kind != "MPO":  # a camera's JPEG with an embedded preview is not an animation
            if self._report("animated_image", named, f"{named.name}: {facts.frames} frames") != FIX:
                return None
            data, facts = self._reencode(data, named, facts)
        return self._with_size(named, data, facts)

    def check_annotations(self, image: AnnotatedImage) -> AnnotatedImage:
        """Return ``image`` with the annotations that are kept, for its own width and height."""
        kept: list[Annotation] = []
        keys = set()
        for annotation in image.annotations:
            checked = self._check_annotation(annotation, image)
            if checked is None:
                continue
            key = (checked.label, checked.box, checked.rotation, checked.polygons, checked.mask)
            if key in keys and self._report("duplicate_object", None, _describe(checked, image)) != KEEP:
                self.dropped_objects["duplicate_object"] += 1
                continue
            keys.add(key)
            kept.append(checked)
        return replace(image, annotations=tuple(kept))

    def finish(self) -> None:
        """Raise DataError if there are problems whose action is "fail"."""
        failed = {name: tally for name, tally in self.found.items() if tally.count and self.actions[name] == FAIL}
        if not failed:
            return
        problems = (f"{CHECKS[name].rule} ({t.count:,} times, such as {t.examples[0]})" for name, t in failed.items())
        choices = (f"{name}={'|'.join(a for a in CHECKS[name].actions if a != FAIL)}" for name in failed)
        raise DataError(f"the annotations have problems: {'; '.join(problems)}; fix them, or set {', '.join(choices)}")

    def report(self) -> list[dict[str, Any]]:
        """Return the result of each check as JSON: check, rule, action, count, examples."""
        return [
            {
                "check": name,
                "rule": CHECKS[name].rule,
                "action": self.actions[name],
                "count": tally.count,
                "examples": tally.examples,
            }
            for name, tally in self.found.items()
        ]

    def findings(self) -> tuple[Finding, ...]:
        """Return the checks that found problems."""
        return tuple(
            Finding(rule=self._outcome(name), count=tally.count, examples=tuple(tally.examples))
            for name, tally in self.found.items()
            if tally.count
        )

    def _outcome(self, check: str) -> str:
        """Return the rule of ``check``, and how many of its cases were dropped."""
        rule, dropped, count = CHECKS[check].rule, self.dropped_objects[check], self.found[check].count
        if not dropped:
            return rule
        return f"{rule} (dropped)" if dropped == count else f"{rule} ({dropped:,} dropped)"

    def _report(self, check: str, image: AnnotatedImage | None, example: str) -> str:
        """Count a case of ``check``, and ``image`` if the action drops it; return the action."""
        self.found[check].add(example)
        action = self.actions[check]
        if image is not None and action == DROP:
            self._drop(check, example)
        return action

    def _drop(self, check: str, example: str) -> None:
        self.dropped_images.setdefault(CHECKS[check].rule, Tally()).add(example)

    def _with_unique_name(self, image: AnnotatedImage) -> AnnotatedImage | None:
        """Return ``image``, renamed if its name is taken; None if it is dropped."""
        id_ = format_fields(image.metadata, COCO).get("id")
        key = (image.split, str(image.metadata.get("subset")), id_)
        if id_ is not None and key in self._ids and self.actions["duplicate_ids"] == DROP:
            self._drop("duplicate_ids", f"{image.name}: id {id_!r}")
            return None
        self._ids.add(key)
        name, number = image.name, 1
        while (image.split, name) in self._names:
            number += 1
            path = PurePosixPath(image.name)
            name = str(path.with_name(f"{path.stem}-{number}{path.suffix}"))
        if name != image.name and self._report("duplicate_name", image, f"{image.name} in {image.split}") != FIX:
            return None
        self._names.add((image.split, name))
        return replace(image, name=name)

    def _read(self, image: AnnotatedImage) -> bytes | None:
        if image.embedded is not None:
            return image.embedded
        if image.file is None:
            self._report("missing_image", image, image.name)
            return None
        try:
            return image.file.read_bytes()
        except OSError as error:
            self._report("unreadable_image", image, f"{image.name}: {error}")
            return None

    def _inspect(self, image: AnnotatedImage, data: bytes) -> image_decoding.Facts | None:
        """Return the facts about the file ``data``; None if it is not a valid image."""
        try:
            facts = image_decoding.inspect(data, image.name, self.max_pixels)
            if self.decode:
                image_decoding.decode(data, image.name, max_pixels=self.max_pixels)
        except DataError as error:
            is_oversized = any(part in str(error) for part in OVERSIZED_MESSAGES)
            self._report("oversized_image" if is_oversized else "unreadable_image", image, str(error))
            return None
        return facts

    def _with_size(
        self, image: AnnotatedImage, data: bytes, facts: image_decoding.Facts
    ) -> tuple[AnnotatedImage, bytes] | None:
        """Return ``image`` at its actual size, upright; None if it is dropped."""
        stored = (facts.width, facts.height)
        upright = stored[::-1] if facts.orientation in image_decoding.TURNED else stored
        annotated = (image.width, image.height) if image.width and image.height else upright
        is_stored = annotated == stored and stored != upright  # tools show squares and half turns upright
        if facts.orientation != 1:
            example = f"{image.name}: orientation {facts.orientation}, size {annotated}"
            if self._report("exif_rotation", image, example) != FIX:
                return None
            if is_stored:
                image, annotated = oriented(image, facts.orientation, stored), upright
            data, facts = self._reencode(data, image, facts)
        if annotated != upright:
            return self._rescale(image, data, annotated, upright)
        return replace(image, width=upright[0], height=upright[1]), data

    def _rescale(
        self, image: AnnotatedImage, data: bytes, annotated: Size, actual: Size
    ) -> tuple[AnnotatedImage, bytes] | None:
        example = f"{image.name}: annotated as {annotated[0]} x {annotated[1]}, but it is {actual[0]} x {actual[1]}"
        action = self._report("size_mismatch", image, example)
        if action == KEEP:
            return replace(image, width=actual[0], height=actual[1]), data
        if action != FIX:
            return None
        if any(annotation.mask for annotation in image.annotations):
            raise DataError(f"{example}: it has masks, which cannot be scaled; set size_mismatch=drop")
        factors = (actual[0] / annotated[0], actual[1] / annotated[1])
        annotations = tuple(scale(annotation, *factors) for annotation in image.annotations)
        return replace(image, width=actual[0], height=actual[1], annotations=annotations), data

    def _reencode(
        self, data: bytes, image: AnnotatedImage, facts: image_decoding.Facts
    ) -> tuple[bytes, image_decoding.Facts]:
        """Return the file of the first frame, upright: a JPEG stays a JPEG, others become PNG."""
        pixels = image_decoding.decode(data, image.name, max_pixels=self.max_pixels)
        written = image_decoding.encode(pixels, "JPEG" if facts.kind in ("JPEG", "MPO") else "PNG")
        return written, image_decoding.inspect(written, image.name, self.max_pixels)

    def _check_annotation(self, annotation: Annotation, image: AnnotatedImage) -> Annotation | None:
        """Return ``annotation``, fixed where needed; None if it is dropped."""
        if annotation.label not in self.labels:
            example = f"{image.name}: {describe_label(annotation.label, len(self.labels))}"
            self._report("unknown_label", None, example)
            self.dropped_objects["unknown_label"] += 1
            return None
        left, top, right, bottom = annotation.box
        if annotation.error:
            example = f"{image.name}: {annotation.label}: {annotation.error}"
            if self._report("invalid_shape", None, example) != FIX or left == right or top == bottom:
                self.dropped_objects["invalid_shape"] += 1
                return None
            annotation = replace(annotation, error="")
        if right < left or bottom < top:
            action = self._report("swapped_corners", None, _describe(annotation, image))
            if action == KEEP:
                return annotation
            if action != FIX:
                self.dropped_objects["swapped_corners"] += 1
                return None
            box = (min(left, right), min(top, bottom), max(left, right), max(top, bottom))
            annotation = replace(annotation, box=box)
        return self._check_bounds(annotation, image)

    def _check_bounds(self, annotation: Annotation, image: AnnotatedImage) -> Annotation | None:
        """Return ``annotation``, clipped to ``image``; None if it is dropped."""
        window = (0.0, 0.0, float(image.width), float(image.height))
        box = outer_box(annotation)
        has_area = area(upright_box(annotation)) > 0
        if has_area and intersection(box, window) != box and not _is_rotated_inside(annotation, window):
            beyond = max(window[0] - box[0], window[1] - box[1], box[2] - window[2], box[3] - window[3])
            is_rounding = beyond <= ROUNDING * max(image.width, image.height)
            action = FIX if is_rounding else self._report("out_of_bounds", None, _describe(annotation, image))
            if action in (DROP, FAIL):
                self.dropped_objects["out_of_bounds"] += 1
                return None
            annotation = clip(annotation, window) if action == FIX else annotation
        if area(upright_box(annotation)) > 0 or self._report("zero_area", None, _describe(annotation, image)) == KEEP:
            return annotation
        self.dropped_objects["zero_area"] += 1
        return None


def oriented(image: AnnotatedImage, orientation: int, stored: Size) -> AnnotatedImage:
    """Return ``image`` with its annotations as they lie once EXIF's ``orientation`` is applied to the stored image."""
    annotations = tuple(apply_orientation(annotation, orientation, *stored) for annotation in image.annotations)
    return replace(image, annotations=annotations)


def _coordinate_findings(collection: Collection) -> Iterator[Finding]:
    """Yield a finding if VOC's coordinates start at 1."""
    origin = collection.metadata.get("origin", "zero_based")
    if origin != "zero_based":
        evidence = str(collection.metadata.get("origin_evidence"))
        yield Finding(rule=f"one_based_coordinates: read as {origin}", count=1, examples=(evidence,))


def _is_rotated_inside(annotation: Annotation, window: Box) -> bool:
    """Return whether a rotated box has its center inside ``window``: its corners may lie outside, and it is kept."""
    left, top, right, bottom = annotation.box
    x, y = (left + right) / 2, (top + bottom) / 2
    return bool(annotation.rotation) and window[0] <= x <= window[2] and window[1] <= y <= window[3]


def _describe(annotation: Annotation, image: AnnotatedImage) -> str:
    edges = ", ".join(f"{edge:g}" for edge in annotation.box)
    return f"{image.name}: {annotation.label} at {edges}"
