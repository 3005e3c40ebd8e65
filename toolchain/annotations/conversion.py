"""Conversion: annotations from one format to another with their pictures, whole or not at all, and what was lost."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath

from toolchain import image_decoding
from toolchain.annotations import (
    Collection,
    Conversion,
    Finding,
    Picture,
    coco_writing,
    createml,
    cvat_writing,
    losses_file,
    voc_writing,
    write,
    yolo,
)
from toolchain.annotations.checks import DROP, FIX, KEEP, Checker
from toolchain.annotations.files import stem_of
from toolchain.annotations.geometry import turned
from toolchain.annotations.losses import Losses
from toolchain.annotations.model import in_words
from toolchain.artifacts.folder import link_or_copy, new_folder, write_json
from toolchain.errors import DataError
from toolchain.image_files import is_hidden

PLACES = {
    "coco": coco_writing.place,
    "createml": createml.place,
    "cvat": cvat_writing.place,
    "voc": voc_writing.place,
    "yolo": yolo.place,
}
ONE_FILE_EACH = ("voc", "yolo")  # formats with an annotation file for each picture, named as it
THINGS = (
    "swapped_corners",
    "out_of_bounds",
    "zero_area",
    "duplicate_object",
)  # checks of things that a conversion tells of, and keeps
LOSSES_FORMAT = "toolchain.losses"


def convert_collection(
    collection: Collection,
    target: Path,
    format_: str,
    task: str = "",
    fix: bool = False,
    invalid_shape: str = FIX,
) -> Conversion:
    """Write ``collection`` to ``target`` in ``format_``, and to TARGET.losses.json what that cannot hold.

    Pictures are linked where the disk allows, and copied otherwise. Things that look wrong are told of and kept as they
    are, or mended with ``fix``; objects whose class has no name, and pictures whose size nothing tells where the target
    needs it, are left out and told of.

    Raises:
        ArtifactError: there is something at ``target``.
        DataError: the source is damaged, has no picture, or has a broken outline and ``invalid_shape`` is "fail".
        StorageFullError: the disk is full.
    """
    found = (task or yolo.task_of(collection.pictures())) if format_ == "yolo" else ""
    losses = Losses(format_, found)
    losses.see_source(collection)
    with new_folder(target) as folder:
        work = _Work(folder, format_, losses, _checker(collection, fix, invalid_shape))
        write(folder, collection, work.passed(collection), format_, found)
        if not work.written:
            findings = (*collection.findings, *work.told(), *work.checker.findings())
            raise DataError(f"the source has no picture that can be converted{in_words(findings)}")
        work.checker.finish()
    result = Conversion(
        source_format=collection.format,
        target_format=format_,
        task=found,
        pictures=work.written,
        objects=work.objects,
        losses=losses.findings(),
        findings=(*collection.findings, *work.told(), *work.checker.findings()),
    )
    write_json(losses_file(target), {"format": LOSSES_FORMAT, "version": 1, **asdict(result)})
    return result


def _checker(collection: Collection, fix: bool, invalid_shape: str) -> Checker:
    kept = {} if fix else dict.fromkeys(THINGS, KEEP)
    actions = {**kept, "unknown_label": DROP, "invalid_shape": invalid_shape}
    return Checker(actions, collection.labels, decoded=False)


@dataclass
class _Work:
    """A conversion under way."""

    folder: Path
    format: str
    losses: Losses
    checker: Checker
    written: int = 0  # pictures
    objects: int = 0
    notes: dict[str, list[str]] = field(default_factory=dict)  # examples of all cases, by rule
    taken: set[str] = field(default_factory=set)

    def passed(self, collection: Collection) -> Iterator[Picture]:
        """Yield the pictures that are written, with their files put in place."""
        for picture in collection.pictures():
            sized = self._sized(picture)
            if sized is None:
                continue
            named = self.checker.check_things(self._named(sized))
            self.losses.see(named)
            self.written += 1
            self.objects += len(named.things)
            yield named  # its name is checked before anything is written
            self._put(named)

    def told(self) -> Iterator[Finding]:
        for rule, cases in self.notes.items():
            yield Finding(rule=rule, count=len(cases), examples=tuple(cases[:5]))

    def _note(self, rule: str, example: str) -> None:
        self.notes.setdefault(rule, []).append(example)

    def _sized(self, picture: Picture) -> Picture | None:
        """Return ``picture`` with a size, its things turned where YOLO's readers turn the picture."""
        facts = self._facts(picture)
        said = (picture.width, picture.height)
        if facts is None:
            if not all(said):
                self._note("picture whose size nothing tells (left out)", picture.name)
                return None
            return picture
        stored = (facts.width, facts.height)
        upright = stored[::-1] if facts.orientation in image_decoding.TURNED else stored
        if not all(said):
            return replace(picture, width=upright[0], height=upright[1])
        if said not in (stored, upright):
            self._note("size in the annotations is not the picture's", f"{picture.name}: {said} said, {stored} real")
        elif said == stored != upright and self.format == "yolo":
            self._note("boxes turned as EXIF asks", picture.name)
            things = tuple(turned(thing, facts.orientation, *stored) for thing in picture.things)
            return replace(picture, width=upright[0], height=upright[1], things=things)
        return picture

    def _facts(self, picture: Picture) -> image_decoding.Facts | None:
        data = picture.embedded or (picture.file.read_bytes() if picture.file else None)
        if data is None:
            self._note("picture is missing (its annotations are converted)", picture.name)
            return None
        try:
            return image_decoding.inspect(data, picture.name, max_pixels=2**62)  # nothing is decoded here
        except DataError as error:
            self._note("picture is not one, or is damaged", str(error))
            return None

    def _named(self, picture: Picture) -> Picture:
        """Return ``picture``, renamed where the target has its place, or that of its annotations, already."""
        visible = "/".join(f"_{part}" if is_hidden(part) else part for part in picture.name.split("/"))
        name, number = visible, 1
        while (place := self._place(replace(picture, name=name))) in self.taken:
            number += 1
            path = PurePosixPath(visible)
            name = str(path.with_name(f"{path.stem}-{number}{path.suffix}"))
        self.taken.add(place)
        if name != visible:
            self._note("picture renamed, since another has its place", f"{picture.name} becomes {name}")
        elif name != picture.name:
            self._note("picture renamed, since readers skip hidden files", f"{picture.name} becomes {name}")
        return replace(picture, name=name)

    def _place(self, picture: Picture) -> str:
        place = PLACES[self.format](picture)
        return stem_of(place) if self.format in ONE_FILE_EACH else place

    def _put(self, picture: Picture) -> None:
        target = self.folder / PLACES[self.format](picture)
        if picture.embedded is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(picture.embedded)
        elif picture.file is not None:
            link_or_copy(picture.file, target)
