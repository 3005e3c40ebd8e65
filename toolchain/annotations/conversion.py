"""Convert annotations to another format, with their images, whole or not at all, and report what is lost."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath

from toolchain import image_decoding
from toolchain.annotations import createml, report_path, write
from toolchain.annotations.checks import CHECKS, DROP, FIX, KEEP
from toolchain.annotations.checks.checker import Checker, oriented
from toolchain.annotations.coco import writer as coco
from toolchain.annotations.cvat import writer as cvat
from toolchain.annotations.files import without_image_suffix
from toolchain.annotations.types import AnnotatedImage, Collection, Conversion, Finding, summarize
from toolchain.annotations.unsupported import UnsupportedFeatures
from toolchain.annotations.voc import writer as voc
from toolchain.annotations.yolo import writer as yolo
from toolchain.artifacts.folder import link_or_copy, new_folder, write_json
from toolchain.errors import DataError
from toolchain.image_files import is_hidden

IMAGE_PATHS: dict[str, Callable[[AnnotatedImage], str]] = {
    "coco": coco.image_path,
    "createml": createml.image_path,
    "cvat": cvat.image_path,
    "voc": voc.image_path,
    "yolo": yolo.image_path,
}
FILE_PER_IMAGE_FORMATS = ("voc", "yolo")  # with an annotation file of the image's name
# Checks of annotations that a conversion reports without changing the annotations.
KEPT_CHECKS = ("swapped_corners", "out_of_bounds", "zero_area", "duplicate_object")
REPORT_FORMAT = "toolchain.conversion"


def convert_collection(
    collection: Collection,
    target: Path,
    format_: str,
    task: str = "",
    fix: bool = False,
    invalid_shape: str = FIX,
) -> Conversion:
    """Write ``collection`` to ``target`` in ``format_``, and a report to TARGET.conversion.json.

    Images are linked where the disk allows, else copied. Annotations that are not valid are reported and kept, or fixed
    with ``fix``. Objects whose class has no name, and images of unknown size where the target needs it, are reported
    and left out; ``dropped`` of the result counts the objects.

    Raises:
        ArtifactError: ``target`` exists.
        DataError: the source is damaged, has no image, or has an invalid shape and ``invalid_shape`` is "fail".
        StorageFullError: the disk is full.
    """
    task = (task or yolo.detect_task(collection.images())) if format_ == "yolo" else ""
    unsupported = UnsupportedFeatures(format_, task)
    unsupported.add_source(collection)
    with new_folder(target) as folder:
        writing = _Writing(folder, format_, unsupported, _checker(collection, fix, invalid_shape))
        write(folder, collection, writing.images(collection), format_, task)
        findings = (*collection.findings, *writing.findings(), *writing.checker.findings())
        if not writing.written:
            raise DataError(f"the source has no image that can be converted{summarize(findings)}")
        writing.checker.finish()
    result = Conversion(
        source_format=collection.format,
        target_format=format_,
        task=task,
        images=writing.written,
        objects=writing.objects,
        unsupported=unsupported.findings(),
        findings=findings,
        dropped=writing.dropped_objects(),
    )
    write_json(report_path(target), {"format": REPORT_FORMAT, "version": 1, **asdict(result)})
    return result


def _checker(collection: Collection, fix: bool, invalid_shape: str) -> Checker:
    kept = {} if fix else dict.fromkeys(KEPT_CHECKS, KEEP)
    actions = {**kept, "unknown_label": DROP, "invalid_shape": invalid_shape}
    return Checker(actions, collection.labels, decode=False)


@dataclass
class _Writing:
    """A conversion in progress."""

    folder: Path
    format: str
    unsupported: UnsupportedFeatures
    checker: Checker
    written: int = 0  # images
    objects: int = 0
    left_out: Counter[str] = field(default_factory=Counter)  # objects of images that are not written, by reason
    cases: dict[str, list[str]] = field(default_factory=dict)  # of problems, by rule
    paths: set[str] = field(default_factory=set)  # of images, or of their annotation files

    def images(self, collection: Collection) -> Iterator[AnnotatedImage]:
        """Yield the images to write, and link or copy their files."""
        for image in collection.images():
            sized = self._with_size(image)
            if sized is None:
                continue
            checked = self.checker.check_annotations(self._with_unique_name(sized))
            self.unsupported.add(checked)
            self.written += 1
            self.objects += len(checked.annotations)
            yield checked  # the writer checks its name before the file is written
            self._write_image(checked)

    def findings(self) -> Iterator[Finding]:
        return (Finding.of(rule, cases) for rule, cases in self.cases.items())

    def dropped_objects(self) -> dict[str, int]:
        """Return the number of objects that are not written, by reason."""
        checked = {CHECKS[check].rule: count for check, count in self.checker.dropped_objects.items()}
        return {**checked, **self.left_out}

    def _report(self, rule: str, case: str) -> None:
        self.cases.setdefault(rule, []).append(case)

    def _with_size(self, image: AnnotatedImage) -> AnnotatedImage | None:
        """Return ``image`` with a size, and with its boxes rotated where YOLO's readers rotate the image."""
        facts = self._facts(image)
        annotated = (image.width, image.height)
        if facts is None:
            if not all(annotated):
                self._report("image of unknown size (left out)", image.name)
                if image.annotations:
                    self.left_out["image of unknown size"] += len(image.annotations)
                return None
            return image
        stored = (facts.width, facts.height)
        upright = stored[::-1] if facts.orientation in image_decoding.TURNED else stored
        if not all(annotated):
            return replace(image, width=upright[0], height=upright[1])
        if annotated not in (stored, upright):
            case = f"{image.name}: annotated as {annotated}, but it is {stored}"
            self._report("size in the annotations differs from the image's", case)
        elif annotated == stored != upright and self.format == "yolo":
            self._report("boxes rotated with the image's EXIF orientation", image.name)
            return replace(oriented(image, facts.orientation, stored), width=upright[0], height=upright[1])
        return image

    def _facts(self, image: AnnotatedImage) -> image_decoding.Facts | None:
        data = image.embedded or (image.file.read_bytes() if image.file else None)
        if data is None:
            self._report("image is missing (its annotations are converted)", image.name)
            return None
        try:
            return image_decoding.inspect(data, image.name, max_pixels=2**62)  # nothing is decoded here
        except DataError as error:
            self._report("file is not an image, or is damaged", str(error))
            return None

    def _with_unique_name(self, image: AnnotatedImage) -> AnnotatedImage:
        """Return ``image``, renamed if its path in the target, or that of its annotation file, is taken or hidden."""
        visible = "/".join(f"_{part}" if is_hidden(part) else part for part in image.name.split("/"))
        name, number = visible, 1
        while (path := self._path_key(replace(image, name=name))) in self.paths:
            number += 1
            given = PurePosixPath(visible)
            name = str(given.with_name(f"{given.stem}-{number}{given.suffix}"))
        self.paths.add(path)
        if name != visible:
            self._report("image renamed because its name is taken", f"{image.name} becomes {name}")
        elif name != image.name:
            self._report("image renamed because readers skip hidden files", f"{image.name} becomes {name}")
        return replace(image, name=name)

    def _path_key(self, image: AnnotatedImage) -> str:
        path = IMAGE_PATHS[self.format](image)
        return without_image_suffix(path) if self.format in FILE_PER_IMAGE_FORMATS else path

    def _write_image(self, image: AnnotatedImage) -> None:
        target = self.folder / IMAGE_PATHS[self.format](image)
        if image.embedded is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(image.embedded)
        elif image.file is not None:
            link_or_copy(image.file, target)
