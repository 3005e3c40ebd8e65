"""Checks of annotated pictures: what can be wrong, what is done about each, and how often it was found."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from toolchain import image_decoding
from toolchain.annotations.geometry import area, clip, covered, meet, reach, scaled, turned
from toolchain.annotations.model import COCO, Collection, Finding, Picture, Thing, of_format
from toolchain.errors import DataError

FIX, DROP, FAIL, KEEP = "fix", "drop", "fail", "keep"
EXAMPLES = 5
ROUNDING = 1e-6  # of the picture's larger side: what six written decimals of a fraction can put a box outside by
LARGE_SIGNS = (
    " pixels, more than the ",
    " is too large ",
)  # of a picture beyond the limit, in errors of pictures.inspect


@dataclass(frozen=True)
class Check:
    """One thing that can be wrong."""

    rule: str  # in words
    actions: tuple[str, ...]  # that a user can choose from, the default first
    fixed: str = ""  # what "fix" does


CHECKS = {
    "missing_image": Check("picture is missing", (FAIL, DROP)),
    "missing_split": Check("folder or list of a split is named and is not there", (FAIL, DROP)),
    "unreadable_image": Check("picture is not one, or is damaged", (FAIL, DROP)),
    "oversized_image": Check("picture has more pixels than allowed", (FAIL, DROP)),
    "animated_image": Check("picture is an animation", (FIX, DROP, FAIL), "its first frame stays"),
    "duplicate_name": Check("two pictures have one name", (FAIL, FIX, DROP), "the later one is renamed"),
    "duplicate_ids": Check("COCO id repeated", (FAIL, FIX, DROP), "annotations go to the first picture of an id"),
    "size_mismatch": Check(
        "size in the annotations is not the picture's", (FAIL, FIX, DROP, KEEP), "boxes are scaled to it"
    ),
    "exif_rotation": Check(
        "EXIF asks to turn the picture", (FIX, DROP, FAIL), "it is stored upright, boxes go with it"
    ),
    "one_based_coordinates": Check("VOC coordinates count from 1", (FIX, FAIL), "they are read as positions from 0"),
    "unknown_label": Check("label is not in the list", (FAIL, DROP)),
    "invalid_shape": Check("outline or box is broken", (FIX, DROP, FAIL), "the part that can be read stays"),
    "swapped_corners": Check("box has its corners swapped", (FIX, DROP, FAIL, KEEP), "they are put in order"),
    "out_of_bounds": Check("box reaches outside the picture", (FIX, DROP, FAIL, KEEP), "it is clipped"),
    "zero_area": Check("box has no area", (DROP, FAIL, KEEP)),
    "duplicate_object": Check("box is there twice", (DROP, FAIL, KEEP)),
}
DEFAULTS = {name: check.actions[0] for name, check in CHECKS.items()}


@dataclass
class Found:
    """How often a check found something, and a few cases."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: str, count: int = 1) -> None:
        self.count += count
        if len(self.examples) < EXAMPLES:
            self.examples.append(example)


class Checker:
    """Checks pictures one after the other, and tells in the end.

    Raises nothing for what ``actions`` say to "fail" until ``finish``, so that a user hears of all of it at once.
    """

    def __init__(
        self,
        actions: Mapping[str, str],
        labels: tuple[str, ...],
        max_pixels: int = image_decoding.MAX_PIXELS,
        decoded: bool = True,
    ) -> None:
        """Begin; ``labels`` are those allowed; ``decoded``: look at all pixels, not only at a file's beginning."""
        self.actions = {**DEFAULTS, **actions}
        self.labels, self.max_pixels, self.decoded = frozenset(labels), max_pixels, decoded
        self.found = {name: Found() for name in CHECKS}
        self.dropped_pictures: dict[str, Found] = {}
        self._names: set[tuple[str, str]] = set()
        self._ids: set[object] = set()

    def see_source(self, collection: Collection) -> None:
        """Take in what reading ``collection`` alone showed."""
        for finding in (*collection.findings, *_offsets_of(collection)):
            name, _, rest = finding.rule.partition(": ")
            if name in CHECKS:
                for example in finding.examples[:1]:
                    self.found[name].add(f"{rest}: {example}", finding.count)

    def check(self, picture: Picture) -> tuple[Picture, bytes] | None:
        """Return ``picture`` as it is to be used, its size the real one, and its file; None when it falls."""
        picture, falls = self._named(picture)
        data = None if falls else self._read(picture)
        if data is None:
            return None
        try:
            facts = image_decoding.inspect(data, picture.name, self.max_pixels)
            if self.decoded:
                image_decoding.decode(data, picture.name, max_pixels=self.max_pixels)
        except DataError as error:
            large = any(sign in str(error) for sign in LARGE_SIGNS)
            self._case("oversized_image" if large else "unreadable_image", picture, str(error))
            return None
        if facts.frames > 1 and facts.kind != "MPO":  # a camera's JPEG with a preview inside is no animation
            if self._case("animated_image", picture, f"{picture.name}: {facts.frames} frames") != FIX:
                return None
            data, facts = self._rewritten(data, picture, facts)
        return self._sized(picture, data, facts)

    def check_things(self, picture: Picture) -> Picture:
        """Return ``picture`` with the things that stay, for its own width and height."""
        kept: list[Thing] = []
        seen = set()
        for thing in picture.things:
            found = self._thing(thing, picture)
            if found is None:
                continue
            key = (found.label, found.box, found.rotation, found.polygons, found.mask)
            if key in seen and self._case("duplicate_object", None, _of(found, picture)) != KEEP:
                continue
            seen.add(key)
            kept.append(found)
        return replace(picture, things=tuple(kept))

    def finish(self) -> None:
        """Raise DataError when something was found that is to fail."""
        failed = [(name, f) for name, f in self.found.items() if f.count and self.actions[name] == FAIL]
        if failed:
            told = "; ".join(f"{CHECKS[n].rule} ({f.count:,} times, as in {f.examples[0]})" for n, f in failed)
            choices = ", ".join(
                f"{name}={'|'.join(a for a in CHECKS[name].actions if a != FAIL)}" for name, _ in failed
            )
            raise DataError(f"the annotations are not what they seem: {told}; mend them, or choose {choices}")

    def report(self) -> list[dict[str, Any]]:
        """Return what each check found, as JSON: check, rule, action, count, examples."""
        return [
            {
                "check": name,
                "rule": CHECKS[name].rule,
                "action": self.actions[name],
                "count": f.count,
                "examples": f.examples,
            }
            for name, f in self.found.items()
        ]

    def findings(self) -> tuple[Finding, ...]:
        """Return what was found at all."""
        return tuple(
            Finding(rule=CHECKS[name].rule, count=f.count, examples=tuple(f.examples))
            for name, f in self.found.items()
            if f.count
        )

    def _case(self, check: str, picture: Picture | None, example: str) -> str:
        """Count a case of ``check``, and of a dropped ``picture``; return what is to be done."""
        self.found[check].add(example)
        action = self.actions[check]
        if picture is not None and action == DROP:
            self.dropped_pictures.setdefault(CHECKS[check].rule, Found()).add(example)
        return action

    def _named(self, picture: Picture) -> tuple[Picture, bool]:
        """Return ``picture``, with another name where its own is taken, and whether it falls."""
        id_ = of_format(picture.about, COCO).get("id")
        key = (picture.split, str(picture.about.get("subset")), id_)
        if id_ is not None and key in self._ids and self.actions["duplicate_ids"] == DROP:
            self.dropped_pictures.setdefault(CHECKS["duplicate_ids"].rule, Found()).add(f"{picture.name}: id {id_!r}")
            return picture, True
        self._ids.add(key)
        name, number = picture.name, 1
        while (picture.split, name) in self._names:
            number += 1
            path = PurePosixPath(picture.name)
            name = str(path.with_name(f"{path.stem}-{number}{path.suffix}"))
        if name != picture.name and self._case("duplicate_name", picture, f"{picture.name} in {picture.split}") != FIX:
            return picture, True
        self._names.add((picture.split, name))
        return replace(picture, name=name), False

    def _read(self, picture: Picture) -> bytes | None:
        if picture.embedded is not None:
            return picture.embedded
        if picture.file is None:
            self._case("missing_image", picture, picture.name)
            return None
        try:
            return picture.file.read_bytes()
        except OSError as error:
            self._case("unreadable_image", picture, f"{picture.name}: {error}")
            return None

    def _sized(self, picture: Picture, data: bytes, facts: image_decoding.Facts) -> tuple[Picture, bytes] | None:
        """Return ``picture`` at its real size, upright; None when it falls."""
        stored = (facts.width, facts.height)
        upright = stored[::-1] if facts.orientation in image_decoding.TURNED else stored
        stated = (picture.width, picture.height) if picture.width and picture.height else upright
        is_stored = stated == stored and stored != upright  # of a square, or one turned by 180, tools show it upright
        if facts.orientation != 1:
            action = self._case(
                "exif_rotation", picture, f"{picture.name}: orientation {facts.orientation}, size {stated}"
            )
            if action != FIX:
                return None
            if is_stored:
                things = tuple(turned(thing, facts.orientation, *stored) for thing in picture.things)
                picture, stated = replace(picture, things=things), upright
            data, facts = self._rewritten(data, picture, facts)
        if stated != upright:
            return self._rescaled(picture, data, stated, upright)
        return replace(picture, width=upright[0], height=upright[1]), data

    def _rescaled(
        self, picture: Picture, data: bytes, stated: tuple[int, int], real: tuple[int, int]
    ) -> tuple[Picture, bytes] | None:
        example = f"{picture.name}: {stated[0]} x {stated[1]} said, {real[0]} x {real[1]} real"
        action = self._case("size_mismatch", picture, example)
        if action == KEEP:
            return replace(picture, width=real[0], height=real[1]), data
        if action != FIX:
            return None
        if any(thing.mask for thing in picture.things):
            raise DataError(f"{example}: it has masks, which cannot be scaled; choose size_mismatch=drop")
        things = tuple(scaled(thing, real[0] / stated[0], real[1] / stated[1]) for thing in picture.things)
        return replace(picture, width=real[0], height=real[1], things=things), data

    def _rewritten(
        self, data: bytes, picture: Picture, facts: image_decoding.Facts
    ) -> tuple[bytes, image_decoding.Facts]:
        """Return the file of the first frame, upright: a JPEG stays one, all else becomes PNG."""
        pixels = image_decoding.decode(data, picture.name, max_pixels=self.max_pixels)
        written = image_decoding.encode(pixels, "JPEG" if facts.kind in ("JPEG", "MPO") else "PNG")
        return written, image_decoding.inspect(written, picture.name, self.max_pixels)

    def _thing(self, thing: Thing, picture: Picture) -> Thing | None:
        """Return ``thing`` as it stays, None when it falls."""
        if thing.label not in self.labels:
            self._case("unknown_label", None, f"{picture.name}: {thing.label!r}")
            return None
        if thing.broken:
            action = self._case("invalid_shape", None, f"{picture.name}: {thing.label}: {thing.broken}")
            if action != FIX or thing.box[0] == thing.box[2] or thing.box[1] == thing.box[3]:
                return None
            thing = replace(thing, broken="")
        left, top, right, bottom = thing.box
        if right < left or bottom < top:
            action = self._case("swapped_corners", None, _of(thing, picture))
            if action != FIX:
                return thing if action == KEEP else None
            box = (min(left, right), min(top, bottom), max(left, right), max(top, bottom))
            thing = replace(thing, box=box)
        return self._inside(thing, picture)

    def _inside(self, thing: Thing, picture: Picture) -> Thing | None:
        window = (0.0, 0.0, float(picture.width), float(picture.height))
        box = reach(thing)
        if area(covered(thing)) > 0 and meet(box, window) != box and not _turned_inside(thing, window):
            beyond = max(window[0] - box[0], window[1] - box[1], box[2] - window[2], box[3] - window[3])
            seen = beyond > ROUNDING * max(picture.width, picture.height)
            action = self._case("out_of_bounds", None, _of(thing, picture)) if seen else FIX
            if action in (DROP, FAIL):
                return None
            thing = clip(thing, window) if action == FIX else thing
        if area(covered(thing)) <= 0 and self._case("zero_area", None, _of(thing, picture)) != KEEP:
            return None
        return thing


def _offsets_of(collection: Collection) -> Iterator[Finding]:
    """Yield the finding that VOC's coordinates count from 1, when they do."""
    origin = collection.about.get("origin", "zero_based")
    if origin != "zero_based":
        because = str(collection.about.get("origin_because"))
        yield Finding(rule=f"one_based_coordinates: read as {origin}", count=1, examples=(because,))


def _turned_inside(thing: Thing, window: tuple[float, float, float, float]) -> bool:
    """Return whether a turned box has its middle inside ``window``: its corners may lie beyond, and it stays whole."""
    left, top, right, bottom = thing.box
    x, y = (left + right) / 2, (top + bottom) / 2
    return bool(thing.rotation) and window[0] <= x <= window[2] and window[1] <= y <= window[3]


def _of(thing: Thing, picture: Picture) -> str:
    edges = ", ".join(f"{edge:g}" for edge in thing.box)
    return f"{picture.name}: {thing.label} at {edges}"
