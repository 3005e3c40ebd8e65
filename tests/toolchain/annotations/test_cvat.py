"""CVAT for images 1.1, and tracks of CVAT for video."""

from collections.abc import Callable
from pathlib import Path

import pytest

from toolchain.annotations import Collection, Picture, Thing, open_source, write
from toolchain.annotations.masks import decode
from toolchain.errors import DataError

Draw = Callable[..., Path]
META = "<meta><task><labels><label><name>car</name><attributes></attributes></label></labels></task></meta>"


def xml(folder: Path, body: str, meta: str = META) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "annotations.xml"
    path.write_text(f"<annotations><version>1.1</version>{meta}{body}</annotations>", encoding="utf-8")
    return path


def image(shapes: str, name: str = "my folder/a b.png", more: str = "") -> str:
    return f'<image id="3" name="{name}" {more} width="40" height="30">{shapes}</image>'


def only(source: Path) -> Picture:
    (picture,) = open_source(source).pictures()
    return picture


def test_every_shape_has_its_place(tmp_path: Path, draw: Draw):
    draw(tmp_path / "images" / "my folder" / "a b.png", 40, 30)
    xml(
        tmp_path,
        image(
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
    picture = only(tmp_path)
    box, polygon, mask, polyline, ellipse = picture.things
    assert picture.file == tmp_path / "images" / "my folder" / "a b.png"
    assert (box.box, box.rotation, box.occluded, box.difficult) == ((1.5, 2, 10, 12.25), 30, True, True)
    assert box.attributes == {"colour": "red", "@cvat": {"source": "manual", "z_order": "2"}}
    assert (polygon.polygons, polygon.box) == (((1, 2, 3.5, 2, 3, 4),), (1, 2, 3.5, 4))
    assert mask.box == (5, 6, 7, 8)
    assert decode(mask.mask, 40, 30)[6:8, 5:7].tolist() == [[0, 1], [1, 0]]
    assert (polyline.box, ellipse.box) == ((0, 0, 4, 9), (7, 8, 13, 12))
    assert picture.about == {"@cvat": {"id": "3", "xml": ['<tag label="sunny" />']}}


def test_images_without_a_subset_beside_those_with_one_are_there(tmp_path: Path, draw: Draw):
    draw(tmp_path / "images" / "Train" / "a.png", 40, 30)
    xml(tmp_path, image("", "a.png", 'subset="Train"') + image("", "b.png"))
    first, second = open_source(tmp_path).pictures()
    assert (first.split, first.about["subset"], first.file) == ("train", "Train", tmp_path / "images/Train/a.png")
    assert (second.split, second.file) == ("all", None)


def test_a_project_without_subsets_and_labels_without_meta(tmp_path: Path):
    xml(tmp_path, image('<box label="bus" xtl="1" ytl="2" xbr="3" ybr="4"/>'), "<meta><project></project></meta>")
    collection = open_source(tmp_path)
    assert collection.labels == ("bus",)
    assert len(list(collection.pictures())) == 1


def test_the_order_of_labels_is_that_of_the_project(tmp_path: Path):
    labels = "".join(f"<label><name>{name}</name></label>" for name in ("zebra", "ant"))
    xml(tmp_path, image(""), f"<meta><task><labels>{labels}</labels></task></meta>")
    assert open_source(tmp_path).labels == ("zebra", "ant")


def test_shapes_without_a_place_are_written_again_as_they_were(tmp_path: Path):
    ellipse = '<ellipse label="car" occluded="0" cx="10" cy="10" rx="3" ry="2" z_order="0" />'
    xml(tmp_path / "one", image(ellipse))
    collection = open_source(tmp_path / "one")
    write(tmp_path / "two", collection, collection.pictures(), "cvat")
    assert ellipse in (tmp_path / "two" / "annotations.xml").read_text()
    assert list(open_source(tmp_path / "two").pictures()) == list(collection.pictures())


def test_tracks_of_a_video_become_pictures(tmp_path: Path, draw: Draw):
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
    found = list(open_source(tmp_path).pictures())
    assert [(p.name, len(p.things)) for p in found] == [
        ("frame_000000.png", 1),
        ("frame_000001.PNG", 1),
        ("frame_000002.png", 0),
    ]
    assert found[0].things[0].attributes["track_id"] == 5
    assert found[0].things[0].label == "car"


def test_labels_and_their_attributes_are_declared(tmp_path: Path):
    things = (Thing(label="a <b>", box=(0, 0, 1, 1), truncated=True, attributes={"colour": "red & blue"}),)
    picture = Picture(name="a.png", file=None, width=4, height=4, things=things)
    collection = Collection(format="test", labels=("a <b>", "unused"), pictures=lambda: iter([picture]))
    write(tmp_path, collection, collection.pictures(), "cvat")
    text = (tmp_path / "annotations.xml").read_text()
    assert "<name>a &lt;b&gt;</name>" in text
    assert "<name>truncated</name><mutable>False</mutable><input_type>checkbox</input_type>" in text
    assert open_source(tmp_path).labels == ("a <b>", "unused")


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ('<box label="car" xtl="1" ytl="2" xbr="3"/>', "'None' is not a number|None is not a number"),
        ('<polygon label="car" points="1,2;x,3"/>', "'x' is not a number"),
        ('<mask label="car" rle="4" left="39" top="0" width="2" height="2"/>', "is not inside its picture"),
        ('<mask label="car" rle="5" left="0" top="0" width="2" height="2"/>', "add up to 5"),
    ],
)
def test_a_bad_shape_is_refused(tmp_path: Path, shapes: str, words: str):
    xml(tmp_path, image(shapes))
    with pytest.raises(DataError, match=words):
        only(tmp_path)


def test_entities_are_refused(tmp_path: Path):
    (tmp_path / "a.xml").write_text('<!DOCTYPE a [<!ENTITY x "y">]><annotations>&x;</annotations>')
    with pytest.raises(DataError, match="declares entities"):
        open_source(tmp_path, "cvat")
