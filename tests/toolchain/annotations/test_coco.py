"""COCO's JSON: boxes, polygons, masks of both forms, crowds; and what is wrong in it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from toolchain.annotations import AnnotatedImage, convert, open_source, write
from toolchain.annotations.masks import decode, encode
from toolchain.annotations.rows import read as read_rows
from toolchain.artifacts.dataset import open_dataset
from toolchain.data.annotations import Config, run
from toolchain.errors import DataError

Draw = Callable[..., Path]
IMAGE = {"id": 7, "file_name": "a b.png", "width": 4, "height": 3}
CATEGORY = {"id": 0, "name": "dog", "supercategory": "animal"}


def written(folder: Path, *annotations: dict[str, Any], name: str = "instances_train2017.json", **parts: Any) -> Path:
    value = {"images": [IMAGE], "categories": [CATEGORY], "annotations": list(annotations), **parts}
    path = folder / "annotations" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def entry(**parts: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": 7, "category_id": 0, "bbox": [1, 1, 2, 1], "iscrowd": 0, **parts}


def only(folder: Path) -> AnnotatedImage:
    (image,) = open_source(folder).images()
    return image


def again(folder: Path, target: Path) -> dict[str, Any]:
    """Return the JSON that is written of ``folder``."""
    collection = open_source(folder)
    write(target, collection, collection.images(), "coco")
    (file,) = (target / "annotations").glob("*.json")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def test_the_category_with_id_0_and_the_split_of_the_file(tmp_path: Path, draw: Draw):
    draw(tmp_path / "images" / "train2017" / "a b.png", 4, 3)
    written(tmp_path, entry())
    image = only(tmp_path)
    assert (image.name, image.split, image.metadata["subset"]) == ("a b.png", "train", "train2017")
    assert image.file == tmp_path / "images" / "train2017" / "a b.png"
    assert (image.annotations[0].label, image.annotations[0].box) == ("dog", (1, 1, 3, 2))


def test_masks_of_both_forms_are_the_same_pixels(tmp_path: Path):
    plain = {"size": [3, 4], "counts": [4, 2, 6]}
    written(tmp_path, entry(segmentation=plain, iscrowd=1), entry(id=2, segmentation={"size": [3, 4], "counts": "426"}))
    one, two = only(tmp_path).annotations
    assert one.crowd
    assert one.mask == two.mask
    assert decode(one.mask, 4, 3).tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0]]


def test_all_fields_of_an_entry_are_written_again(tmp_path: Path):
    annotations = [
        entry(id=9, bbox=[0.1, 0.7, 0.7, 0.2], area=0.14, segmentation=[], score=0.5),
        entry(
            id=3,
            segmentation=[[0, 0, 2, 0, 2.5, 2], [3, 1, 4, 1, 4, 2]],
            area=2.5,
            attributes={"n": [1], "occluded": False},
        ),
        entry(id=4, segmentation={"size": [3, 4], "counts": [4, 2, 6]}, area=2, iscrowd=1),
        entry(id=5, segmentation=[], area=2, attributes={"rotation": 30.5, "occluded": True, "difficult": True}),
    ]
    image = {**IMAGE, "license": 2, "date_captured": "2026"}
    written(tmp_path, *annotations, images=[image], info={"year": 2026}, licenses=[{"id": 2}])
    found = again(tmp_path, tmp_path / "two")
    assert found["annotations"] == annotations
    assert found["images"] == [image]
    assert found["categories"] == [CATEGORY]
    assert (found["info"], found["licenses"]) == ({"year": 2026}, [{"id": 2}])
    assert (tmp_path / "two" / "annotations" / "instances_train2017.json").is_file()


def test_an_object_without_a_box_gets_the_bounding_box(tmp_path: Path):
    outlined, masked = (
        entry(segmentation=[[0, 0, 2, 0, 2, 2]]),
        entry(id=2, segmentation={"size": [3, 4], "counts": [4, 2, 6]}),
    )
    del outlined["bbox"], masked["bbox"]
    written(tmp_path, outlined, masked)
    assert [annotation.box for annotation in only(tmp_path).annotations] == [(0, 0, 2, 2), (1, 1, 2, 3)]


def test_duplicate_ids_are_found(tmp_path: Path):
    images = [IMAGE, {**IMAGE, "file_name": "b.png"}]
    written(tmp_path, entry(), entry(bbox=[0, 0, 1, 1]), images=images)
    collection = open_source(tmp_path)
    assert [(finding.rule, finding.count) for finding in collection.findings] == [
        ("duplicate_ids: duplicate COCO image id", 1),
        ("duplicate_ids: duplicate COCO annotation id", 1),
    ]
    assert [len(image.annotations) for image in collection.images()] == [2, 0]
    ids = [a["id"] for a in again(tmp_path, tmp_path / "two")["annotations"]]
    assert len(set(ids)) == 2


def test_annotations_of_unlisted_images_are_reported(tmp_path: Path):
    written(tmp_path, entry(image_id=8), entry(id=2, category_id=5), categories=[CATEGORY, {"id": 1, "name": "dog"}])
    collection = open_source(tmp_path)
    assert {finding.rule for finding in collection.findings} == {
        "COCO annotation of an image that is not listed (left out)",
        "two COCO categories with the same name (merged)",
    }
    assert [annotation.label for image in collection.images() for annotation in image.annotations] == ["@class 5"]


def test_keypoint_and_caption_files_of_the_same_images_are_not_read(tmp_path: Path):
    written(tmp_path, entry())
    written(tmp_path, entry(), name="person_keypoints_train2017.json")
    assert len(list(open_source(tmp_path).images())) == 1


def test_roboflow_has_a_folder_for_each_split(tmp_path: Path, draw: Draw):
    for split in ("train", "valid"):
        draw(tmp_path / split / "a b.png", 4, 3)
        path = written(tmp_path, entry())
        path.rename(tmp_path / split / "_annotations.coco.json")
        path.parent.rmdir()
    found = list(open_source(tmp_path).images())
    assert [(p.split, p.file) for p in found] == [
        ("train", tmp_path / "train" / "a b.png"),
        ("validation", tmp_path / "valid" / "a b.png"),
    ]


@pytest.mark.parametrize(
    "name", ["../../secret.png", "/etc/secret.png", "C:\\data\\secret.png", "http://host/secret.png"]
)
def test_only_the_last_part_of_a_name_that_leads_outside_is_used(tmp_path: Path, draw: Draw, name: str):
    draw(tmp_path / "secret.png", 4, 3)
    written(tmp_path / "source" / "x", entry(), images=[{**IMAGE, "file_name": name}])
    image = only(tmp_path / "source" / "x")
    assert (image.name, image.file) == ("secret.png", None)
    assert again(tmp_path / "source" / "x", tmp_path / "two")["images"][0]["file_name"] == name


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"bbox": [1, 2, 3]}, "is not left, top, width, height"),
        ({"bbox": [1, 2, "x", 4]}, "'x' is not a number"),
        ({"bbox": [1, None, 2, 4]}, "None is not a number"),
        ({"bbox": None}, "neither a bbox nor a segmentation"),
        ({"segmentation": [[1, 2, 3, 4]]}, "fewer than 3"),
        ({"segmentation": [[1, 1, 2, 1, 2, 2], [1, 2, 3]]}, "an x without its y"),
        ({"segmentation": [[1, 1, 2, 1, None, 2]]}, "None is not a number"),
        ({"segmentation": "x"}, "neither polygons nor RLE"),
        ({"segmentation": {"size": [4, 3], "counts": [12]}}, "a mask is 3 x 4, its image 4 x 3"),
        ({"segmentation": {"size": [3, 4], "counts": [5]}}, "does not add up"),
        ({"segmentation": {"size": [3, 4], "counts": None}}, "no counts"),
        ({"segmentation": {"size": [3, 4], "counts": "b'\\"}}, "is not valid"),
        ({"keypoints": [1, 2]}, "are not x, y, visibility"),
        ({"keypoints": [1, None, 2]}, "None is not a number"),
    ],
)
def test_an_invalid_annotation_is_reported_by_its_id_and_reading_continues(
    tmp_path: Path, parts: dict[str, Any], message: str
):
    written(tmp_path, entry(**parts))
    (found,) = only(tmp_path).annotations
    assert message in found.error
    assert "annotation 1" in found.error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [{"id": 1}], "categories": [], "annotations": []}', "an entry of images lacks id or file_name"),
        ('{"images": [], "categories": [], "annotations": [{}]}', "an entry of annotations lacks image_id"),
        ('{"images": [], "categories": []', "is not JSON"),
        ('{"images": [], "categories": [], "annotations": [{"image_id": [1]}]}', "image_id of an entry of annotations"),
        ('{"images": {}, "categories": []}', "needs lists of images"),
    ],
)
def test_bad_json_is_rejected(tmp_path: Path, text: str, message: str):
    path = tmp_path / "instances_default.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        list(open_source(path).images())


def test_the_order_of_categories_is_kept(tmp_path: Path):
    categories = [{"id": 5, "name": "zebra"}, {"id": 2, "name": "ant"}]
    written(tmp_path, entry(category_id=2), categories=categories)
    assert open_source(tmp_path).labels == ("zebra", "ant")
    found = again(tmp_path, tmp_path / "two")
    assert found["categories"] == categories
    assert found["annotations"][0]["category_id"] == 2


def test_other_metadata_of_a_second_file_is_reported(tmp_path: Path):
    for subset, licence in (("train", "L1"), ("val", "L2")):
        value = {"images": [], "annotations": [], "categories": [], "licenses": [licence], "info": {"year": 1}}
        (tmp_path / f"instances_{subset}.json").write_text(json.dumps(value))
    (finding,) = open_source(tmp_path).findings
    assert (finding.count, finding.examples) == (1, ("instances_val.json: licenses",))


@pytest.mark.parametrize(
    ("used", "labels", "reported"),
    [(["0", "0"], ["dog", "dog"], 1), (["0", 0], ["dog"], 0)],  # where one fits, the other may be wrong on purpose
)
def test_text_ids_match_numeric_ids_if_all_are_text(tmp_path: Path, used: list[Any], labels: list[str], reported: int):
    annotations = [entry(id=at, image_id=id_) for at, id_ in enumerate(used)]
    written(tmp_path, *annotations, images=[{**IMAGE, "id": 0}])
    collection = open_source(tmp_path)
    (image,) = collection.images()
    assert [annotation.label for annotation in image.annotations] == labels
    assert sum("taken as equal" in finding.rule for finding in collection.findings) == reported


@pytest.mark.parametrize(
    ("segmentation", "polygons"),
    [
        ([1, 1, 3, 1, 3, 2], ((1, 1, 3, 1, 3, 2),)),
        ([[1, 1], [3, 1], [3, 2]], ((1, 1, 3, 1, 3, 2),)),
        ([[[1, 1], [3, 1], [3, 2]]], ((1, 1, 3, 1, 3, 2),)),
        ([[]], ()),
        ([[], None, [1, 1, 3, 1, 3, 2]], ((1, 1, 3, 1, 3, 2),)),
    ],
)
def test_polygons_are_read_from_all_nestings_of_lists(
    tmp_path: Path, segmentation: Any, polygons: tuple[tuple[float, ...], ...]
):
    written(tmp_path, entry(segmentation=segmentation))
    (found,) = only(tmp_path).annotations
    assert (found.polygons, found.error) == (polygons, "")


def test_a_mask_gives_the_size_of_an_image_without_one(tmp_path: Path):
    written(
        tmp_path, entry(segmentation={"size": [3, 4], "counts": [2, 2, 8]}), images=[{"id": 7, "file_name": "a.png"}]
    )
    image = only(tmp_path)
    assert (image.width, image.height) == (4, 3)
    assert decode(image.annotations[0].mask, 4, 3).sum() == 2


def test_rle_written_as_python_bytes_is_read(tmp_path: Path):
    counts = "b'" + encode(np.eye(3, 4, dtype=np.uint8)) + "'"
    written(tmp_path, entry(segmentation={"size": [3, 4], "counts": counts}))
    assert decode(only(tmp_path).annotations[0].mask, 4, 3).tolist() == np.eye(3, 4).tolist()


def test_nan_is_null(tmp_path: Path):
    written(tmp_path, entry(score=float("nan")))
    assert only(tmp_path).annotations[0].attributes["@coco"]["score"] is None


def test_keypoints_survive_a_round_trip_through_yolo_pose(tmp_path: Path, draw: Draw):
    draw(tmp_path / "one" / "a b.png", 100, 80)
    person = {**CATEGORY, "keypoints": ["left_eye", "right_eye"], "skeleton": [[1, 2]]}
    points = {"keypoints": [30, 40, 2, 60, 40, 1], "num_keypoints": 2}
    image = {**IMAGE, "width": 100, "height": 80}
    posed = entry(bbox=[30, 20, 40, 40], area=1600, segmentation=[], **points)
    written(tmp_path / "one", posed, entry(id=2), images=[image], categories=[person])
    done = convert(str(tmp_path / "one"), tmp_path / "two", "yolo")
    assert done.task == "pose"
    assert not [feature for feature in done.unsupported if "point" in feature.rule]
    lines = (tmp_path / "two/labels/train/a b.txt").read_text().splitlines()
    # as Ultralytics' convert_coco(use_keypoints=True) writes them: fractions, and the visibility as it is
    assert lines == ["0 0.5 0.5 0.4 0.5 0.3 0.5 2 0.6 0.5 1", "0 0.02 0.01875 0.02 0.0125 0 0 0 0 0 0"]
    config = yaml.safe_load((tmp_path / "two" / "data.yaml").read_text())
    assert (config["kpt_shape"], config["flip_idx"]) == ([2, 3], [1, 0])
    assert config["kpt_names"] == {0: ["left_eye", "right_eye"]}
    back = again(tmp_path / "two", tmp_path / "three")
    assert {key: back["annotations"][0][key] for key in points} == points
    assert back["categories"][0]["keypoints"] == ["left_eye", "right_eye"]


def test_keypoints_and_their_names_go_through_a_dataset_with_classes_renamed(tmp_path: Path, draw: Draw):
    draw(tmp_path / "one" / "a b.png", 4, 3)
    categories = [{**CATEGORY, "keypoints": ["nose"], "skeleton": []}]
    written(tmp_path / "one", entry(keypoints=[1, 2, 2]), categories=categories)
    run(tmp_path / "dataset", Config(source=str(tmp_path / "one"), rename={"dog": "cat"}))
    collection = read_rows(open_dataset(tmp_path / "dataset"))
    assert collection.metadata["keypoints"] == {"cat": {"names": ["nose"], "edges": []}}
    assert [annotation.keypoints for image in collection.images() for annotation in image.annotations] == [(1, 2, 2)]


def test_keypoints_are_written_again_as_they_were(tmp_path: Path):
    points = entry(keypoints=[1, 2, 2, 0, 0, 0], num_keypoints=1, area=2, segmentation=[])
    categories = [{**CATEGORY, "keypoints": ["a", "b"], "skeleton": []}]
    written(tmp_path / "one", points, categories=categories)
    found = again(tmp_path / "one", tmp_path / "two")
    assert (found["annotations"], found["categories"]) == ([points], categories)


@pytest.mark.parametrize("target", ["voc", "cvat", "createml"])
def test_keypoints_are_reported_if_the_target_does_not_support_them(tmp_path: Path, draw: Draw, target: str):
    draw(tmp_path / "one" / "a b.png", 4, 3)
    written(tmp_path / "one", entry(keypoints=[1, 2, 2]))
    unsupported = {
        feature.rule: feature.count for feature in convert(str(tmp_path / "one"), tmp_path / "two", target).unsupported
    }
    assert unsupported["keypoints"] == 1


def test_a_mask_becomes_a_yolo_polygon_and_a_different_box_is_reported(tmp_path: Path, draw: Draw):
    draw(tmp_path / "one" / "a b.png", 4, 3)
    mask = np.zeros((3, 4), np.uint8)
    mask[1:3, 1:3] = 1
    written(tmp_path / "one", entry(segmentation={"size": [3, 4], "counts": encode(mask)}, bbox=[0, 0, 4, 3]))
    done = convert(str(tmp_path / "one"), tmp_path / "two", "yolo")
    rules = {feature.rule for feature in done.unsupported}
    assert {
        "mask (becomes a polygon along its pixels)",
        "box that does not match its mask (the mask is kept)",
    } < rules
    values = [float(word) for word in (tmp_path / "two/labels/train/a b.txt").read_text().split()]
    corners = np.array(sorted(zip(values[1::2], values[2::2], strict=True)))
    assert corners == pytest.approx(np.array([(0.25, 1 / 3), (0.25, 1), (0.75, 1 / 3), (0.75, 1)]))
    cvat = {feature.rule for feature in convert(str(tmp_path / "one"), tmp_path / "three", "cvat").unsupported}
    assert "box that does not match its mask (the mask is kept)" in cvat


def test_conflicting_categories_are_merged_by_name_and_reported(tmp_path: Path):
    written(tmp_path, entry(), name="instances_train.json")
    other = [{"id": 3, "name": "dog", "supercategory": "pet"}, {"id": 0, "name": "cat"}]
    written(tmp_path, entry(category_id=3), entry(category_id=0), name="instances_val.json", categories=other)
    collection = open_source(tmp_path)
    assert collection.labels == ("dog", "cat")
    labels = {image.split: [annotation.label for annotation in image.annotations] for image in collection.images()}
    assert labels == {"train": ["dog"], "validation": ["dog", "cat"]}
    rules = {finding.rule: finding.examples for finding in collection.findings if "differently" in finding.rule}
    assert rules == {"category that files describe differently (the first file's is kept)": ("dog",)}


@pytest.mark.parametrize("companion", ["person_keypoints_train.json", "panoptic_train.json"])
def test_a_file_of_the_same_images_for_another_task_is_not_read(tmp_path: Path, companion: str):
    for name in ("instances_train.json", companion, "holiday_val.json"):
        written(tmp_path, entry(), name=name)
    assert [image.split for image in open_source(tmp_path).images()] == ["validation", "train"]


def test_a_damaged_coco_file_is_named_and_an_unrelated_one_ignored(tmp_path: Path):
    path = written(tmp_path, entry())
    (path.parent / "notes.json").write_text("{")
    assert only(tmp_path).annotations
    (path.parent / "more.json").write_text('{"images": [], "categories": [')
    with pytest.raises(DataError, match=r"more\.json is not JSON"):
        open_source(tmp_path)


def test_attributes_as_a_list_of_names_are_kept(tmp_path: Path):
    written(tmp_path, entry(attributes=["red", "old"]))
    assert only(tmp_path).annotations[0].attributes["attributes"] == ["red", "old"]


@pytest.mark.parametrize("name", [None, ""])
def test_a_category_without_a_name_is_rejected(tmp_path: Path, name: str | None):
    written(tmp_path, categories=[{"id": 4, "name": name}])
    with pytest.raises(DataError, match="the category 4 has no name"):
        open_source(tmp_path)


def test_names_of_categories_that_are_numbers_are_written(tmp_path: Path, draw: Draw):
    draw(tmp_path / "a b.png", 4, 3)
    written(tmp_path, entry(), categories=[{"id": 0, "name": 7}])
    result = convert(str(tmp_path), tmp_path.parent / f"{tmp_path.name}-coco", "coco")
    assert (result.objects, result.findings) == (1, ())


def test_an_annotation_without_a_category_does_not_affect_the_type_of_ids(tmp_path: Path):
    written(tmp_path, entry(category_id=None))
    assert open_source(tmp_path).findings == ()
