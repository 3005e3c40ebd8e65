"""What we write is read by the libraries that others import it with: datumaro (CVAT's), pycocotools and supervision."""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from defusedxml.ElementTree import fromstring
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from toolchain.annotations import AnnotatedImage, Annotation, Collection, open_source, write
from toolchain.annotations.conversion import IMAGE_PATHS
from toolchain.annotations.masks import encode

LABELS = ("cat", "traffic light", "background")
SUBSETS = {
    "voc": {"validation": "val", "all": "default"},
    "coco": {"validation": "val", "all": "default"},
    "yolo": {"validation": "val"},
    "cvat": {"all": "default"},
}
FEW = settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow], deadline=None)
Boxes = dict[tuple[str, str], list[tuple[str, tuple[float, ...]]]]  # by subset and stem


@st.composite
def sets(
    draw: Any,
    splits: tuple[str, ...] = ("train", "validation", "test", "all"),
    folders: tuple[str, ...] = ("", "sub folder/"),
) -> list[AnnotatedImage]:
    """Images with boxes in some of ``splits`` and ``folders``, each name in one of them."""
    stems = draw(st.lists(st.from_regex(r"[a-z][a-z0-9 -]{0,5}[a-z0-9]", fullmatch=True), min_size=1, unique=True))
    found = []
    for stem in stems[:5]:
        width, height = draw(st.integers(8, 40)), draw(st.integers(8, 40))
        edges = st.tuples(*(st.integers(0, side - 2) for side in (width, height)))
        annotations = []
        for left, top in draw(st.lists(edges, max_size=3, unique=True)):
            right, bottom = draw(st.integers(left + 1, width)), draw(st.integers(top + 1, height))
            annotations.append(Annotation(label=draw(st.sampled_from(LABELS)), box=(left, top, right, bottom)))
        split = draw(st.sampled_from(splits))
        name = f"{draw(st.sampled_from(folders))}{stem}.png"
        found.append(
            AnnotatedImage(
                name=name, file=None, width=width, height=height, split=split, annotations=tuple(annotations)
            )
        )
    return found


def written(folder: Path, images: list[AnnotatedImage], format_: str, labels: tuple[str, ...] = LABELS) -> Path:
    def each() -> Iterator[AnnotatedImage]:
        yield from images

    write(folder, Collection(format="test", labels=labels, images=each), each(), format_)
    for image in images:
        file = folder / IMAGE_PATHS[format_](image)
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (image.width, image.height)).save(file)
    return folder


def expected(images: list[AnnotatedImage], format_: str) -> Boxes:
    words = SUBSETS[format_]
    return {
        (words.get(p.split, p.split), p.name.removesuffix(".png")): sorted((t.label, t.box) for t in p.annotations)
        for p in images
    }


def by_datumaro(folder: Path, format_: str) -> Boxes:
    from datumaro import AnnotationType, Dataset

    theirs = Dataset.import_from(str(folder), format_)
    names = [label.name for label in theirs.categories()[AnnotationType.label]]
    found: Boxes = {}
    for item in theirs:
        assert item.media is not None
        assert Path(item.media.path).is_file(), item.media.path
        boxes = [(names[a.label], tuple(float(v) for v in a.points)) for a in item.annotations]
        found[item.subset, item.id] = sorted(boxes)
    return found


def agree(found: Boxes, wanted: Boxes, tolerance: float = 0.0) -> None:
    assert found.keys() == wanted.keys()
    for key, boxes in wanted.items():
        assert [label for label, _ in found[key]] == [label for label, _ in boxes]
        numbers = [[v for _, box in each for v in box] for each in (found[key], boxes)]
        assert numbers[0] == pytest.approx(numbers[1], abs=tolerance)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("format_", ["voc", "coco", "cvat"])
def test_datumaro_reads_the_images_splits_and_boxes_that_we_write(format_: str):
    @FEW
    @given(sets())
    def holds(images: list[AnnotatedImage]) -> None:
        is_split = len({image.split for image in images} | {"all"}) > 1
        with tempfile.TemporaryDirectory() as folder:
            found = by_datumaro(written(Path(folder), images, format_), format_)
        wanted = expected(images, format_)
        if format_ == "cvat" and not is_split:  # one task: datumaro takes its file's name for the subset
            wanted = {("annotations", stem): boxes for (_, stem), boxes in wanted.items()}
        agree(found, wanted)

    holds()


@FEW
@given(sets(("train", "validation", "test"), ("",)))  # datumaro takes a folder's name for that of a split
def test_datumaro_reads_the_yolo_that_we_write(images: list[AnnotatedImage]):
    with tempfile.TemporaryDirectory() as folder:
        found = by_datumaro(written(Path(folder), images, "yolo"), "yolo")
    agree(found, expected(images, "yolo"), 1e-6)


@FEW
@given(sets())
def test_supervision_reads_the_yolo_and_coco_that_we_write(images: list[AnnotatedImage]):
    import supervision

    for format_ in ("yolo", "coco"):
        with tempfile.TemporaryDirectory() as scratch:
            folder = written(Path(scratch), images, format_)
            for split in {image.split for image in images}:
                wanted = [image for image in images if image.split == split]
                word = SUBSETS[format_].get(split, split)
                image_folder = str(folder / "images" / word)
                if format_ == "yolo" and any("/" in image.name for image in wanted):
                    continue  # it does not look into folders
                theirs = (
                    supervision.DetectionDataset.from_yolo(
                        image_folder, str(folder / "labels" / word), str(folder / "data.yaml")
                    )
                    if format_ == "yolo"
                    else supervision.DetectionDataset.from_coco(
                        image_folder, str(folder / "annotations" / f"instances_{word}.json")
                    )
                )
                found: Boxes = {}
                for path, boxes in theirs.annotations.items():
                    names = [theirs.classes[at] for at in (boxes.class_id if len(boxes) else [])]
                    pairs = zip(names, [tuple(map(float, box)) for box in boxes.xyxy], strict=True)
                    found[word, str(Path(path).relative_to(image_folder).with_suffix(""))] = sorted(pairs)
                agree(found, expected(wanted, format_), 1e-4)


def test_pycocotools_draws_the_polygons_masks_and_keypoints_that_we_write(tmp_path: Path):
    from pycocotools.coco import COCO

    pixels = np.zeros((20, 30), np.uint8)
    pixels[3:9, 5:11] = 1
    points = (5.0, 3.0, 2.0, 0.0, 0.0, 0.0)
    annotations = (
        Annotation(label="cat", box=(5, 3, 11, 9), mask=encode(pixels)),
        Annotation(label="cat", box=(5, 3, 11, 9), polygons=((5, 3, 11, 3, 11, 9, 5, 9),), keypoints=points),
    )
    image = AnnotatedImage(name="a.png", file=None, width=30, height=20, split="train", annotations=annotations)
    theirs = COCO(str(written(tmp_path, [image], "coco") / "annotations" / "instances_train.json"))
    first, second = theirs.loadAnns(theirs.getAnnIds())
    assert (theirs.annToMask(first) == pixels).all()
    assert (theirs.annToMask(second) == pixels).all()
    assert (second["keypoints"], second["num_keypoints"]) == ([5, 3, 2, 0, 0, 0], 1)


PART = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax></bndbox></part>"


def test_datumaro_reads_the_parts_and_actions_that_we_write(tmp_path: Path):
    texts = [PART, "<actions><jumping>1</jumping></actions>"]
    annotation = Annotation(label="person", box=(0, 0, 9, 9), attributes={"@voc": {"xml": texts}})
    image = AnnotatedImage(name="a.png", file=None, width=9, height=9, split="train", annotations=(annotation,))
    found = by_datumaro(written(tmp_path, [image], "voc", ("person",)), "voc")
    assert found == {("train", "a"): [("head", (1, 1, 4, 4)), ("person", (0, 0, 9, 9))]}
    assert open_source(tmp_path).labels == ("person",)


def test_datumaro_reads_the_names_of_split_lists(tmp_path: Path):
    image = AnnotatedImage(name="a.png", file=None, width=9, height=9, metadata={"subset": "my_part"})
    assert by_datumaro(written(tmp_path, [image], "voc"), "voc") == {("default", "a"): []}


def test_datumaro_reads_two_images_with_the_same_id(tmp_path: Path):
    metadata = {"@cvat": {"id": "0"}}
    images = [AnnotatedImage(name=f"{n}.png", file=None, width=9, height=9, metadata=metadata) for n in range(3)]
    assert len(by_datumaro(written(tmp_path, images, "cvat"), "cvat")) == 3


META = (
    "<meta><task><id>7</id><subset>Train</subset><labels><label><name>cat</name><color>#ff0000</color></label></labels>"
    "</task><dumped>2024</dumped></meta>"
)


def test_the_meta_of_the_source_is_completed(tmp_path: Path):
    annotation = Annotation(label="dog", box=(0, 0, 4, 4), attributes={"colour": "red"})
    images = [
        AnnotatedImage(name=f"{split}.png", file=None, width=9, height=9, split=split, annotations=(annotation,))
        for split in ("train", "test")
    ]
    collection = Collection(
        format="cvat", labels=("cat", "dog"), images=lambda: iter(images), metadata={"@cvat": {"meta": META}}
    )
    write(tmp_path, collection, iter(images), "cvat")
    meta = fromstring((tmp_path / "annotations.xml").read_text()).find("meta")
    assert meta is not None
    assert [label.findtext("name") for label in meta.iterfind("project/labels/label")] == ["cat", "dog"]
    assert meta.findtext("project/labels/label/color") == "#ff0000"
    assert [subset.text for subset in meta.iter("subset")] == ["Train", "train", "test"]
    assert (meta.findtext("project/tasks/task/id"), meta.findtext("dumped")) == ("7", "2024")
    assert meta.findtext("project/labels/label/attributes/attribute/name") == "colour"


def test_a_class_called_background_is_kept_except_for_cvats(tmp_path: Path):
    annotations = (Annotation(label="background", box=(0, 0, 4, 4)), Annotation(label="cat", box=(1, 1, 5, 5)))
    image = AnnotatedImage(name="a.png", file=None, width=9, height=9, annotations=annotations)
    folder = written(tmp_path, [image], "voc", ("background", "cat"))
    assert open_source(folder).labels == ("background", "cat")
    labels = folder / "labelmap.txt"
    labels.write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:1,2,3::\n")
    (folder / "Annotations" / "a.xml").write_text("<annotation><filename>a.png</filename></annotation>")
    assert open_source(folder).labels == ("cat",)
