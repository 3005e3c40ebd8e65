"""Inputs modelled on public bug reports of other tools, each with the expectation from the README in its folder."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import parse

import pytest

from toolchain.annotations import AnnotatedImage, Collection, Conversion, convert, open_source
from toolchain.artifacts.dataset import Dataset, open_dataset
from toolchain.data.annotations import Config, run
from toolchain.errors import DataError

CASES = Path(__file__).parents[2] / "cases" / "vision"
LINKS = {  # made here, since archives and some systems do not keep them
    "yolo_images_symlink": ("yolo/images", "../images"),
    "voc_folder_symlink": ("set/other", "../other"),
}
INNER = {"yolo_images_symlink": "yolo", "voc_folder_symlink": "set"}  # the source below the input
Objects = dict[str, tuple[str, list[tuple[str, tuple[float, ...]]]]]
CAT = ("cat", (10.0, 20.0, 60.0, 70.0))
BOX = ("cat", (10.0, 20.0, 40.0, 60.0))
MIDDLE = ("cat", (40.0, 30.0, 60.0, 50.0))


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What is expected about a conversion."""

    to: str = "coco"
    task: str = ""
    fix: bool = False
    objects: Objects | None = None  # by the image's name: its split, and label and box of each object
    labels: tuple[str, ...] | None = None
    reports: tuple[str, ...] = ()  # texts in the report
    rejected: str = ""  # text in the error
    missing: bool = False  # images cannot be found
    also: Callable[["Case"], None] | None = None


@dataclass
class Case:
    source: Path
    out: Path
    expected: Expected
    done: Conversion | None = None
    images: list[AnnotatedImage] = field(default_factory=list)

    def again(self) -> list[AnnotatedImage]:
        return list(open_source(self.out).images())


def one(name: str, *objects: tuple[str, tuple[float, ...]], split: str = "all") -> Objects:
    return {name: (split, list(objects))}


def datumaro_reads(format_: str, images: int) -> Callable[[Case], None]:
    def check(case: Case) -> None:
        from datumaro import Dataset as Theirs

        assert len(Theirs.import_from(str(case.out), format_)) == images

    return check


def has_masks(*areas: int) -> Callable[[Case], None]:
    def check(case: Case) -> None:
        from pycocotools.coco import COCO

        (file,) = (case.out / "annotations").glob("*.json")
        coco = COCO(str(file))
        assert [int(coco.annToMask(a).sum()) for a in coco.loadAnns(coco.getAnnIds())] == list(areas)

    return check


def keeps_verified(case: Case) -> None:
    assert parse(case.out / "Annotations" / "a.xml").getroot().get("verified") == "yes"


def goes_back(objects: int) -> Callable[[Case], None]:
    def check(case: Case) -> None:
        assert sum(len(image.annotations) for image in case.again()) == objects

    return check


def writes_line(name: str, line: str) -> Callable[[Case], None]:
    def check(case: Case) -> None:
        (file,) = (case.out / "labels").rglob(f"{name}.txt")
        found = [float(word) for word in file.read_text().split()]
        assert found == pytest.approx([float(word) for word in line.split()])

    return check


def writes_corners(name: str, *corners: tuple[float, float]) -> Callable[[Case], None]:
    def check(case: Case) -> None:
        (file,) = (case.out / "labels").rglob(f"{name}.txt")
        found = [round(float(word), 6) for word in file.read_text().split()]
        assert set(zip(found[1::2], found[2::2], strict=True)) == set(corners)

    return check


def has_key_points(*values: float) -> Callable[[Case], None]:
    def check(case: Case) -> None:
        (file,) = (case.out / "annotations").glob("*.json")
        (entry,) = json.loads(file.read_text())["annotations"]
        assert entry["keypoints"] == pytest.approx(list(values))
        assert entry["num_keypoints"] == len(values) // 3

    return check


def frames(*numbers: int) -> Objects:
    return {
        f"frame_{number:06d}.PNG": ("all", [("car", (10.0 + n, 20.0, 60.0 + n, 70.0))])
        for number, n in zip(numbers, (0, 5, 10), strict=True)
    }


RIGHT = {
    "coco_annotation_without_category_name": Expected(to="voc", rejected="name"),
    "coco_attributes_list": Expected(to="cvat", objects=one("a.jpg", BOX), reports=("attributes",)),
    "coco_category_id_text": Expected(to="voc", objects=one("a.jpg", BOX)),
    "coco_flat_polygon": Expected(objects=one("a.jpg", BOX)),
    "coco_iscrowd_rle_to_yolo": Expected(to="yolo", reports=("crowd", "mask")),
    "coco_keypoints_to_yolo": Expected(
        to="yolo",
        task="pose",
        objects=one("a.jpg", ("person", (30.0, 20.0, 70.0, 60.0)), split="train"),
        also=writes_line("a", "0 0.5 0.5 0.4 0.5 0.3 0.5 2 0.6 0.5 1"),
    ),
    "coco_mask_box_to_cvat": Expected(to="cvat", reports=("box that does not match its",)),
    "coco_nan": Expected(to="voc", objects=one("a.jpg", BOX)),
    "coco_no_categories_key": Expected(to="voc", rejected="categories"),
    "coco_nulls": Expected(to="voc", objects=one("a.jpg", BOX)),
    "coco_numbers_as_text": Expected(objects=one("a.jpg", BOX)),
    "coco_rle_bytes_repr": Expected(),
    "coco_rle_without_size": Expected(also=has_masks(4)),
    "coco_segmentation_empty_inside": Expected(to="voc", objects=one("a.jpg", BOX)),
    "coco_split_names": Expected(
        to="voc", objects={**one("p1.jpg", BOX, split="train"), **one("p2.jpg", BOX, split="validation")}
    ),
    "coco_string_ids": Expected(to="voc"),
    "coco_two_licenses": Expected(reports=("licenses",)),
    "coco_upper_json": Expected(to="voc", objects=one("a.jpg", BOX)),
    "coco_via_export": Expected(to="yolo", also=goes_back(2)),
    "coco_windows_paths": Expected(to="voc", objects={**one("a.jpg", BOX), **one("images/b.jpg", BOX)}),
    "cvat_ellipse_rotated": Expected(objects=one("a.jpg", ("car", (40.0, 0.0, 60.0, 80.0)))),
    "cvat_images_of_video": Expected(),
    "cvat_skeleton_sublabels": Expected(to="yolo", task="detect", labels=("person",)),
    "cvat_track_interpolated": Expected(
        objects={f"frame_{n:06d}.PNG": ("all", [("car", (10.0 + 10 * n, 20.0, 60.0 + 10 * n, 70.0))]) for n in range(3)}
    ),
    "cvat_video_frame_step": Expected(objects=frames(0, 5, 10)),
    "cvat_video_mask": Expected(also=has_masks(4)),
    "cvat_video_project": Expected(  # its two tasks have one name, and nothing says which folder is whose
        objects={
            **one("1/frame_000000.png", ("car", (10.0, 20.0, 40.0, 70.0))),
            **one("2/frame_000000.png", ("car", (50.0, 20.0, 90.0, 70.0))),
        },
        missing=True,
    ),
    "cvat_written_subsets": Expected(to="cvat", also=datumaro_reads("cvat", 2)),
    "labelme_path_is_json": Expected(objects=one("a.jpg", CAT)),
    "labelme_rotation_shape": Expected(
        to="yolo", task="obb", also=writes_corners("a", (0.5, 0.125), (0.8, 0.5), (0.5, 0.875), (0.2, 0.5))
    ),
    "labelme_sibling_images": Expected(objects=one("labels/a.jpg", CAT)),
    "labelme_split_folders": Expected(
        objects={**one("p1.jpg", CAT, split="train"), **one("p2.jpg", CAT, split="validation")}
    ),
    "labelme_two_point_polygon": Expected(to="yolo", reports=("polygon",), also=goes_back(2)),
    "labelme_two_point_polygon_coco": Expected(reports=("polygon",), also=goes_back(2)),
    "stray_xml_broken": Expected(
        objects=one("a.jpg", CAT), reports=("XML file that is not an annotation", "notes.xml")
    ),
    "stray_yaml_list": Expected(objects=one("a.jpg", CAT)),
    "via_json": Expected(objects=one("a.jpg", BOX)),
    "voc_annotations_images": Expected(objects=one("a.png", ("mask", CAT[1]))),
    "voc_background_label": Expected(to="voc", also=goes_back(2)),
    "voc_case_of_name": Expected(objects=one("0AF.jpg", CAT)),
    "voc_float_strings": Expected(objects=one("a.jpg", ("cat", (10.5, 20.25, 60.5, 70.25)))),
    "voc_folder_symlink": Expected(objects={**one("real/p1.jpg", CAT), **one("other/p2.jpg", CAT)}),
    "voc_gb2312": Expected(objects=one("a.jpg", ("汽车", CAT[1]))),
    "voc_parts": Expected(objects=one("a.jpg", ("person", (10.0, 5.0, 90.0, 75.0)))),
    "voc_polygon_only": Expected(objects=one("a.jpg", ("dog", CAT[1]), ("cat", (1.0, 1.0, 50.0, 50.0)))),
    "voc_size_zero_bad_boxes": Expected(reports=("box has no area", "head at 40, 40, 40, 60"), also=goes_back(2)),
    "voc_split_folders": Expected(
        objects={
            f"p{n}.jpg": (split, [("cat", (10.0 + n, 20.0, 60.0, 70.0))])
            for n, split in enumerate(("train", "train", "validation", "test"))
        }
    ),
    "voc_verified": Expected(to="voc", objects=one("a.jpg", CAT), also=keeps_verified),
    "voc_written_parts": Expected(to="voc", also=datumaro_reads("voc", 1)),
    "voc_xxyy_order": Expected(objects=one("a.jpg", ("bike", (31.0, 12.0, 95.0, 79.0)))),
    "yolo_absolute_train": Expected(
        objects={**one("p0.jpg", MIDDLE, split="train"), **one("p1.jpg", MIDDLE, split="validation")}
    ),
    "yolo_beyond_one": Expected(
        to="voc", fix=True, reports=("box reaches outside",), also=lambda case: assert_box(case, (0, 0, 100, 80))
    ),
    "yolo_darknet_missing_list": Expected(objects=one("a.jpg", MIDDLE, split="train"), reports=("data/valid.txt",)),
    "yolo_duplicate_names": Expected(labels=("cat",), reports=("two classes with the same name",), also=goes_back(2)),
    "yolo_images_symlink": Expected(
        objects={**one("p1.jpg", MIDDLE, split="train"), **one("p2.jpg", MIDDLE, split="validation")}
    ),
    "yolo_jfif": Expected(objects=one("a.jfif", MIDDLE)),
    "yolo_missing_split_folder": Expected(reports=("images/valid", "images/val/p1.jpg")),
    "yolo_names_string_keys": Expected(labels=("cat", "dog"), objects=one("p0.jpg", MIDDLE)),
    "yolo_nc_only": Expected(labels=("class_0", "class_1"), objects=one("p0.jpg", ("class_0", MIDDLE[1]))),
    "yolo_negatives_crlf_bom": Expected(objects={**one("p0.jpg", MIDDLE), **one("p1.jpg"), **one("p2.jpg")}),
    "yolo_odd_names": Expected(to="voc", also=goes_back(5)),
    "yolo_pose_two": Expected(also=has_key_points(30, 40, 2, 60, 40, 2)),
    "yolo_savetxt": Expected(objects=one("a.jpg", MIDDLE)),
    "yolo_train_is_parent": Expected(
        objects={**one("p0.jpg", MIDDLE, split="train"), **one("p1.jpg", MIDDLE, split="validation")}
    ),
    "yolo_two_class_lists": Expected(
        labels=("alfa", "beta", "gamma"),
        objects={**one("folder_a/a.jpg", ("alfa", MIDDLE[1])), **one("folder_b/b.jpg", ("gamma", MIDDLE[1]))},
    ),
    "yolo_validation_key": Expected(
        objects={
            **one("p0.jpg", MIDDLE, split="train"),
            **one("p1.jpg", MIDDLE, split="train"),
            **one("p2.jpg", MIDDLE, split="validation"),
        }
    ),
    "zip_backslashes": Expected(also=goes_back(1)),
    "zip_readme_beside": Expected(also=goes_back(1)),
}


def assert_box(case: Case, box: tuple[float, ...]) -> None:
    assert [annotation.box for image in case.again() for annotation in image.annotations] == [
        pytest.approx(box, abs=0.01)
    ]


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    name = request.param
    folder = tmp_path / name
    shutil.copytree(CASES / name, folder)
    if name in LINKS:
        link, leads_to = LINKS[name]
        (folder / "input" / link).symlink_to(leads_to)
    archive = folder / "set.zip"
    source = archive if archive.is_file() else folder / "input" / INNER.get(name, "")
    return Case(source, tmp_path / "out", RIGHT.get(name, Expected()))


def objects_of(collection: Collection) -> Objects:
    return {
        image.name: (image.split, [(annotation.label, annotation.box) for annotation in image.annotations])
        for image in collection.images()
    }


def assert_objects(found: Objects, expected: Objects) -> None:
    assert found.keys() == expected.keys()
    for name, (split, objects) in expected.items():
        assert found[name][0] == split
        assert [label for label, _ in found[name][1]] == [label for label, _ in objects]
        for (_, box), (_, wanted) in zip(found[name][1], objects, strict=True):
            assert box == pytest.approx(wanted)


@pytest.mark.parametrize("case", RIGHT, indirect=True)
def test_a_reported_case_is_handled(case: Case) -> None:
    expected = case.expected
    if expected.rejected:
        with pytest.raises(DataError, match=expected.rejected) as raised:
            convert(str(case.source), case.out, expected.to, task=expected.task)
        assert "\n" not in str(raised.value)
        return
    case.done = convert(str(case.source), case.out, expected.to, task=expected.task, fix=expected.fix)
    reported = " ".join(" ".join((f.rule, *f.examples)) for f in (*case.done.findings, *case.done.unsupported))
    assert all(text in reported for text in expected.reports), reported
    assert ("missing (" in reported) == expected.missing, "every image is there"
    if case.source.is_dir():
        collection = open_source(case.source)
        if expected.labels:
            assert collection.labels == expected.labels
        if expected.objects is not None:
            assert_objects(objects_of(collection), expected.objects)
            assert case.done.objects == sum(len(objects) for _, objects in expected.objects.values())
    assert case.done.images == len(case.again())
    if expected.also:
        expected.also(case)


def dataset(case: str, tmp_path: Path, **settings: str) -> Dataset:
    run(tmp_path / "dataset", Config(source=str(CASES / case / "input"), **settings))  # type: ignore[arg-type]
    return open_dataset(tmp_path / "dataset")


def boxes(made: Dataset) -> dict[str, list[list[float]]]:
    rows = [row for split in made.splits for row in made.table(split).to_pylist()]
    return {row["source_image"]: [annotation["box"] for annotation in row["objects"]] for row in rows}


def test_classes_named_like_the_samples_are_not_renamed(tmp_path: Path):
    assert dataset("ann_alive_dead", tmp_path).labels == ("Alive", "Dead")


def test_boxes_belong_to_the_image_of_the_annotated_size(tmp_path: Path):
    assert boxes(dataset("ann_exif", tmp_path)) == {"stored.jpg": [[10, 10, 60, 60]], "upright.jpg": [[10, 20, 60, 70]]}


def test_folders_around_voc_become_splits_of_the_dataset(tmp_path: Path):
    made = dataset("ann_voc_splits", tmp_path)
    assert {split: made.rows(split) for split in made.splits} == {"train": 2, "validation": 1, "test": 1}


def test_the_same_image_in_two_splits_is_reported(tmp_path: Path):
    (finding,) = dataset("ann_same_picture_in_two_splits", tmp_path).notes["data.annotations"]["findings"]
    assert (finding["rule"], finding["count"]) == ("the same image is in two splits", 1)


def test_a_polygon_of_two_points_does_not_fail_training(tmp_path: Path):
    assert set(boxes(dataset("ann_coco_four_numbers", tmp_path))) == {"p0.jpg", "p1.jpg", "p2.jpg"}


def test_every_case_folder_has_an_expectation():
    known = {*RIGHT, "ann_alive_dead", "ann_exif", "ann_voc_splits", "ann_same_picture_in_two_splits"}
    known |= {"ann_coco_four_numbers"}
    kinds = ("ann", "coco", "cvat", "labelme", "stray", "via", "voc", "yolo", "zip")
    assert {path.name for path in CASES.iterdir() if path.name.split("_")[0] in kinds} == known
