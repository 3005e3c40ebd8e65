"""CVAT for images 1.1, and tracks of CVAT for video."""

import io
from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from PIL import Image

from toolchain.annotations import AnnotatedImage, Annotation, Collection, open_source, write
from toolchain.annotations.masks import decode
from toolchain.errors import DataError

Draw = Callable[..., Path]
META = "<meta><task><labels><label><name>car</name><attributes></attributes></label></labels></task></meta>"


def xml(folder: Path, body: str, meta: str = META) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "annotations.xml"
    path.write_text(f"<annotations><version>1.1</version>{meta}{body}</annotations>", encoding="utf-8")
    return path


def image_xml(shapes: str, name: str = "my folder/a b.png", more: str = "") -> str:
    return f'<image id="3" name="{name}" {more} width="40" height="30">{shapes}</image>'


def only(source: Path) -> AnnotatedImage:
    (image,) = open_source(source).images()
    return image


def test_every_shape_is_read(tmp_path: Path, draw: Draw):
    draw(tmp_path / "images" / "my folder" / "a b.png", 40, 30)
    xml(
        tmp_path,
        image_xml(
            '<box label="car" source="manual" occluded="1" xtl="1.5" ytl="2" xbr="10" ybr="12.25" '
            'rotation="30.0" z_order="2">'
            '<attribute name="colour">red</attribute><attribute name="difficult">true</attribute></box>'
            '<polygon label="car" occluded="0" points="1,2;3.5,2;3,4"/>'
            '<mask label="car" occluded="0" rle="1, 2, 1" left="5" top="6" width="2" height="2"/>'
            '<polyline label="car" occluded="0" points="0,0;4,9"/>'
            '<ellipse label="car" occluded="0" cx="10" cy="10" rx="3" ry="2"/>'
            '<tag label="sunny"/>'
        ),
    )
    image = only(tmp_path)
    box, polygon, mask, polyline, ellipse = image.annotations
    assert image.file == tmp_path / "images" / "my folder" / "a b.png"
    assert (box.box, box.rotation, box.occluded, box.difficult) == ((1.5, 2, 10, 12.25), 30, True, True)
    assert box.attributes == {"colour": "red", "@cvat": {"source": "manual", "z_order": "2"}}
    assert (polygon.polygons, polygon.box) == (((1, 2, 3.5, 2, 3, 4),), (1, 2, 3.5, 4))
    assert mask.box == (5, 6, 7, 8)
    assert decode(mask.mask, 40, 30)[6:8, 5:7].tolist() == [[0, 1], [1, 0]]
    assert (polyline.box, ellipse.box) == ((0, 0, 4, 9), (7, 8, 13, 12))
    assert image.metadata == {"@cvat": {"id": "3", "xml": ['<tag label="sunny" />']}}


def test_images_with_and_without_a_subset_are_read(tmp_path: Path, draw: Draw):
    draw(tmp_path / "images" / "Train" / "a.png", 40, 30)
    xml(tmp_path, image_xml("", "a.png", 'subset="Train"') + image_xml("", "b.png"))
    first, second = open_source(tmp_path).images()
    assert (first.split, first.metadata["subset"], first.file) == ("train", "Train", tmp_path / "images/Train/a.png")
    assert (second.split, second.file) == ("all", None)


def test_a_project_without_subsets_and_labels_without_meta(tmp_path: Path):
    xml(tmp_path, image_xml('<box label="bus" xtl="1" ytl="2" xbr="3" ybr="4"/>'), "<meta><project></project></meta>")
    collection = open_source(tmp_path)
    assert collection.labels == ("bus",)
    assert len(list(collection.images())) == 1


def test_the_order_of_labels_is_that_of_the_project(tmp_path: Path):
    labels = "".join(f"<label><name>{name}</name></label>" for name in ("zebra", "ant"))
    xml(tmp_path, image_xml(""), f"<meta><task><labels>{labels}</labels></task></meta>")
    assert open_source(tmp_path).labels == ("zebra", "ant")


def test_unsupported_shapes_are_written_again_unchanged(tmp_path: Path):
    ellipse = '<ellipse label="car" occluded="0" cx="10" cy="10" rx="3" ry="2" z_order="0" />'
    xml(tmp_path / "one", image_xml(ellipse))
    collection = open_source(tmp_path / "one")
    write(tmp_path / "two", collection, collection.images(), "cvat")
    assert ellipse in (tmp_path / "two" / "annotations.xml").read_text()
    assert list(open_source(tmp_path / "two").images()) == list(collection.images())


def test_tracks_of_a_video_become_images(tmp_path: Path, draw: Draw):
    draw(tmp_path / "images" / "frame_000001.PNG", 40, 30)
    meta = (
        "<meta><task><size>3</size><original_size><width>40</width><height>30</height></original_size>"
        "<labels><label><name>car</name></label></labels></task></meta>"
    )
    shape = '<box frame="{}" outside="{}" occluded="0" keyframe="1" xtl="1" ytl="2" xbr="3" ybr="4" z_order="0"></box>'
    xml(
        tmp_path,
        f'<track id="5" label="car">{shape.format(0, 0)}{shape.format(1, 0)}{shape.format(2, 1)}</track>',
        meta,
    )
    found = list(open_source(tmp_path).images())
    assert [(p.name, len(p.annotations)) for p in found] == [
        ("frame_000000.png", 1),
        ("frame_000001.PNG", 1),
        ("frame_000002.png", 0),
    ]
    assert found[0].annotations[0].attributes["track_id"] == 5
    assert found[0].annotations[0].label == "car"


def test_labels_and_their_attributes_are_declared(tmp_path: Path):
    annotations = (Annotation(label="a <b>", box=(0, 0, 1, 1), truncated=True, attributes={"colour": "red & blue"}),)
    image = AnnotatedImage(name="a.png", file=None, width=4, height=4, annotations=annotations)
    collection = Collection(format="test", labels=("a <b>", "unused"), images=lambda: iter([image]))
    write(tmp_path, collection, collection.images(), "cvat")
    text = (tmp_path / "annotations.xml").read_text()
    assert "<name>a &lt;b&gt;</name>" in text
    assert "<name>truncated</name><mutable>False</mutable><input_type>checkbox</input_type>" in text
    assert open_source(tmp_path).labels == ("a <b>", "unused")


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ('<box label="car" xtl="1" ytl="2" xbr="3"/>', "None is not a number"),
        ('<polygon label="car" points=""/>', "has no points"),
        ('<polygon label="car" points="1,2;3"/>', "an x without its y"),
        ('<polygon label="car" points="1,2;3,4"/>', "fewer than 3"),
        ('<ellipse label="car" cx="1" cy="2" rx="nan" ry="1"/>', "not a finite number"),
        ('<cuboid label="car"/>', "has no points"),
        ('<mask label="car" left="1" top="1" width="2" height="2"/>', "not a number"),
        ('<polygon label="car" points="1,2;x,3"/>', "'x' is not a number"),
        ('<mask label="car" rle="4" left="39" top="0" width="2" height="2"/>', "is not inside its image"),
        ('<mask label="car" rle="5" left="0" top="0" width="2" height="2"/>', "adds up to 5"),
    ],
)
def test_an_invalid_shape_does_not_stop_reading(tmp_path: Path, shapes: str, message: str):
    xml(tmp_path, image_xml(shapes + '<box label="car" xtl="1" ytl="2" xbr="3" ybr="4"/>'))
    error, whole = only(tmp_path).annotations
    assert message in error.error
    assert (whole.error, whole.box) == ("", (1, 2, 3, 4))


def test_entities_are_rejected(tmp_path: Path):
    (tmp_path / "a.xml").write_text('<!DOCTYPE a [<!ENTITY x "y">]><annotations>&x;</annotations>')
    with pytest.raises(DataError, match="declares XML entities"):
        open_source(tmp_path, "cvat")


VIDEO = (
    "<meta><task><name>clip</name>{}<original_size><width>40</width><height>30</height></original_size>"
    "<labels><label><name>car</name></label></labels></task></meta>"
)


def box(frame: int, left: float, outside: int = 0, more: str = "") -> str:
    edges = f'xtl="{left}" ytl="2" xbr="{left + 10}" ybr="12"'
    return f'<box frame="{frame}" keyframe="1" outside="{outside}" occluded="0" {edges} {more}></box>'


def track(*shapes: str, id_: int = 0, more: str = "") -> str:
    return f'<track id="{id_}" label="car" {more}>{"".join(shapes)}</track>'


def lefts(source: Path) -> dict[str, list[float]]:
    """The left edges of the objects in each image."""
    return {
        image.name: [annotation.box[0] for annotation in image.annotations] for image in open_source(source).images()
    }


def test_frame_filter_selects_every_nth_frame(tmp_path: Path, draw: Draw):
    for frame in (10, 15, 20):
        draw(tmp_path / "images" / f"frame_{frame:06d}.PNG", 40, 30)
    fields = "<size>3</size><start_frame>10</start_frame><stop_frame>20</stop_frame><frame_filter>step=5</frame_filter>"
    xml(tmp_path, track(box(10, 1), box(15, 2), box(20, 3, outside=1)), VIDEO.format(fields))
    assert lefts(tmp_path) == {"frame_000010.PNG": [1], "frame_000015.PNG": [2], "frame_000020.PNG": []}


def test_between_key_frames_boxes_and_rotations_are_interpolated(tmp_path: Path):
    # by hand: CVAT's TrackManager takes the same share of each number, and the short way round of an angle
    shapes = (box(0, 0, more='rotation="350"'), box(4, 20, more='rotation="30"'), box(6, 20, outside=1))
    xml(tmp_path, track(*shapes), VIDEO.format("<size>8</size>"))
    found = [image.annotations for image in open_source(tmp_path).images()]
    assert [[annotation.box[0] for annotation in annotations] for annotations in found] == [
        [0],
        [5],
        [10],
        [15],
        [20],
        [20],
        [],
        [],
    ]
    assert [annotations[0].rotation for annotations in found[:5]] == pytest.approx([350, 0, 10, 20, 30])
    assert [annotations[0].attributes["@cvat"]["keyframe"] for annotations in found[:3]] == ["1", "0", "0"]


def test_a_track_lasts_to_the_end_of_its_task_unless_it_is_outside(tmp_path: Path):
    xml(tmp_path, track(box(1, 5)) + track(box(0, 7), box(1, 7, outside=1), id_=1), VIDEO.format("<size>3</size>"))
    assert list(lefts(tmp_path).values()) == [[7], [5], [5]]


def test_without_a_task_size_only_listed_frames_become_images(tmp_path: Path):
    xml(tmp_path, track(box(3, 1), box(9, 2)), VIDEO.format(""))
    assert lefts(tmp_path) == {"frame_000003.png": [1], "frame_000009.png": [2]}


def test_two_videos_of_a_project_are_kept_apart(tmp_path: Path, draw: Draw):
    for task in ("one", "two"):
        draw(tmp_path / "images" / "Train" / task / "frame_000000.PNG", 40, 30)
    task = "<task><id>{}</id><name>{}</name><size>1</size><subset>Train</subset></task>"
    meta = f"<meta><project><tasks>{task.format(4, 'one')}{task.format(5, 'two')}</tasks></project></meta>"
    tracks = track(box(0, 1), more='task_id="4"') + track(box(0, 9), id_=1, more='task_id="5"')
    xml(tmp_path, tracks, meta)
    found = {image.name: image for image in open_source(tmp_path).images()}
    assert lefts(tmp_path) == {"one/frame_000000.PNG": [1], "two/frame_000000.PNG": [9]}
    assert found["two/frame_000000.PNG"].file == tmp_path / "images/Train/two/frame_000000.PNG"
    assert {(image.split, image.metadata["subset"]) for image in found.values()} == {("train", "Train")}


def test_a_mask_and_a_skeleton_of_a_video_are_read(tmp_path: Path):
    mask = '<mask frame="0" outside="0" rle="0, 4" left="5" top="6" width="2" height="2"/>'
    points = '<points label="{}" outside="{}" occluded="0" points="{}"/>'
    skeleton = '<skeleton frame="0">' + points.format("b", 0, "3,4") + points.format("a", 1, "9,9") + "</skeleton>"
    labels = (
        "<labels><label><name>a</name><parent>car</parent></label><label><name>b</name><parent>car</parent></label>"
    )
    xml(tmp_path, track(mask) + track(skeleton, id_=1), VIDEO.format("<size>1</size>").replace("<labels>", labels, 1))
    (image,) = open_source(tmp_path).images()
    masked, posed = image.annotations
    assert decode(masked.mask, 40, 30)[6:8, 5:7].tolist() == [[1, 1], [1, 1]]
    assert posed.keypoints == (0, 0, 0, 3, 4, 2)


def test_names_of_skeleton_points_are_not_classes(tmp_path: Path):
    part = "<label><name>{}</name><type>points</type><parent>person</parent></label>"
    svg = "".join(f'<circle data-node-id="{n}" data-label-name="{name}">' for n, name in ((7, "nose"), (8, "tail")))
    svg += '<line data-type="edge" data-node-from="8" data-node-to="7">'
    person = f"<label><name>person</name><type>skeleton</type><svg>{escape(svg)}</svg></label>"
    shape = '<points label="{}" outside="{}" occluded="{}" points="{}"/>'
    shapes = shape.format("tail", 0, 1, "6,5") + shape.format("nose", 0, 0, "2,3")
    meta = f"<meta><task><labels>{person}{part.format('nose')}{part.format('tail')}</labels></task></meta>"
    xml(tmp_path, image_xml(f'<skeleton label="person">{shapes}</skeleton>'), meta)
    collection = open_source(tmp_path)
    assert collection.labels == ("person",)
    assert collection.metadata["keypoints"] == {"person": {"names": ["nose", "tail"], "edges": [[2, 1]]}}
    (found,) = only(tmp_path).annotations
    assert (found.box, found.keypoints) == ((2, 3, 6, 5), (2, 3, 2, 6, 5, 1))


def test_undeclared_skeleton_points_are_collected_from_the_shapes(tmp_path: Path):
    shape = '<points label="{}" outside="0" occluded="0" points="{}"/>'
    first, second = (shape.format("nose", "1,1") + shape.format("tail", "2,2"), shape.format("tail", "3,3"))
    xml(tmp_path, image_xml("".join(f'<skeleton label="cow">{each}</skeleton>' for each in (first, second))), "")
    assert open_source(tmp_path).labels == ("cow",)
    assert [annotation.keypoints for annotation in only(tmp_path).annotations] == [
        (1, 1, 2, 2, 2, 2),
        (0, 0, 0, 3, 3, 2),
    ]


@pytest.mark.parametrize(
    ("rotation", "edges"), [(0, (5, 10, 35, 20)), (90, (15, 0, 25, 30)), (30, (6.77, 6.34, 33.23, 23.66))]
)
def test_the_box_around_a_turned_ellipse_touches_it(tmp_path: Path, rotation: int, edges: tuple[float, ...]):
    # half the width is the root of (rx cos)^2 + (ry sin)^2: 30 degrees give the roots of 175 and 75
    xml(tmp_path, image_xml(f'<ellipse label="car" cx="20" cy="15" rx="15" ry="5" rotation="{rotation}"/>'))
    assert only(tmp_path).annotations[0].box == pytest.approx(edges, abs=0.01)


def test_frames_are_found_without_the_suffix_in_their_names(tmp_path: Path, draw: Draw):
    draw(tmp_path / "images" / "Train" / "frame_000007.PNG", 40, 30)
    xml(tmp_path, image_xml("", "frame_000007", 'subset="Train"'))
    image = only(tmp_path)
    assert (image.name, image.file) == ("frame_000007.PNG", tmp_path / "images/Train/frame_000007.PNG")
    assert image.metadata["@cvat"] == {"id": "3"}


def test_images_of_two_tasks_with_the_same_name_are_kept_apart(tmp_path: Path, draw: Draw):
    draw(tmp_path / "images" / "task_5" / "frame_000000.png", 40, 30)
    xml(tmp_path, "".join(image_xml("", "frame_000000.png", f'task_id="{task}"') for task in (4, 5)))
    assert {p.name: bool(p.file) for p in open_source(tmp_path).images()} == {
        "4/frame_000000.png": False,
        "5/frame_000000.png": True,
    }


@pytest.mark.parametrize("names", [("clip-0.jpg", "clip-5.jpg"), ("0.png", "00005.png"), ("left.png", "right.png")])
def test_frames_are_found_by_number_or_by_order(tmp_path: Path, draw: Draw, names: tuple[str, str]):
    for name in names:
        draw(tmp_path / "images" / name, 40, 30)
    fields = "<size>2</size><stop_frame>5</stop_frame><frame_filter>step=5</frame_filter>"
    xml(tmp_path, track(box(0, 1), box(5, 2)), VIDEO.format(fields))
    assert lefts(tmp_path) == {names[0]: [1], names[1]: [2]}


def test_frames_are_extracted_from_the_video(tmp_path: Path):
    import cv2
    import numpy as np

    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5, (40, 30))
    for frame in range(6):
        writer.write(np.full((30, 40, 3), 40 * frame, np.uint8))
    writer.release()
    fields = "<size>2</size><start_frame>1</start_frame><stop_frame>4</stop_frame><frame_filter>step=3</frame_filter>"
    xml(tmp_path, track(box(1, 1), box(4, 2)), VIDEO.format(f"{fields}<source>clip.avi</source>"))
    collection = open_source(tmp_path)
    assert [image.name for image in collection.images()] == ["frame_000001.png", "frame_000004.png"]
    grey = [np.asarray(Image.open(io.BytesIO(p.embedded or b""))).mean() for p in collection.images()]
    assert grey == pytest.approx([40, 160], abs=4)


def test_a_video_that_cannot_be_read_is_rejected(tmp_path: Path):
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    xml(tmp_path, track(box(0, 1)), VIDEO.format("<size>1</size>"))
    with pytest.raises(DataError, match="cannot be read as a video"):
        list(open_source(tmp_path).images())


def test_the_meta_of_a_second_task_is_reported(tmp_path: Path):
    for number, label in enumerate(("car", "bus")):
        folder = tmp_path / f"task {number}"
        folder.mkdir()
        meta = f"<meta><task><labels><label><name>{label}</name></label></labels></task></meta>"
        (folder / "annotations.xml").write_text(f'<annotations>{meta}<image name="{number}.png"/></annotations>')
    collection = open_source(tmp_path)
    assert collection.labels == ("car", "bus")
    (finding,) = collection.findings
    assert finding.examples == ("annotations.xml",)
