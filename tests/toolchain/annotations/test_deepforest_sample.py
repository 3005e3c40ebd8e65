"""datumaro and supervision read the same boxes as we do, from deepforest's files and from those that we write."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from toolchain.annotations import convert, open_source

SPEC = importlib.util.find_spec("deepforest")
pytestmark = [pytest.mark.skipif(SPEC is None, reason="deepforest is not installed"), pytest.mark.slow]
DATA = Path(SPEC.submodule_search_locations[0]) / "data" if SPEC and SPEC.submodule_search_locations else Path()
SHARED = "OSBS_029.png"  # has the boxes of OSBS_029.tif in supervision's eyes, which compares stems


Read = dict[str, tuple[list[str], "np.ndarray"]]


@pytest.fixture(scope="module")
def read() -> Read:
    """The labels and boxes of each of deepforest's images, as we read them."""
    return {
        p.name: ([t.label for t in p.annotations], np.array([t.box for t in p.annotations]))
        for p in open_source(DATA).images()
    }


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted")
    for target in ("voc", "coco", "yolo", "cvat"):
        assert convert("package:deepforest/data", folder / target, target).objects == 951
    return folder


def test_deepforest_has_951_boxes_in_4_images(read: Read):
    assert {name: len(labels) for name, (labels, _) in read.items()} == {
        "2019_YELL_2_528000_4978000_image_crop2.png": 574,
        "2019_YELL_2_541000_4977000_image_crop.png": 279,
        "OSBS_029.tif": 61,
        "SOAP_061.png": 37,
    }


def test_supervision_reads_the_same_voc_counting_from_1(read: Read):
    import supervision

    theirs = supervision.DetectionDataset.from_pascal_voc(str(DATA), str(DATA))
    for path, found in theirs.annotations.items():
        name = Path(path).name
        if name in read:
            labels, boxes = read[name]
            assert [theirs.classes[i] for i in found.class_id] == labels
            assert (found.xyxy == boxes - [1, 1, 0, 0]).all()


def test_supervision_counts_an_image_twice_and_adds_empty_ones():
    import supervision

    theirs = supervision.DetectionDataset.from_pascal_voc(str(DATA), str(DATA))
    counts = {Path(path).name: len(found) for path, found in theirs.annotations.items()}
    assert sum(counts.values()) == 951 + 61
    assert counts[SHARED] == counts["OSBS_029.tif"] == 61
    assert counts["SOAP_031.png"] == 0  # it was not annotated; we report it instead


@pytest.mark.parametrize(("target", "format_"), [("voc", "voc"), ("coco", "coco"), ("yolo", "yolo"), ("cvat", "cvat")])
def test_datumaro_reads_what_we_write(converted: Path, target: str, format_: str, read: Read):
    from datumaro import AnnotationType, Dataset

    theirs = Dataset.import_from(str(converted / target), format_)
    names = [item.name for item in theirs.categories()[AnnotationType.label]]
    by_stem = {Path(name).stem: value for name, value in read.items()}
    found = {Path(item.id).name: item.annotations for item in theirs}
    assert found.keys() == by_stem.keys()
    for stem, annotations in found.items():
        labels, boxes = by_stem[stem]
        in_order = sorted(annotations, key=lambda a: a.id) if target == "coco" else annotations
        assert [names[a.label] for a in in_order] == labels
        theirs_boxes = np.array([a.points for a in in_order])
        assert theirs_boxes == pytest.approx(boxes, abs=2500 * 1e-6)


def test_supervision_reads_the_coco_and_yolo_that_we_write(converted: Path, read: Read):
    import supervision

    coco, yolo = converted / "coco", converted / "yolo"
    for theirs in (
        supervision.DetectionDataset.from_coco(
            str(coco / "images" / "default"), str(coco / "annotations" / "instances_default.json")
        ),
        supervision.DetectionDataset.from_yolo(
            str(yolo / "images" / "all"), str(yolo / "labels" / "all"), str(yolo / "data.yaml")
        ),
    ):
        assert len(theirs.annotations) == 4
        for path, found in theirs.annotations.items():
            labels, boxes = read[Path(path).name]
            assert [theirs.classes[i] for i in found.class_id] == labels
            assert found.xyxy == pytest.approx(boxes, abs=2500 * 1e-6)


def test_pycocotools_reads_our_coco(converted: Path):
    from pycocotools.coco import COCO

    theirs = COCO(str(converted / "coco" / "annotations" / "instances_default.json"))
    assert len(theirs.getAnnIds()) == 951


def test_datumaro_does_not_see_labelimgs_folder():
    from datumaro import Dataset
    from datumaro.components.errors import DatasetNotFoundError

    with pytest.raises(DatasetNotFoundError):
        Dataset.import_from(str(DATA), "voc")
